"""Downloads tools for the chart tests into the cache, with pip, Go and apt-get."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENTS = Path(__file__).parents[1] / "requirements"
TIMEOUT_SECONDS = 600


class ChartToolMissing(Exception):
    """A tool is missing and could not be downloaded. The message says how to get it."""


def announce(what: str) -> None:
    """Print that a download starts, because it may take minutes."""
    print(f"Downloading {what} (once) …", file=sys.stderr, flush=True)


def run(
    command: list[str],
    *,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> str:
    """Run a program until it ends, and return its standard output.

    Raises:
        ChartToolMissing: the program is not installed, or it failed.
    """
    if shutil.which(command[0]) is None:
        raise ChartToolMissing(f"{command[0]} is missing: install it for the tests of the chart")
    done = subprocess.run(  # noqa: S603 - our own arguments
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
    if done.returncode:
        output = f"{done.stdout}{done.stderr}"[-2000:]
        raise ChartToolMissing(f"{' '.join(command)} failed:\n{output}")
    return done.stdout


def download_wheel(pins: str, folder: Path) -> Path:
    """Download the only package in requirements/PINS and verify its hash."""
    run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--require-hashes", "--requirement", str(REQUIREMENTS / pins)),
            *("--dest", str(folder)),
        ]
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def fetch_debian_program(package: str, member: str, program: Path) -> None:
    """Extract one program, or a folder of programs, from a Debian package.

    The package is unpacked and not installed, because an installed package would start a daemon.
    """
    announce(f"{program.name} with apt-get")
    with tempfile.TemporaryDirectory(dir=program.parent) as scratch:
        Path(scratch).chmod(0o755)
        download = ["apt-get", "download", "-qq", package]
        try:
            run(download, folder=Path(scratch))
        except ChartToolMissing:
            run(["apt-get", "update", "-qq"])
            run(download, folder=Path(scratch))
        (archive,) = Path(scratch).glob("*.deb")
        run(["dpkg", "-x", str(archive), scratch])
        (Path(scratch) / member).rename(program)
