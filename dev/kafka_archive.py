"""An archive of the broker's loaded classes, with which Java starts it in half the time.

Java writes it (class-data sharing) at the end of a broker that ran with all its parts. Where Java
or the jars are no longer those of the archive, Java says so in the broker's log and does without.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dev.kafka import LocalKafka
from dev.kafka_jars import class_archive, java_command, kafka_jars, locked
from dev.kafka_node import POLL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRITTEN_SECONDS = 120.0
JAVA_OPTIONS = "JAVA_TOOL_OPTIONS"


def make_archive(version: str) -> None:
    """Write the archive for this version and this Java, unless it is there.

    It appears by a rename when Java has ended by itself, and so has written all of it. What cannot
    be written is done without.
    """
    jars = kafka_jars(version)
    archive = class_archive(jars)
    with locked(archive.with_suffix(".lock")):
        if archive.exists():
            return
        print("Archiving the classes of Kafka, for quick starts (once) …", file=sys.stderr)
        unfinished = archive.with_suffix(".unfinished")
        try:
            if _write(version, unfinished) and _is_sound(unfinished, jars):
                unfinished.rename(archive)
        finally:
            unfinished.unlink(missing_ok=True)


def _write(version: str, path: Path) -> bool:
    """Let a broker start and end; tell whether it ended by itself and left an archive."""
    with _java_options(f"-XX:ArchiveClassesAtExit={path}"), LocalKafka(version=version) as kafka:
        pid = kafka.pid(1)
        if pid is None:
            return False
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + WRITTEN_SECONDS
        while kafka.pid(1) is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
    return path.exists()


def _is_sound(path: Path, jars: Path) -> bool:
    """Tell whether Java takes the archive: from one that is cut short it would crash."""
    options = ["-Xshare:on", f"-XX:SharedArchiveFile={path}", "-cp", f"{jars}/*", "-version"]
    ended = subprocess.run(  # noqa: S603 - our own arguments
        [java_command(), *options], capture_output=True, check=False
    )
    return ended.returncode == 0


@contextmanager
def _java_options(options: str) -> Iterator[None]:
    """Set options for every Java that is started meanwhile, beside those of the environment."""
    before = os.environ.get(JAVA_OPTIONS)
    os.environ[JAVA_OPTIONS] = f"{before or ''} {options}".strip()
    try:
        yield
    finally:
        if before is None:
            del os.environ[JAVA_OPTIONS]
        else:
            os.environ[JAVA_OPTIONS] = before
