"""Creates an archive of the broker's classes, with which Java starts a broker in half the time.

Java writes the archive (class-data sharing) when a broker ends. If Java or the jars are not those
of the archive, Java logs this and starts the broker without the archive.
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
    """Create the archive for this version and this Java, unless it exists.

    The archive gets its name only after Java has written and accepted it, so an archive under that
    name is complete. If Java cannot write an archive, brokers start without one.
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
    """Start and stop a broker. Return whether it ended in time and wrote the archive."""
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
    """Return whether Java accepts the archive. With a truncated archive, Java would crash."""
    options = ["-Xshare:on", f"-XX:SharedArchiveFile={path}", "-cp", f"{jars}/*", "-version"]
    ended = subprocess.run(  # noqa: S603 - our own arguments
        [java_command(), *options], capture_output=True, check=False
    )
    return ended.returncode == 0


@contextmanager
def _java_options(options: str) -> Iterator[None]:
    """Add options to every Java that starts in this context."""
    before = os.environ.get(JAVA_OPTIONS)
    os.environ[JAVA_OPTIONS] = f"{before or ''} {options}".strip()
    try:
        yield
    finally:
        if before is None:
            del os.environ[JAVA_OPTIONS]
        else:
            os.environ[JAVA_OPTIONS] = before
