"""The log files of a partition: which batches the broker still has after compaction.

No client shows this: it skips empty batches, and never delivers control batches.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Offset, length, leader epoch, magic, CRC, attributes, offset delta of the last record, two times,
# producer id, epoch, sequence, number of records: the head of every batch since Kafka 0.11.
HEAD = struct.Struct(">qiibIhiqqqhii")
LENGTH_COVERS_FROM = 12
IS_CONTROL = 0x20


class Batch(NamedTuple):
    """One record batch."""

    first_offset: int
    last_offset: int
    records: int
    is_control: bool


def batches(data: Path, topic: str, partition: int) -> list[Batch]:
    """Return the batches of a partition in their order, from a node's data folder."""
    folder = data / f"{topic}-{partition}"
    return wait_until(lambda: _read_all(folder), what=f"a moment without a swap in {folder}")


def _read_all(folder: Path) -> list[Batch] | None:
    """Return all batches; None while the cleaner swaps in a compacted segment."""
    names = _segments(folder)
    try:
        found = [batch for segment in names for batch in _read(segment)]
    except FileNotFoundError:
        return None
    is_whole = all(name.suffix == ".log" for name in names) and _segments(folder) == names
    return found if is_whole else None


def _segments(folder: Path) -> list[Path]:
    """Return the files of the log in their order, including those that are being swapped in."""
    return sorted([*folder.glob("*.log"), *folder.glob("*.log.swap")])


def _read(segment: Path) -> Iterator[Batch]:
    content = segment.read_bytes()
    at = 0
    while at + HEAD.size <= len(content):
        offset, length, _, _, _, attributes, delta, *_, records = HEAD.unpack_from(content, at)
        yield Batch(offset, offset + delta, records, bool(attributes & IS_CONTROL))
        at += LENGTH_COVERS_FROM + length
