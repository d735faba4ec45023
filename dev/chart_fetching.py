"""Downloads the tools of the chart tests with package managers, into the cache."""

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
    """Print that a download starts, because it may take long."""
    print(f"Downloading {what} (once) …", file=sys.stderr, flush=True)


def run(
    command: list[str],
    *,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> str:
    """Run a program to its end and return what it printed.

    Raises:
        ChartToolMissing: it is not there, or it failed.
    """
    if shutil.which(command[0]) is None:
        raise ChartToolMissing(f"{command[0]} is missing: install it, the chart's tests need it")
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
        said = f"{done.stdout}{done.stderr}"[-2000:]
        raise ChartToolMissing(f"{' '.join(command)} failed:\n{said}")
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

    It is unpacked and not installed, for an installed one would start a daemon.
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
