"""Which dead letters were put back: entries of the journal, one for each transaction that did it.

An entry is committed with the records that it tells of. Key: ``d:`` and a running number. Value,
big-endian: version (1 byte), then for each dead letter its partition (4), offset (8), timestamp (8)
and checksum (4). Timestamp and checksum tell it from another one at the same place: a dead-letter
topic may be deleted and made anew, and begins at offset 0 again.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Final

from consumer.errors import StateCorrupted
from consumer.jobs.journal import REDRIVEN, Entries
from consumer.pipeline.records import SourceRecord
from consumer.shard.progress import Fingerprint

FORMAT_VERSION: Final = 1
_PLACE: Final = struct.Struct(">iqqI")
Place = tuple[int, int]


def is_redriven(key: bytes) -> bool:
    """Tell whether an entry of the journal is one of the redriven."""
    return key.startswith(REDRIVEN)


class RedrivenSet:
    """What the journal says was put back."""

    def __init__(self, entries: Entries) -> None:
        """Read the redriven's entries.

        Raises:
            StateCorrupted: an entry has another format.
        """
        self._fingerprints: dict[Place, Fingerprint] = {}
        self._last_offsets: dict[int, dict[int, int]] = {}  # of each entry, by partition
        # In the order of their numbers: of two dead letters at one place the later one is there.
        for number, value in sorted((_number(key), value) for key, value in entries.items()):
            self._take(number, value)

    def holds(self, partition: int, record: SourceRecord) -> bool:
        """Tell whether this very dead letter was put back."""
        fingerprint = self._fingerprints.get((partition, record.offset))
        return fingerprint is not None and fingerprint == Fingerprint.of(record)

    def entry(self, letters: Iterable[tuple[int, SourceRecord]]) -> tuple[bytes, bytes]:
        """Return key and value of the entry for these dead letters, by partition and record."""
        number = max(self._last_offsets, default=0) + 1
        value = bytes([FORMAT_VERSION]) + b"".join(
            _PLACE.pack(partition, *_fields(Fingerprint.of(record)))
            for partition, record in letters
        )
        return _key(number), value

    def add(self, key: bytes, value: bytes) -> None:
        """Take over an entry that was committed."""
        self._take(_number(key), value)

    def outlived(self, log_starts: Mapping[int, int]) -> list[bytes]:
        """Return the keys of entries whose dead letters are all deleted, by log start offsets."""
        return [
            _key(number)
            for number, offsets in self._last_offsets.items()
            if all(offset < log_starts.get(p, 0) for p, offset in offsets.items())
        ]

    def _take(self, number: int, value: bytes) -> None:
        body = value[1:]
        if value[:1] != bytes([FORMAT_VERSION]) or len(body) % _PLACE.size:
            raise StateCorrupted(
                f"the journal's entry {number} of redriven dead letters has a format that this "
                "release does not know: use the release that wrote it"
            )
        last_offsets = self._last_offsets.setdefault(number, {})
        for partition, offset, timestamp_ms, checksum in _PLACE.iter_unpack(body):
            self._fingerprints[partition, offset] = Fingerprint(offset, timestamp_ms, checksum)
            last_offsets[partition] = max(offset, last_offsets.get(partition, -1))


def _fields(fingerprint: Fingerprint) -> tuple[int, int, int]:
    return fingerprint.offset, fingerprint.timestamp_ms, fingerprint.checksum


def _key(number: int) -> bytes:
    return REDRIVEN + str(number).encode()


def _number(key: bytes) -> int:
    return int(key.removeprefix(REDRIVEN))
