"""The records of the input, in about 30 bytes a record and 200 an id."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

from tests.chaos.fingerprints import content_fingerprint
from tests.chaos.meaning import Meaning, read_meaning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.reader import Record

ABSENT = -1
INVALID = -2  # and below: one number for each reason


class InputEntry(NamedTuple):
    """A record of the input: its meaning and its fingerprint."""

    meaning: Meaning
    subject: int  # the number of its id; negative for an invalid record
    fingerprint: int
    timestamp_ms: int


class _Partition:
    """One partition's records by offset."""

    __slots__ = ("fingerprints", "subjects", "timestamps_ms", "variants")

    def __init__(self) -> None:
        self.subjects = array("i")
        self.variants = bytearray()
        self.fingerprints = array("q")
        self.timestamps_ms = array("q")

    def put(self, offset: int, subject: int, variant: int, fingerprint: int, time_ms: int) -> None:
        while len(self.subjects) < offset:
            self._append(ABSENT, 0, 0, 0)
        self._append(subject, variant, fingerprint, time_ms)

    def _append(self, subject: int, variant: int, fingerprint: int, time_ms: int) -> None:
        self.subjects.append(subject)
        self.variants.append(variant)
        self.fingerprints.append(fingerprint)
        self.timestamps_ms.append(time_ms)


class InputBook:
    """Every record of the input, each id once, and which contents of it were sent."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.sent_variants = bytearray()  # by index of the id, a bit for each variant
        self.records = self.invalid_records = 0
        self._indexes: dict[str, int] = {}
        self._reasons: list[str] = []
        self._partitions: dict[int, _Partition] = {}

    def add(self, record: Record) -> None:
        """Add a record; those of a partition come in the order of their offsets.

        Raises:
            ValueError: the workload did not write it.
        """
        meaning = read_meaning(record.value, record.headers)
        if meaning.reason:
            if meaning.reason not in self._reasons:
                self._reasons.append(meaning.reason)
            subject = INVALID - self._reasons.index(meaning.reason)
            self.invalid_records += 1
        else:
            subject = self._index_of(meaning.checkpoint_id)
            self.sent_variants[subject] |= 1 << meaning.variant
        fingerprint = content_fingerprint(record.key, record.value, record.headers)
        partition = self._partitions.setdefault(record.partition, _Partition())
        partition.put(record.offset, subject, meaning.variant, fingerprint, record.timestamp_ms)
        self.records += 1

    def find(self, partition: int, offset: int) -> InputEntry | None:
        """Return the record at this offset, or None."""
        held = self._partitions.get(partition)
        if held is None or not 0 <= offset < len(held.subjects):
            return None
        subject = held.subjects[offset]
        if subject == ABSENT:
            return None
        if subject <= INVALID:
            meaning = Meaning(reason=self._reasons[INVALID - subject])
        else:
            meaning = Meaning(self.ids[subject], held.variants[offset])
        return InputEntry(meaning, subject, held.fingerprints[offset], held.timestamps_ms[offset])

    def index(self, checkpoint_id: str) -> int | None:
        """Return the number of an id that was sent."""
        return self._indexes.get(checkpoint_id)

    def invalid_places(self) -> Iterator[tuple[int, int]]:
        """Yield partition and offset of every invalid record."""
        for number, held in sorted(self._partitions.items()):
            for offset, subject in enumerate(held.subjects):
                if subject <= INVALID:
                    yield number, offset

    def _index_of(self, checkpoint_id: str) -> int:
        index = self._indexes.setdefault(checkpoint_id, len(self.ids))
        if index == len(self.ids):
            self.ids.append(checkpoint_id)
            self.sent_variants.append(0)
        return index
