"""What a payload may cost: processor time in `process`, measured for each record of a batch."""

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple, overload

from consumer.pipeline.decider import Decider, Decision
from consumer.pipeline.record_size import record_bytes
from consumer.pipeline.records import ShardSettings, SourceBatch
from consumer.pipeline.seen_ids import SeenIds
from consumer.service.app import GC_THRESHOLDS
from tests.builders import NO_CEILING_MS, TOPIC, Record

SECONDS_PER_MB: Final = 0.050
SECONDS_PER_FURTHER_MB: Final = 0.100
"""Of a payload of several megabytes each copy needs new pages, which the system has to clear."""
LEAST_SECONDS: Final = 0.010
"""Also for a payload of a few bytes: less cannot be told from a page fault on a busy machine."""
_TRIES: Final = 3
_MB: Final = 1_000_000
_HEADER_BYTES: Final = 3
"""What the lengths of a header take in a batch, at the least."""


class TooSlow(AssertionError):
    """A payload costs more than its budget, each time it is measured."""


class Slowest(NamedTuple):
    """The payload that used the largest share of its budget."""

    share: float = 0.0
    seconds: float = 0.0
    size_bytes: int = 0
    beginning: bytes = b""

    def describe(self) -> str:
        """Return it in one line."""
        return (
            f"slowest: {self.seconds * 1000:.1f} ms for {self.size_bytes:,} bytes, "
            f"{self.share:.0%} of its budget: {self.beginning!r}"
        )


class TimedRecords(Sequence[Record]):
    """Records that note how long their reader works on each: until it asks for the next one."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self.seconds: list[float] = []

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Record]: ...
    def __getitem__(self, place: int | slice) -> Record | Sequence[Record]:
        return self._records[place]

    def __iter__(self) -> Iterator[Record]:
        for record in self._records:
            began = time.thread_time()
            yield record
            self.seconds.append(time.thread_time() - began)


@contextmanager
def as_in_the_service() -> Iterator[None]:
    """Collect garbage as rarely as the service does."""
    before = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def without_collections() -> Iterator[None]:
    """Collect no garbage: what a collection costs depends on the process, not on the payload."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def budget_seconds(record: Record) -> float:
    """Return what this record may cost."""
    size_bytes = record_bytes(record) + _HEADER_BYTES * len(record.headers)
    first, further = min(size_bytes, _MB), max(0, size_bytes - _MB)
    seconds = (SECONDS_PER_MB * first + SECONDS_PER_FURTHER_MB * further) / _MB
    return max(LEAST_SECONDS, seconds)


def check_budget(timed: TimedRecords, settings: ShardSettings, *, forwarded: bool) -> Slowest:
    """Return the slowest of the records.

    Raises:
        TooSlow: one is over its budget, also when it is decided alone.
    """
    slowest = Slowest()
    for record, seconds in zip(timed, list(timed.seconds), strict=True):
        budget = budget_seconds(record)
        spent = seconds
        for _ in range(_TRIES):  # a busy machine, or a collection of garbage?
            if spent > budget:
                spent = min(spent, _seconds_alone(record, settings, forwarded=forwarded))
        found = Slowest(spent / budget, spent, record_bytes(record), (record.value or b"")[:60])
        if spent > budget:
            raise TooSlow(f"over its budget of {budget * 1000:.0f} ms; {found.describe()}")
        slowest = max(slowest, found)
    return slowest


def _seconds_alone(record: Record, settings: ShardSettings, *, forwarded: bool) -> float:
    alone = TimedRecords([record])
    batch = SourceBatch(TOPIC, 0, alone, forwarded)
    with without_collections():
        Decider(settings, SeenIds(0)).decide(batch, Decision(), NO_CEILING_MS)
    return alone.seconds[0]
