"""Reads a stretch of partitions to its end, and no further.

What is read is committed and, with ``settled_ranges``, complete: the stretch ends where the log
ended, transactions that were open then included, and their end is waited for.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from consumer.errors import TaskFailed
from consumer.kafka.port import LogReader
from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import SourceRecord

FETCH_MS: Final = 200
FETCH_RECORDS: Final = 5_000
# Longer than brokers leave a transaction open that its producer has forgotten (15 minutes is the
# most they allow by default, a minute what clients ask for).
STALLED_SECONDS: Final = 120.0


class OffsetRange(NamedTuple):
    """A stretch of one partition: from `start` on, before `end`."""

    start: int
    end: int


class ReadBatch(NamedTuple):
    """Records of one partition, in offset order; everything before `next_offset` is read."""

    partition: TopicPartition
    records: Sequence[SourceRecord]
    next_offset: int


async def read_range(
    reader: LogReader,
    ranges: Mapping[TopicPartition, OffsetRange],
    *,
    max_records: int = FETCH_RECORDS,
) -> AsyncGenerator[ReadBatch, None]:
    """Yield every committed record of the ranges, a batch of one partition at a time.

    Raises:
        TaskFailed: records cannot be read, or nothing comes for two minutes.
    """
    open_ranges = {
        partition: wanted_range
        for partition, wanted_range in ranges.items()
        if wanted_range.start < wanted_range.end
    }
    if not open_ranges:
        return
    reader.assign(
        {partition: wanted_range.start for partition, wanted_range in open_ranges.items()}
    )
    positions = {partition: wanted_range.start for partition, wanted_range in open_ranges.items()}
    last_progress = time.monotonic()
    while open_ranges:
        fetched = await reader.fetch(FETCH_MS, max_records)
        # All positions before anything is awaited or yielded: the reader is used by us alone,
        # but its background fetches go on.
        now = {partition: reader.position(partition) for partition in open_ranges}
        for partition, records in fetched.items():
            if partition in open_ranges:
                end = open_ranges[partition].end
                within = records if records[-1].offset < end else _before(records, end)
                yield ReadBatch(partition, within, min(now[partition], end))
        if now != {partition: positions[partition] for partition in open_ranges}:
            positions, last_progress = now, time.monotonic()
        elif time.monotonic() - last_progress > STALLED_SECONDS:
            raise TaskFailed(_stalled(open_ranges, now))
        done = [
            partition
            for partition, wanted_range in open_ranges.items()
            if now[partition] >= wanted_range.end
        ]
        if done:
            reader.pause(done)
            for partition in done:
                del open_ranges[partition]
        await asyncio.sleep(0)


async def stable_ranges(
    reader: LogReader, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, OffsetRange]:
    """Return what can be read now without waiting: up to the first transaction that is open."""
    wanted = list(partitions)
    starts = await reader.beginning_offsets(wanted)
    ends = await reader.end_offsets(wanted)
    return {partition: OffsetRange(starts[partition], ends[partition]) for partition in wanted}


async def settled_ranges(
    reader: LogReader, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, OffsetRange]:
    """Return all that exists now; reading it waits for the transactions that are open.

    The last stable offset can lie before entries that are committed already, while an older
    transaction is open; only the high watermark lies behind all of them.

    Raises:
        TaskFailed: a leader did not answer in time.
    """
    wanted = list(partitions)
    starts = await reader.beginning_offsets(wanted)
    reader.assign(starts)
    ends: dict[TopicPartition, int] = {}
    deadline = time.monotonic() + STALLED_SECONDS
    while len(ends) < len(wanted):
        await reader.fetch(FETCH_MS, 1)
        for partition in wanted:
            backlog = reader.backlog(partition)
            if partition not in ends and backlog is not None:
                ends[partition] = reader.position(partition) + backlog
                reader.pause([partition])
        if time.monotonic() > deadline:
            missing = ", ".join(f"{p.topic}/{p.partition}" for p in wanted if p not in ends)
            raise TaskFailed(f"{missing}: the end could not be asked for")
    return {partition: OffsetRange(starts[partition], ends[partition]) for partition in wanted}


def _before(records: Sequence[SourceRecord], end: int) -> Sequence[SourceRecord]:
    return [record for record in records if record.offset < end]


def _stalled(
    open_ranges: Mapping[TopicPartition, OffsetRange], positions: Mapping[TopicPartition, int]
) -> str:
    places = ", ".join(
        f"{p.topic}/{p.partition} at {positions[p]} of {wanted_range.end}"
        for p, wanted_range in open_ranges.items()
    )
    return (
        f"{places}: nothing came for {STALLED_SECONDS:g} s; a transaction is open there, "
        "or the leader is gone"
    )
