"""Environments of other toolchains, made once in the cache: Python venvs and npm packages.

Nothing of them is in the clone, so that a fresh clone finds them. Each is identified by a hash of
what it is made from. A marker file is written last: a folder without it is incomplete.
dev/programs.py builds programs in the same way.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
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
        run([sys.executable, "-m", "venv", str(folder)])
        run([python, "-m", "pip", "install", *quiet, "--require-hashes", "-r", str(requirements)])

    folder = made_once(requirements.stem, [requirements], make, sys.version)
    return folder / "bin" / "python"


def npm_packages(
    project: Path, native: str | None = None, variables: Mapping[str, str] | None = None
) -> Path:
    """Return a copy of an npm project in the cache, with its packages installed by its lock file.

    The copy has ``package.json``, ``package-lock.json`` and ``node_modules``. Scripts of packages
    are not run, except the install script of the package `native`, with these environment
    variables. It downloads or compiles the addon of the package.

    Raises:
        ToolchainError: Node.js is missing, or npm failed.
    """
    npm = tool("npm")
    names = ("package.json", "package-lock.json")

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        for name in names:
            shutil.copyfile(project / name, folder / name)
        run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
        if native is not None:
            more = {"npm_config_nodedir": str(_node_prefix()), **(variables or {})}
            # A compiler with many processes must not slow down tests that run at the same time.
            command = [tool("nice"), npm, "rebuild", native, "--foreground-scripts"]
            run(command, folder, more)

    return made_once(f"npm-{project.name}", [project / name for name in names], make)


def tool(name: str) -> str:
    """Return the path of a program.

    Raises:
        ToolchainError: it is not installed.
    """
    path = shutil.which(name)
    if path is None:
        raise ToolchainError(f"{name} is not installed")
    return path


def made_once(
    name: str, sources: Iterable[Path], make: Callable[[Path], None], version: str = ""
) -> Path:
    """Return the folder in the cache that `make` fills, once for this content of the sources.

    Args:
        name: the first part of the name of the folder.
        sources: the files that it is made from.
        make: creates the folder and fills it.
        version: the version of the tool, if the result depends on it.
    """
    folder = cache_dir() / f"{name}-{content_hash(sources, version)}"
    complete = folder / "complete"
    with locked(cache_dir() / f"{folder.name}.lock"):
        if not complete.exists():
            print(f"Installing {name} (once) …", file=sys.stderr, flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            complete.touch()
    return folder


def content_hash(sources: Iterable[Path], version: str = "") -> str:
    """Return 8 hexadecimal digits that identify the content of these files, and the version."""
    content = b"".join(source.read_bytes() for source in sources) + version.encode()
    return hashlib.sha256(content).hexdigest()[:8]


def run(
    command: Sequence[str], folder: Path | None = None, variables: Mapping[str, str] | None = None
) -> None:
    """Run a program to its end, with these environment variables in addition.

    Raises:
        ToolchainError: it failed, with the end of its output, or it took longer than 15 minutes.
    """
    with tempfile.TemporaryFile("w+") as output:
        try:
            done = subprocess.run(  # noqa: S603 - our own commands
                command,
                cwd=folder,
                env={**os.environ, **(variables or {})},
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


def _node_prefix() -> Path:
    """Return the folder that Node.js is installed in: its include/node has the headers."""
    return Path(tool("node")).resolve().parents[1]
