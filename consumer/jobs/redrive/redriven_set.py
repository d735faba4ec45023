"""The set of redriven dead letters: one journal entry for each transaction of a redrive.

An entry is committed together with the redriven records of its dead letters. The key of an entry is
``d:`` and a running number. The value consists of the version (1 byte), and then for each dead
letter the partition (4), offset (8), timestamp (8) and checksum (4), all big-endian. A recreated
dead-letter topic begins at offset 0 again: timestamp and checksum distinguish its records from
those of the old topic.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from consumer.errors import StateCorrupted
from consumer.jobs.journal import REDRIVEN, Entries
from consumer.pipeline.dead_letters import DeadLetterRecord
from consumer.pipeline.records import SourceRecord
from consumer.shard.progress import Fingerprint

FORMAT_VERSION: Final = 1
_DEAD_LETTER: Final = struct.Struct(">iqqI")
PartitionAndOffset = tuple[int, int]


class StoredRecord(NamedTuple):
    """A record of the dead-letter topic.

    `dead_letter` is None for a foreign record, which this service did not write.
    """

    partition: int
    record: SourceRecord
    dead_letter: DeadLetterRecord | None
    is_redriven: bool = False

    @property
    def address(self) -> str:
        """The address in commands and lists: partition:offset."""
        return f"{self.partition}:{self.record.offset}"


def is_redriven_entry(key: bytes) -> bool:
    """Return whether the journal entry is part of the redriven set."""
    return key.startswith(REDRIVEN)


class RedrivenSet:
    """The dead letters that the journal lists as redriven."""

    def __init__(self, entries: Entries) -> None:
        """Read the entries of the set.

        Raises:
            StateCorrupted: an entry has another format.
        """
        self._fingerprints: dict[PartitionAndOffset, Fingerprint] = {}
        self._last_offsets: dict[int, dict[int, int]] = {}  # by entry, then by partition
        # In the order of their numbers, so that a newer entry wins: after the topic was recreated,
        # a dead letter may have the same offset as an old one.
        for number, value in sorted((_number(key), value) for key, value in entries.items()):
            self._load(number, value)

    def contains(self, stored: StoredRecord) -> bool:
        """Return whether this dead letter was redriven.

        The fingerprint must match too: a recreated topic has other records at the same offsets.
        """
        fingerprint = self._fingerprints.get((stored.partition, stored.record.offset))
        return fingerprint is not None and fingerprint == Fingerprint.of(stored.record)

    def new_entry(self, redriven: Iterable[StoredRecord]) -> tuple[bytes, bytes]:
        """Return key and value of the journal entry for these dead letters."""
        number = max(self._last_offsets, default=0) + 1
        value = bytes([FORMAT_VERSION]) + b"".join(
            _DEAD_LETTER.pack(one.partition, *_fields(Fingerprint.of(one.record)))
            for one in redriven
        )
        return _key(number), value

    def add(self, key: bytes, value: bytes) -> None:
        """Add a committed entry."""
        self._load(_number(key), value)

    def entries_before(self, log_starts: Mapping[int, int]) -> list[bytes]:
        """Return the keys of the entries whose dead letters are all deleted.

        `log_starts` has the first existing offset of each partition.
        """
        return [
            _key(number)
            for number, offsets in self._last_offsets.items()
            if all(offset < log_starts.get(p, 0) for p, offset in offsets.items())
        ]

    def _load(self, number: int, value: bytes) -> None:
        body = value[1:]
        if value[:1] != bytes([FORMAT_VERSION]) or len(body) % _DEAD_LETTER.size:
            raise StateCorrupted(
                f"journal entry {number} of redriven dead letters has a format that this release "
                "does not read: use the release that wrote it"
            )
        last_offsets = self._last_offsets.setdefault(number, {})
        for partition, offset, timestamp_ms, checksum in _DEAD_LETTER.iter_unpack(body):
            self._fingerprints[partition, offset] = Fingerprint(offset, timestamp_ms, checksum)
            last_offsets[partition] = max(offset, last_offsets.get(partition, -1))


def _fields(fingerprint: Fingerprint) -> tuple[int, int, int]:
    return fingerprint.offset, fingerprint.timestamp_ms, fingerprint.checksum


def _key(number: int) -> bytes:
    return REDRIVEN + str(number).encode()


def _number(key: bytes) -> int:
    return int(key.removeprefix(REDRIVEN))
