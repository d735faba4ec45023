"""``read_range``, the one loop that reads up to an offset."""

from __future__ import annotations

import math
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

import pytest

from consumer.errors import TimedOut
from consumer.kafka.read import (
    OffsetRange,
    ReadBatch,
    ReadOptions,
    read_range,
    settled_ranges,
)
from consumer.kafka.types import TopicPartition
from tests.builders import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from consumer.kafka.port import LogReader

FIRST, SECOND = TopicPartition("t", 0), TopicPartition("t", 1)
FETCH_SECONDS = 1.0


def records(*offsets: int) -> list[Record]:
    """Return a record at each offset."""
    return [Record(offset, 0, b"key", b"value", ()) for offset in offsets]


class FakeReader:
    """Delivers prepared fetches; each one takes a second, and the last one repeats."""

    def __init__(self, *fetches: dict[TopicPartition, tuple[list[Record], int]]) -> None:
        """Each fetch has records and the position after them, by partition."""
        self.now = 0.0
        self.assigned: list[dict[TopicPartition, int]] = []
        self.paused: list[TopicPartition] = []
        self.backlogs: dict[TopicPartition, int] = {}
        self._fetches = list(fetches)
        self._positions: dict[TopicPartition, int] = {}

    def clock(self) -> float:
        """Return the seconds that fetches took."""
        return self.now

    async def beginning_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return 0 for each."""
        return dict.fromkeys(partitions, 0)

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Start there."""
        self.assigned.append(dict(positions))
        self._positions = dict(positions)

    async def fetch(self, _: int, __: int) -> dict[TopicPartition, list[Record]]:
        """Return the next prepared fetch."""
        self.now += FETCH_SECONDS
        fetched = self._fetches.pop(0) if self._fetches else {}
        self._positions |= {partition: position for partition, (_, position) in fetched.items()}
        return {partition: found for partition, (found, _) in fetched.items() if found}

    def position(self, partition: TopicPartition) -> int:
        """Return the next offset."""
        return self._positions[partition]

    def backlog(self, partition: TopicPartition) -> int | None:
        """Return high watermark minus position."""
        return self.backlogs.get(partition)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Record them."""
        self.paused += partitions


async def read(
    reader: FakeReader,
    ranges: Mapping[TopicPartition, OffsetRange],
    options: ReadOptions | None = None,
) -> list[ReadBatch]:
    """Return all batches."""
    chosen = (options or ReadOptions())._replace(clock=reader.clock)
    async with aclosing(read_range(cast("LogReader", reader), ranges, chosen)) as batches:
        return [batch async for batch in batches]


async def test_a_range_ends_before_its_end_offset() -> None:
    """Records from the end offset on are left out, and a finished partition is paused."""
    reader = FakeReader({FIRST: (records(0, 1, 2, 3), 4)}, {SECOND: (records(5), 6)})
    ranges = {FIRST: OffsetRange(0, 3), SECOND: OffsetRange(5, 6)}
    assert await read(reader, ranges) == [
        ReadBatch(FIRST, records(0, 1, 2), 3),
        ReadBatch(SECOND, records(5), 6),
    ]
    assert reader.paused == [FIRST, SECOND]


async def test_an_empty_range_is_not_assigned() -> None:
    """A broker may refuse its offset, and there is nothing to read."""
    reader = FakeReader()
    assert await read(reader, {FIRST: OffsetRange(7, 7)}) == []
    assert reader.assigned == []


async def test_markers_alone_are_progress() -> None:
    """They move the position without a record; the batch reports it."""
    reader = FakeReader({FIRST: (records(0), 1)}, {FIRST: ([], 2)})
    first, second = await read(reader, {FIRST: OffsetRange(0, 2)})
    assert first == ReadBatch(FIRST, records(0), 1)
    assert (list(second.records), second.next_offset) == ([], 2)


async def test_a_stall_ends_the_read() -> None:
    """The limit counts from the last progress, and the error names what is missing."""
    slow = [{FIRST: (records(offset), offset + 1)} for offset in range(5)]
    reader = FakeReader(*slow)
    options = ReadOptions(stall_seconds=3.5, purpose="the log")
    with pytest.raises(TimedOut, match=r"the log: t/0 at offset 5 of 9: no progress for 3.5 s"):
        await read(reader, {FIRST: OffsetRange(0, 9)}, options)
    assert reader.now == 9


async def test_a_total_limit_ends_a_read_that_makes_progress() -> None:
    """It counts from the start."""
    reader = FakeReader(*({FIRST: (records(offset), offset + 1)} for offset in range(9)))
    options = ReadOptions(total_seconds=3.5)
    with pytest.raises(TimedOut, match=r"t/0 at offset 4 of 9: not read within 3.5 s"):
        await read(reader, {FIRST: OffsetRange(0, 9)}, options)


async def test_a_wait_is_reported_again_and_again() -> None:
    """The read itself goes on without a limit."""
    nothing: dict[TopicPartition, tuple[list[Record], int]] = {}
    reader = FakeReader(*[nothing] * 9, {FIRST: (records(0), 1)})
    waits: list[float] = []
    options = ReadOptions(
        stall_seconds=math.inf, on_wait=lambda: waits.append(reader.now), wait_seconds=3.0
    )
    assert await read(reader, {FIRST: OffsetRange(0, 1)}, options)
    assert waits == [4.0, 8.0]


async def test_a_caller_can_end_one_range_early() -> None:
    """The other partitions are read on."""
    reader = FakeReader({FIRST: (records(0), 1)}, {SECOND: (records(0, 1), 2)})
    options = ReadOptions(
        is_enough=lambda batch: batch.partition == FIRST and batch.next_offset > 0
    )
    ranges = {FIRST: OffsetRange(0, 100), SECOND: OffsetRange(0, 2)}
    assert [batch.partition for batch in await read(reader, ranges, options)] == [FIRST, SECOND]
    assert reader.paused == [FIRST, SECOND]


async def test_settled_ranges_end_at_the_high_watermark() -> None:
    """Each fetch response brings it, also that of an empty partition."""
    reader = FakeReader({FIRST: (records(0), 1)})
    reader.backlogs = {FIRST: 9, SECOND: 0}
    found = await settled_ranges(cast("LogReader", reader), [FIRST, SECOND])
    assert found == {FIRST: OffsetRange(0, 10), SECOND: OffsetRange(0, 0)}
