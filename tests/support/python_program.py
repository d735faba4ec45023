"""Runs a short Python program in a process of its own."""

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
RUN_SECONDS: Final = 100


def printed_by(program: str, *arguments: str) -> str:
    """Return what the program prints. It must end with exit code 0."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=RUN_SECONDS,
    )
    return done.stdout
