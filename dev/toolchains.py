"""Environments of other toolchains, made once in the cache: Python venvs, npm packages, Go builds.

Nothing of them is in the clone, so that a fresh clone finds them. Each is identified by a hash of
what it is made from. A marker file is written last: a folder without it is incomplete.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from dev.kafka_jars import cache_dir, locked

INSTALL_SECONDS: Final = 900


class ToolchainError(Exception):
    """An environment could not be made, or a tool is missing. The message says why."""


def python_environment(requirements: Path) -> Path:
    """Return the Python of a venv with these requirements, which must have hashes.

    Raises:
        ToolchainError: pip failed.
    """

    def make(folder: Path) -> None:
        python = str(folder / "bin" / "python")
        quiet = ("--quiet", "--disable-pip-version-check")
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([python, "-m", "pip", "install", *quiet, "--require-hashes", "-r", str(requirements)])

    content = requirements.read_bytes() + sys.version.encode()
    return _made(requirements.stem, content, make) / "bin" / "python"


def npm_packages(project: Path) -> Path:
    """Return a copy of an npm project in the cache, with its packages installed by its lock file.

    The copy has ``package.json``, ``package-lock.json`` and ``node_modules``. Scripts of packages
    are not run.

    Raises:
        ToolchainError: Node.js is missing, or npm failed.
    """
    npm = tool("npm")
    names = ("package.json", "package-lock.json")

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        for name in names:
            shutil.copyfile(project / name, folder / name)
        _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)

    content = b"".join((project / name).read_bytes() for name in names)
    return _made(f"npm-{project.name}", content, make)


def tool(name: str) -> str:
    """Return the path of a program.

    Raises:
        ToolchainError: it is not installed.
    """
    path = shutil.which(name)
    if path is None:
        raise ToolchainError(f"{name} is not installed")
    return path


def _made(name: str, content: bytes, make: Callable[[Path], None]) -> Path:
    folder = cache_dir() / f"{name}-{hashlib.sha256(content).hexdigest()[:8]}"
    complete = folder / "complete"
    with locked(cache_dir() / f"{folder.name}.lock"):
        if not complete.exists():
            print(f"Installing {name} (once) …", file=sys.stderr, flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            complete.touch()
    return folder


def _run(command: Sequence[str], folder: Path | None = None) -> None:
    with tempfile.TemporaryFile("w+") as output:
        try:
            done = subprocess.run(  # noqa: S603 - our own commands
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=INSTALL_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            text = " ".join(command[:3])
            raise ToolchainError(f"{text} took longer than {INSTALL_SECONDS} s") from None
        if done.returncode != 0:
            output.seek(0)
            raise ToolchainError(f"{' '.join(command[:4])} failed:\n{output.read()[-3000:]}")
