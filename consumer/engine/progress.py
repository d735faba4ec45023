"""How far a shard has read one source partition, and the witness that it is still the same one.

A topic that was deleted and created anew grows past an old offset without any error; reading on
from there would skip its first records. So progress remembers the last record that was handled.
"""

import enum
import zlib
from typing import Self

import msgspec

from consumer.pipeline.records import SourceRecord


class Witness(msgspec.Struct, frozen=True):
    """The last handled record of a partition: where it stood, when it was written, what it said."""

    offset: int
    timestamp_ms: int
    checksum: int

    @classmethod
    def of(cls, record: SourceRecord) -> Self:
        """Remember this record."""
        checksum = zlib.crc32(record.value or b"", zlib.crc32(record.key or b""))
        return cls(record.offset, record.timestamp, checksum)


class Progress(msgspec.Struct, frozen=True):
    """The position of one source partition, as it stands in the changelog."""

    next_offset: int
    stream_time_ms: int
    witness: Witness | None = None


class Continuity(enum.Enum):
    """What a restart finds at a source partition that it has read before."""

    INTACT = "intact"
    EXPIRED = "expired"  # records were deleted before they were read
    RECREATED = "recreated"  # this is another partition under the same name


def judge_bounds(progress: Progress, log_start: int, end_offset: int) -> Continuity:
    """Compare progress with the offsets that exist; both offsets are the broker's answer now."""
    if progress.next_offset > end_offset:
        return Continuity.RECREATED
    if progress.next_offset < log_start:
        return Continuity.EXPIRED
    return Continuity.INTACT


def judge_witness(witness: Witness, first: SourceRecord | None) -> Continuity:
    """Compare the witness with the first record at or after its offset (None: there is none).

    A witness that is gone (compacted, expired) proves nothing, so it is taken as intact.
    """
    if first is None or first.offset != witness.offset or Witness.of(first) == witness:
        return Continuity.INTACT
    return Continuity.RECREATED
