"""How the tools of the chart's tests are fetched: by package managers, into the cache."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parents[1] / "requirements"
TIMEOUT_SECONDS = 600


class ChartToolMissing(Exception):
    """Something is not there and could not be fetched; the message says how to get it."""


def announce(what: str) -> None:
    """Say that a download begins, for it may last."""
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
    """Download the only package of requirements/PINS, checked by its hash."""
    run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--require-hashes", "--requirement", str(REQUIREMENTS / pins)),
            *("--dest", str(folder)),
        ]
    )
    (wheel,) = folder.glob("*.whl")
    return wheel
