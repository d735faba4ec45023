"""What the Java client reads in fetched bytes: the oracle for our own reading."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dev.kafka_jars import DEFAULT_VERSION, java_command, kafka_jars

if TYPE_CHECKING:
    from collections.abc import Iterable

PROGRAM = Path(__file__).with_name("ReadBatches.java")
SECONDS = 300


class JavaRecord(NamedTuple):
    """One record as Java read it; header names as UTF-8, in which Java replaces what is none."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[bytes, bytes | None]]


class JavaReading(NamedTuple):
    """The records that Java read, and the class of the exception that ended the reading."""

    records: list[JavaRecord]
    error: str | None


def read_by_java(fetches: Iterable[bytes]) -> list[JavaReading]:
    """Return what Java reads of each fetch, by one process for all."""
    jars = kafka_jars(DEFAULT_VERSION)  # whose classes the program names
    done = subprocess.run(
        [java_command(), "-Xmx1g", "-cp", f"{jars}/*", str(PROGRAM)],
        input="".join(f"{fetched.hex()}\n" for fetched in fetches),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [_reading(json.loads(line)) for line in done.stdout.splitlines()]


def _reading(shown: dict[str, Any]) -> JavaReading:
    records = [
        JavaRecord(
            offset,
            timestamp,
            _bytes(key),
            _bytes(value),
            [(_bytes(name) or b"", _bytes(content)) for name, content in headers],
        )
        for offset, timestamp, key, value, headers in shown["records"]
    ]
    return JavaReading(records, shown["error"])


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)
