"""Counts the committed records that a subscriber has not read yet, exactly up to a limit.

A difference of offsets is no such number, because markers and aborted records have offsets too. So
the records are read. One read of a partition serves all subscribers: it begins at the highest
committed offset and continues with the part before it. So no record is read twice, and a subscriber
that is far behind does not prevent an exact number for the others.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import aclosing
from typing import Final, NamedTuple

from consumer.kafka.port import LogReader
from consumer.kafka.read import OffsetRange, ReadBatch, ReadOptions, read_range
from consumer.kafka.types import TopicPartition

DEFAULT_LIMIT: Final = 10_000
FETCH_RECORDS: Final = 1_000
STALLED_SECONDS: Final = 30.0


class Unread(NamedTuple):
    """A number of unread records; if it is not exact, there are at least as many."""

    records: int
    is_exact: bool


class UnreadCounter:
    """Counts the records from each of some offsets to the end of one partition. Pure."""

    def __init__(self, offsets: Iterable[int], log: OffsetRange, limit: int) -> None:
        """Begin with the highest offset; read at most about `limit` records."""
        self._log = log
        self._limit = limit
        self._pending = sorted({self._within_log(offset) for offset in offsets})
        self._end = log.end
        self._records = 0
        self._counted = {log.end: 0}

    def next_range(self) -> OffsetRange | None:
        """Return the range to read next, or None if all is counted or the limit is reached."""
        while self._pending and self._pending[-1] >= self._end:
            self._pending.pop()
        if not self._pending or self._records >= self._limit:
            return None
        return OffsetRange(self._pending[-1], self._end)

    def is_enough(self, records: int) -> bool:
        """Return whether these further records of the range reach the limit."""
        return self._records + records >= self._limit

    def add(self, records: int, next_offset: int) -> None:
        """Count records of the range; everything before `next_offset` is read."""
        self._records += records
        if next_offset >= self._end:
            self._end = self._pending.pop()
            self._counted[self._end] = self._records

    def unread_from(self, offset: int) -> Unread:
        """Return the number of unread records of a subscriber with this committed offset."""
        counted = self._counted.get(self._within_log(offset))
        if counted is None:
            return Unread(self._records, is_exact=False)
        return Unread(counted, is_exact=True)

    def _within_log(self, offset: int) -> int:
        return min(max(offset, self._log.start), self._log.end)


async def count_unread(
    reader: LogReader,
    offsets: Mapping[TopicPartition, Collection[int]],
    logs: Mapping[TopicPartition, OffsetRange],
    limit: int = DEFAULT_LIMIT,
) -> dict[TopicPartition, UnreadCounter]:
    """Count from each of these offsets to the ends of `logs`; `limit` is for each partition.

    `reader` must read committed, and `logs` must end at the last stable offsets.

    Raises:
        TimedOut: a leader did not answer in time.
        TaskFailed: records cannot be read.
    """
    counters = {
        partition: UnreadCounter(at, logs[partition], limit) for partition, at in offsets.items()
    }

    def is_enough(batch: ReadBatch) -> bool:
        return counters[batch.partition].is_enough(len(batch.records))

    options = ReadOptions(
        max_records=min(FETCH_RECORDS, limit),
        stall_seconds=STALLED_SECONDS,
        is_enough=is_enough,
        purpose="the unread events",
    )
    while ranges := {
        partition: part
        for partition, counter in counters.items()
        if (part := counter.next_range()) is not None
    }:
        async with aclosing(read_range(reader, ranges, options)) as batches:
            async for batch in batches:
                counters[batch.partition].add(len(batch.records), batch.next_offset)
    return counters
