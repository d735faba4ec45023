"""Fingerprints of 64 bits: a long run has too many records to keep each one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.reader import Header, Record

NO_FINGERPRINT = 0


def record_fingerprint(record: Record) -> int:
    """Return the number of all but the place of a record; never NO_FINGERPRINT."""
    content = content_fingerprint(record.key, record.value, record.headers)
    return hash((record.timestamp_ms, content)) or 1


def content_fingerprint(key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> int:
    """Return the number of what a producer wrote: key, value and headers.

    Python's own hash is fast and good for 64 bits. It differs between processes, but one process
    computes all of them.
    """
    return hash((key, value, tuple(headers))) or 1
