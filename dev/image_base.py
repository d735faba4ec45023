"""Builds a base image without a registry: Debian with its Python, by debootstrap.

The base image replaces the default of the Dockerfile, a slim Python. It is kept as a tar in the
cache. Its name has a fingerprint of the Debian release and the packages, so a change creates a new
base image.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from dev.kafka_jars import cache_dir, locked

SUITE = "bookworm"
PACKAGES = ("python3", "python3-venv", "ca-certificates")
# Not in the base image: downloads of apt, and device files (the container runtime provides these).
LEFT_OUT = ("./var/cache/apt/*", "./var/lib/apt/lists/*", "./dev/*")
BOOTSTRAP_SECONDS = 900
LOG_TAIL_CHARACTERS = 2000


class ImageError(Exception):
    """The image cannot be built, or has a defect. The message says why."""


def base_name() -> str:
    """Return the name of the base image, with a fingerprint of the settings that it is built by."""
    contents = " ".join((SUITE, *PACKAGES, *LEFT_OUT))
    return f"checkpoint-ready-base:{SUITE}-{hashlib.sha256(contents.encode()).hexdigest()[:8]}"


def base_archive() -> Path:
    """Return the tar with the files of the base image. Create it once.

    A lock prevents two processes from creating it at the same time. The file gets its name only
    when it is complete.
    """
    archive = cache_dir() / f"{base_name().replace(':', '-')}.tar"
    if archive.is_file():
        return archive
    with locked(archive.with_suffix(".lock")):
        if not archive.is_file():
            _bootstrap(archive)
    return archive


def _bootstrap(archive: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix=f"{archive.stem}-", dir=archive.parent))
    unfinished = folder / "base.tar"
    root = folder / "root"
    try:
        include = f"--include={','.join(PACKAGES)}"
        _run(["debootstrap", "--variant=minbase", include, SUITE, str(root)])
        left_out = [f"--exclude={pattern}" for pattern in LEFT_OUT]
        _run(["tar", "--numeric-owner", *left_out, "-C", str(root), "-cf", str(unfinished), "."])
        unfinished.rename(archive)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str]) -> None:
    done = subprocess.run(  # noqa: S603 - our own arguments
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BOOTSTRAP_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        tail = done.stdout[-LOG_TAIL_CHARACTERS:]
        raise ImageError(f"{command[0]} ended with {done.returncode}:\n{tail}")
