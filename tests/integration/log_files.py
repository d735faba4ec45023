"""A partition as it lies on the broker's disk: which batches are left, and what became of them.

No client shows this: emptied batches are passed over, control batches are never delivered.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

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
    return [batch for segment in sorted(folder.glob("*.log")) for batch in _read(segment)]


def _read(segment: Path) -> Iterator[Batch]:
    content = segment.read_bytes()
    at = 0
    while at + HEAD.size <= len(content):
        offset, length, _, _, _, attributes, delta, *_, records = HEAD.unpack_from(content, at)
        yield Batch(offset, offset + delta, records, bool(attributes & IS_CONTROL))
        at += LENGTH_COVERS_FROM + length
