"""Passes the pip settings of the machine to the image build as secrets.

A secret is available during one step of the build, and in no layer of the image. So the Dockerfile
works with any package index, proxy or certificate authority, and contains no such address.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

# Options about package sources. Other options may name folders that the container does not have.
OPTIONS = ("index-url", "extra-index-url", "trusted-host", "proxy", "default-timeout", "timeout")
MOUNTED_AUTHORITIES = "/run/secrets/ca.pem"


def pip_secrets(folder: Path) -> list[str]:
    """Return the build arguments that pass the settings of pip. Files are written to `folder`."""
    settings = _read_settings()
    lines = ["[global]", *(f"{name} = {settings[name]}" for name in OPTIONS if name in settings)]
    secrets = []
    if authorities := settings.get("cert"):
        lines.append(f"cert = {MOUNTED_AUTHORITIES}")
        secrets.append(f"--secret=id=ca.pem,src={authorities}")
    file = folder / "pip.conf"
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return [*secrets, f"--secret=id=pip.conf,src={file}"]


def _read_settings() -> dict[str, str]:
    """Return the settings that pip reports. A variable has priority over a file."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = [line.partition("=") for line in listed.splitlines() if "=" in line]
    # Several values of one option are on separate lines, as in a file.
    ordered = sorted(lines, key=lambda line: line[0].startswith(":env:"))
    return {
        name.rpartition(".")[2]: "\n    ".join(str(ast.literal_eval(value)).split())
        for name, _, value in ordered
    }
