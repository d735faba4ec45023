"""The records of the workload, drawn from a seed.

Time is counted in records, so that the same seed always gives the same sequence: a repeat that
is due in two minutes comes after as many records as two minutes take.
"""

from __future__ import annotations

import heapq
import random
from typing import TYPE_CHECKING

from tests.chaos.contents import VARIANTS, checkpoint_id, content_of
from tests.chaos.invalid_records import invalid_records
from tests.chaos.meaning import Meaning, mark
from tests.support.documents import compact
from tests.support.records import NewRecord
from tests.support.variants import write_variant

if TYPE_CHECKING:
    from tests.support.invalid_records import InvalidSample
    from tests.support.reader import Header

INVALID_SHARE = 0.03
CONFLICTING_SHARE = 0.06
PLAIN_SHARE = 0.35
HOSTILE_SHARE = 0.1
INVALID_TWICE_SHARE = 0.1
SOON_RECORDS = 10
SOON_SECONDS = 10.0
LATE_SECONDS = 180.0
COPIES = (1, 2, 3, 4, 6)
COPIES_WEIGHTS = (40, 30, 15, 10, 5)
# Headers that claim what only the service may say; believed, they would move or hide a record.
FORGED_ORIGIN: Header = ("checkpoint-ready.origin", b"\x00" * 20 + b"forged")
HOSTILE_HEADERS: tuple[list[Header], ...] = (
    [("h", b"1"), ("h", b"2"), ("h", None)],
    [("", b""), ("nothing", None), ("\u00fc\u2713", b"\xff\xfe")],
    [("checkpoint-ready.shard", b"other/0/1"), ("checkpoint-ready.reason", b"too_deep")],
    [("__connect.errors.topic", b"other"), ("__connect.errors.offset", b"-1")],
    [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")],
    [("long", b"x" * 2000)],
    [("h", b""), FORGED_ORIGIN],
)


class Script:
    """An endless sequence of records."""

    def __init__(self, seed: int, records_per_second: float) -> None:
        self._seed = seed
        self._rate = records_per_second
        self._rng = random.Random(seed)  # noqa: S311 - a test's chance
        self._invalid = invalid_records(self._rng)
        self._later: list[tuple[int, int, Meaning | InvalidSample]] = []
        self._number = self._ids = 0

    def next(self, partitions: int) -> NewRecord:
        """Return the next record; an explicit partition is below `partitions`."""
        self._number += 1
        if self._later and self._later[0][0] <= self._number:
            chosen = heapq.heappop(self._later)[2]
        elif self._rng.random() < INVALID_SHARE:
            chosen = next(self._invalid)
            if self._rng.random() < INVALID_TWICE_SHARE:
                self._repeat(chosen)
        else:
            chosen = self._new_checkpoint()
        value: bytes | None
        if isinstance(chosen, Meaning):
            value, headers = self._write(chosen)
        else:
            value, headers = chosen.value, [mark(Meaning(reason=chosen.reason)), *chosen.headers]
        if headers and self._rng.random() < HOSTILE_SHARE:
            headers = [*headers, *self._rng.choice(HOSTILE_HEADERS)]
        return self._address(value, headers, partitions)

    def _new_checkpoint(self) -> Meaning:
        """Return the first record of a new id, and schedule its repeats."""
        rng = self._rng
        one = checkpoint_id(self._seed, self._ids)
        self._ids += 1
        if rng.random() < CONFLICTING_SHARE:
            others = rng.sample(range(1, VARIANTS), rng.choice((1, 1, 2, 3)))
            variants = [0, 0, *others, *others]
            rng.shuffle(variants)
        else:
            variants = [0] * rng.choices(COPIES, COPIES_WEIGHTS)[0]
        first, *repeats = (Meaning(one, variant) for variant in variants)
        for repeat in repeats:
            self._repeat(repeat)
        return first

    def _repeat(self, what: Meaning | InvalidSample) -> None:
        """Schedule a repeat: at once, soon or minutes later."""
        rng = self._rng
        seconds = rng.choices((0.0, SOON_SECONDS, LATE_SECONDS), (5, 3, 2))[0]
        delay = rng.randint(1, SOON_RECORDS) + int(rng.random() * seconds * self._rate)
        # The drawn number orders what is due together: the contents cannot be compared.
        heapq.heappush(self._later, (self._number + delay, rng.getrandbits(62), what))

    def _write(self, meaning: Meaning) -> tuple[bytes, list[Header]]:
        """Return a checkpoint as one of the variants of its content."""
        content = content_of(meaning.checkpoint_id, meaning.variant)
        if self._rng.random() < PLAIN_SHARE:
            return compact(content), []
        value, headers = write_variant(content, self._rng)
        return value, [mark(meaning), *headers]

    def _address(self, value: bytes | None, headers: list[Header], partitions: int) -> NewRecord:
        rng = self._rng
        key, partition = rng.choice((rng.randbytes(8), rng.randbytes(1), b"", None)), -1
        if rng.random() < 0.2:
            partition = rng.randrange(partitions)
        return NewRecord(value, key, partition, headers)
