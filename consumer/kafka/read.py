"""Reads ranges of partitions up to their end offsets: the one loop of this kind.

Restore, state guards, fingerprints, first start, dead-letter limit, jobs and ``tail`` all use
``read_range``. It assigns other partitions to the reader. So a running shard must not pass its own
reader: health probes and metrics can ask that reader at any moment for the positions of the shard's
sources.
"""

import asyncio
import math
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from consumer.errors import TimedOut
from consumer.kafka.port import LogReader
from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import SourceRecord

# By default a broker keeps an abandoned transaction open for at most 15 minutes
# (transaction.max.timeout.ms). But clients by default request one minute, so most waits for an open
# transaction end within these 120 s.
STALLED_SECONDS: Final = 120.0
UNKNOWN_END: Final = sys.maxsize


class OffsetRange(NamedTuple):
    """Offsets of one partition, from `start` up to but not including `end`."""

    start: int
    end: int


class ReadBatch(NamedTuple):
    """Records of one partition, in offset order; everything before `next_offset` is read.

    A batch without records reports that only the position moved, over markers of transactions,
    aborted records, or offsets that compaction removed.
    """

    partition: TopicPartition
    records: Sequence[SourceRecord]
    next_offset: int


class ReadOptions(NamedTuple):
    """How ``read_range`` fetches, how long it waits, and when it ends early.

    `math.inf` disables a limit in seconds. These limits are checked after each fetch.
    """

    max_records: int = 5_000
    fetch_ms: int = 200
    clock: Callable[[], float] = time.monotonic
    """Returns the seconds for the limits. It must have no side effect (`on_fetch` may have)."""
    on_fetch: Callable[[], None] | None = None
    """Called after each fetch. A shard passes the ``beat`` of its heartbeat."""
    stall_seconds: float = STALLED_SECONDS
    """Give up when no position moved for this time."""
    total_seconds: float = math.inf
    """Give up when the whole read takes longer than this."""
    on_wait: Callable[[], None] | None = None
    """Called while no position moves, at most once in `wait_seconds`."""
    wait_seconds: float = math.inf
    is_enough: Callable[[ReadBatch], bool] | None = None
    """Called after each fetch for each partition whose end is not reached. True ends its range."""
    purpose: str = ""
    """What is read, for the error message."""


DEFAULT_OPTIONS: Final = ReadOptions()


async def read_range(
    reader: LogReader,
    ranges: Mapping[TopicPartition, OffsetRange],
    options: ReadOptions = DEFAULT_OPTIONS,
) -> AsyncGenerator[ReadBatch, None]:
    """Yield every record of the ranges that the reader can see, in batches of one partition.

    A range is finished when the position reaches the range's end. So this end can also be an offset
    that holds a marker, or no record.

    Raises:
        TimedOut: no position moved for `stall_seconds`, or the read exceeds `total_seconds`.
        TaskFailed: records cannot be read.
    """
    unfinished = {partition: part for partition, part in ranges.items() if part.start < part.end}
    if not unfinished:
        return
    positions = {partition: part.start for partition, part in unfinished.items()}
    reader.assign(positions)
    wait = _Wait(options)
    while unfinished:
        fetched = await reader.fetch(options.fetch_ms, options.max_records)
        if options.on_fetch is not None:
            options.on_fetch()
        # Take all positions before the next await or yield, because background fetches can move
        # them.
        now = {partition: reader.position(partition) for partition in unfinished}
        batches = [
            ReadBatch(partition, _before(fetched.get(partition, ()), part.end), min(at, part.end))
            for (partition, part), at in zip(unfinished.items(), now.values(), strict=True)
        ]
        finished = [
            batch.partition
            for batch in batches
            if batch.next_offset >= unfinished[batch.partition].end
            or (options.is_enough is not None and options.is_enough(batch))
        ]
        if finished:
            reader.pause(finished)
            unfinished = {p: part for p, part in unfinished.items() if p not in finished}
        for batch in batches:
            if batch.records or batch.next_offset > positions[batch.partition]:
                yield batch
        wait.check(unfinished, now, has_moved=any(now[p] > positions[p] for p in now))
        positions = now
        await asyncio.sleep(0)  # let heartbeats and the other shards run


async def stable_ranges(
    reader: LogReader, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, OffsetRange]:
    """Return the ranges that can be read now without a wait: up to the first open transaction."""
    wanted = list(partitions)
    starts = await reader.beginning_offsets(wanted)
    ends = await reader.end_offsets(wanted)
    return {partition: OffsetRange(starts[partition], ends[partition]) for partition in wanted}


async def settled_ranges(
    reader: LogReader, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, OffsetRange]:
    """Return the ranges of all records that exist now, up to the high watermarks.

    A read of these ranges waits for the transactions that are open now. A range up to the last
    stable offset could miss records: while a transaction is open, committed records can follow that
    offset.

    Raises:
        TimedOut: a leader did not answer in time.
        TaskFailed: a fetch failed.
    """
    wanted = list(partitions)
    starts = await reader.beginning_offsets(wanted)
    ends: dict[TopicPartition, int] = {}

    def is_end_known(batch: ReadBatch) -> bool:
        partition = batch.partition
        backlog = reader.backlog(partition)  # each fetch response brings the high watermark
        if backlog is not None:
            ends[partition] = reader.position(partition) + backlog
        return backlog is not None

    options = ReadOptions(
        max_records=1,
        total_seconds=STALLED_SECONDS,
        is_enough=is_end_known,
        purpose="the end of the log",
    )
    ranges = {partition: OffsetRange(start, UNKNOWN_END) for partition, start in starts.items()}
    async with aclosing(read_range(reader, ranges, options)) as batches:
        async for _ in batches:
            pass  # only the ends count
    return {partition: OffsetRange(starts[partition], ends[partition]) for partition in wanted}


class _Wait:
    """Measures how long a read waits, and applies the limits of its options."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._began = self._last_progress = self._last_notice = options.clock()

    def check(
        self,
        unfinished: Mapping[TopicPartition, OffsetRange],
        positions: Mapping[TopicPartition, int],
        *,
        has_moved: bool,
    ) -> None:
        """Call `on_wait` if it is due, or give up.

        Raises:
            TimedOut: a limit is exceeded.
        """
        options, now = self._options, self._options.clock()
        if has_moved:
            self._last_progress = self._last_notice = now
        elif options.on_wait is not None and now - self._last_notice > options.wait_seconds:
            self._last_notice = now
            options.on_wait()
        if not unfinished:
            return
        if now - self._last_progress > options.stall_seconds:
            cause = (
                f"no progress for {options.stall_seconds:g} s; a transaction is open there, or the "
                "leader is gone"
            )
        elif now - self._began > options.total_seconds:
            cause = f"not read within {options.total_seconds:g} s"
        else:
            return
        places = ", ".join(
            f"{p.topic}/{p.partition} at offset {positions[p]}"
            + ("" if part.end == UNKNOWN_END else f" of {part.end}")
            for p, part in unfinished.items()
        )
        raise TimedOut(f"{options.purpose + ': ' if options.purpose else ''}{places}: {cause}")


def _before(records: Sequence[SourceRecord], end: int) -> Sequence[SourceRecord]:
    if not records or records[-1].offset < end:
        return records
    return [record for record in records if record.offset < end]
