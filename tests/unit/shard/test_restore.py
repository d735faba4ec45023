"""A restore takes memory for what it reads, however far apart the offsets are."""

import asyncio
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from types import SimpleNamespace
from typing import cast

import pytest

from consumer.kafka.client.reader import KafkaReader
from consumer.kafka.read import ReadOptions
from consumer.kafka.types import TopicPartition
from consumer.pipeline import seen_ids
from consumer.pipeline.digest_table import ENTRIES_PER_BUCKET, PurePythonDigestTable
from consumer.pipeline.records import IdEntry
from consumer.pipeline.seen_ids import id_digest
from consumer.shard.changelog import ShardState, id_record, progress_record
from consumer.shard.context import ShardContext
from consumer.shard.progress import Progress
from consumer.shard.restore import restore
from schemas.ready_event import Origin
from tests.builders import Record

CHANGELOG = TopicPartition("group.changelog", 0)
IDS = 1000
MARK_OFFSET = 20_000_000
FETCH_RECORDS = 200


class Log:
    """A changelog with holes, as a shard's reader shows it."""

    def __init__(self, records: Iterator[Record], end: int) -> None:
        self._records = records
        self._end = end
        self._position = 0

    async def beginning_offsets(
        self, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return the log's start."""
        return dict.fromkeys(partitions, 0)

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Begin there."""
        self._position = positions[CHANGELOG]

    async def fetch(self, _: int, __: int) -> dict[TopicPartition, list[Record]]:
        """Return the next records."""
        found = list(islice(self._records, FETCH_RECORDS))
        self._position = found[-1].offset + 1 if found else self._end
        return {CHANGELOG: found} if found else {}

    def position(self, _: TopicPartition) -> int:
        """Return how far it is read."""
        return self._position

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Only a partition that was read to its end is paused."""
        assert list(partitions) == [CHANGELOG]
        assert self._position == self._end

    def backlog(self, _: TopicPartition) -> int:
        """Return what is left."""
        return self._end - self._position


def entry(number: int, offset: int) -> Record:
    """Return the changelog's entry of an id."""
    one = f"ftckpt_{number}"
    of_id = id_digest(one)
    key, value = id_record(of_id, IdEntry(one, of_id, Origin("in", 0, number, 0), 0))
    return Record(offset, 0, key, value, [])


def compacted() -> Iterator[Record]:
    """Yield what compaction has left of 20 million offsets: ids far apart."""
    for number in range(IDS):
        yield entry(number, number * (MARK_OFFSET // IDS))


def dense_then_progress() -> Iterator[Record]:
    """Yield ids at first, and then what mere duplicates add: progress."""
    for number in range(IDS):
        yield entry(number, number)
    for offset in range(IDS, MARK_OFFSET, 20_000):
        yield Record(offset, 0, *progress_record("in", 0, Progress(offset, 0)), [])


def restored(records: Iterator[Record]) -> ShardState:
    """Return the memory that a restore of these records makes."""
    log = Log(records, MARK_OFFSET + 1)
    context = SimpleNamespace(
        clock=float, changelog=CHANGELOG, read_options=ReadOptions(clock=float)
    )
    memory = ShardState(0)
    asyncio.run(
        restore(cast("ShardContext", context), cast("KafkaReader", log), MARK_OFFSET, memory)
    )
    return memory


@pytest.mark.parametrize("records", [compacted, dense_then_progress])
def test_memory_is_that_of_the_ids(records: Callable[[], Iterator[Record]]) -> None:
    """A thousand ids among 20 million offsets take kilobytes; by their span it was 36 MiB."""
    restored(iter([]))  # what the first one loads does not count
    tracemalloc.start()
    memory = restored(records())
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(memory.seen) == IDS
    assert kept < 400_000
    assert peak < 1_000_000


def test_room_is_made_for_what_is_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each offset has its id, most room is made beforehand, and nothing is lost.

    This is about the pure-Python table. The compiled one needs no room beforehand.
    """
    monkeypatch.setattr(seen_ids, "DigestTable", PurePythonDigestTable)
    count = 40_000
    memory = restored(entry(number, number * 500) for number in range(count))
    assert len(memory.seen) == count
    buckets = memory.seen._ids._table._buckets  # noqa: SLF001 - how it grew cannot be seen otherwise
    assert count // ENTRIES_PER_BUCKET / 2 <= len(buckets) <= 2 * count // ENTRIES_PER_BUCKET
    assert all(memory.seen.lookup(id_digest(f"ftckpt_{n}"), 0) for n in range(count))
