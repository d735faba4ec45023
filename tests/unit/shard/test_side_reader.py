"""Checks of a running shard: they use side readers, and its own reader keeps its sources."""

from __future__ import annotations

import gc
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from msgspec.structs import replace

from consumer.config import PREFIX, Settings
from consumer.errors import TaskFailed
from consumer.kafka.client.transaction_batches import TransactionBatches
from consumer.kafka.clock import BrokerClock
from consumer.kafka.topics import Topology
from consumer.kafka.types import FetchedRecords, TopicPartition
from consumer.pipeline.decider import Decider, Decision
from consumer.pipeline.records import SourceBatch
from consumer.pipeline.seen_ids import SeenIds
from consumer.shard.buffer import Buffer
from consumer.shard.changelog import ShardState
from consumer.shard.commit_policy import TransactionSizeLimit
from consumer.shard.context import ShardContext
from consumer.shard.dead_letter_limit import LOOK_BACK_SECONDS, DeadLetterGuard
from consumer.shard.loop import MOVED_SECONDS, ShardLoop
from consumer.shard.progress import Fingerprint, Found, Progress
from consumer.shard.sources import Sources
from consumer.shard.start_positions import Start, inspect
from tests.builders import Record, record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

INPUT = TopicPartition("input", 0)
FORWARDS = TopicPartition("group.repartition", 0)
HANDLED = Record(9, 90, b"key", b"handled", ())


class FakeReader:
    """A reader of logs in memory. Like the real one it has no position of other partitions."""

    def __init__(
        self,
        logs: Mapping[TopicPartition, Sequence[Record]],
        log_start: int = 0,
        beside: Callable[[], object] = lambda: None,
    ) -> None:
        """Each fetch calls `beside`, which plays the rest of the process."""
        self.needs_revalidation = False
        self.assigned: dict[TopicPartition, int] = {}
        self.assignments: list[dict[TopicPartition, int]] = []
        self._logs = logs
        self._log_start = log_start
        self._beside = beside

    async def beginning_offsets(self, sources: Sequence[TopicPartition]) -> dict[Any, int]:
        """Return where the logs begin."""
        return dict.fromkeys(sources, self._log_start)

    async def end_offsets(self, sources: Sequence[TopicPartition]) -> dict[Any, int]:
        """Return where the logs end."""
        return {s: self._logs[s][-1].offset + 1 if self._logs[s] else 0 for s in sources}

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these and no others; brokers refuse what is out of range."""
        assert all(offset >= self._log_start for offset in positions.values())
        self.assigned = dict(positions)
        self.assignments.append(dict(positions))

    async def fetch(self, _: int, __: int) -> dict[TopicPartition, FetchedRecords]:
        """Return all from the positions on."""
        self._beside()
        found = {
            s: [one for one in self._logs[s] if one.offset >= at] for s, at in self.assigned.items()
        }
        for source, records in found.items():
            if records:
                self.assigned[source] = records[-1].offset + 1
        return {source: FetchedRecords.of(records) for source, records in found.items() if records}

    def position(self, source: TopicPartition) -> int:
        """Return a position; raises for what is not assigned."""
        return self.assigned[source]

    def lag(self, source: TopicPartition) -> int:
        """Return no lag; raises for what is not assigned."""
        return 0 * self.assigned[source]

    def seen_at(self, source: TopicPartition) -> float:
        """Raise for what is not assigned."""
        return 0.0 * self.assigned[source]

    def stable_offset_and_end(self, source: TopicPartition) -> None:
        """Raise for what is not assigned; no fetch has answered."""
        assert source in self.assigned

    def pause(self, _: object) -> None:
        """Do nothing."""

    def use_running_fetch_settings(self) -> None:
        """Do nothing."""


class FakeReaders:
    """Opens one reader, and stands for the admin client too."""

    def __init__(self, reader: FakeReader) -> None:
        """Hand out this reader."""
        self.admin = self
        self._reader = reader

    @asynccontextmanager
    async def open(self, _: ShardContext, *, committed_only: bool) -> AsyncIterator[FakeReader]:
        """Hand it out."""
        assert committed_only in {True, False}
        yield self._reader

    async def epoch_ends(self, epochs: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Know no epoch."""
        assert epochs
        return {}


@pytest.fixture
def context() -> ShardContext:
    """One shard with one input partition."""
    settings = Settings.load(
        {
            f"{PREFIX}GROUP_ID": "group",
            f"{PREFIX}INPUT_TOPICS": "input",
            f"{PREFIX}DEAD_LETTER_LIMIT_PERCENT": "50",
        }
    )
    names = ("input", "group.repartition", "group.changelog")
    others = (settings.output_topic, settings.dead_letter_topic)
    topology = Topology(
        cluster_id="cluster",
        shards=1,
        inputs={"input": 1},
        output_partitions=1,
        dead_letter_partitions=1,
        max_message_bytes=dict.fromkeys((*names, *others), 1_000_000),
        topic_ids=dict.fromkeys(names, "id"),
        leader_epochs={name: {0: 3} for name in names},
    )
    return ShardContext(0, settings, topology, lambda: 0.0)


class FakeWriter:
    """Takes what is sent and commits it."""

    def __init__(self) -> None:
        """Count transactions."""
        self.committed = 0
        self.broker_clock = BrokerClock()

    def new_batches(self, sizes: dict[str, int], unstamped: set[str]) -> TransactionBatches:
        """Return real batches."""
        return TransactionBatches(sizes, unstamped)

    async def send(self, _: object) -> None:
        """Take it."""

    async def commit(self) -> None:
        """Count it."""
        self.committed += 1


def running(
    context: ShardContext,
    own: FakeReader,
    look: FakeReader,
    memory: ShardState | None = None,
    writer: FakeWriter | None = None,
) -> ShardLoop:
    """Return a loop that has handled ten records of each source."""
    memory = memory or ShardState(0)
    sources = (INPUT, FORWARDS)
    for source in sources:
        memory.progress[source] = Progress(10, 0, Fingerprint.of(HANDLED), "id", 3)
    unused: Any = None
    anything: Any = own
    readers: Any = FakeReaders(look)
    return ShardLoop(
        context,
        memory=memory,
        sources=Sources(
            context,
            memory,
            anything,
            readers,
            Start(dict.fromkeys(sources, 10), {}),
        ),
        writer=writer or unused,  # type: ignore[arg-type]  # stands for it
        readers=readers,
        observer=Mock(),
        limit=TransactionSizeLimit(1000),
        topics_seen_at=0.0,
    )


async def test_a_loop_leaves_its_ids_without_the_garbage_collector(context: ShardContext) -> None:
    """A cycle would keep them in memory for long: the collector seldom runs in this process."""
    own, memory = FakeReader({INPUT: [], FORWARDS: []}), ShardState(0)
    loop = running(context, own, own, memory)
    await loop.run_once()
    kept = weakref.ref(memory)
    gc.disable()
    try:
        del loop, memory
        assert kept() is None
    finally:
        gc.enable()


async def test_probes_are_answered_while_sources_are_revalidated(context: ShardContext) -> None:
    """Positions, lag and state can be read at any moment of the revalidation."""
    own = FakeReader({INPUT: [], FORWARDS: []})
    asked: list[tuple[Any, Any, Any]] = []

    def ask() -> None:
        sources = loop.sources
        asked.append((sources.positions, sources.statuses, sources.is_behind))

    look = FakeReader({INPUT: [HANDLED], FORWARDS: [HANDLED]}, beside=ask)
    loop = running(context, own, look)
    own.needs_revalidation = True
    await loop.run_once()
    assert asked
    assert all(positions == {INPUT: 10, FORWARDS: 10} for positions, _, _ in asked)
    assert all(assigned.keys() == {INPUT, FORWARDS} for assigned in own.assignments)
    assert not own.needs_revalidation


async def test_records_gathered_before_a_revalidation_are_read_again(context: ShardContext) -> None:
    """Some of it may be of the log before a truncation, and some of the log after it."""
    unread = record({"id": "b"}, offset=10)
    own = FakeReader({INPUT: [unread], FORWARDS: []})
    look = FakeReader({INPUT: [HANDLED, unread], FORWARDS: [HANDLED]})
    loop = running(context, own, look)
    own.needs_revalidation = True
    await loop.run_once()
    assert own.assigned[INPUT] == 10
    assert loop.sources.positions[INPUT] == 10


async def test_another_record_in_place_of_the_last_ends_the_task(context: ShardContext) -> None:
    """The start of the next task decides where to resume."""
    own = FakeReader({INPUT: [], FORWARDS: []})
    look = FakeReader({INPUT: [HANDLED._replace(value=b"another")], FORWARDS: [HANDLED]})
    loop = running(context, own, look)
    own.needs_revalidation = True
    with pytest.raises(TaskFailed, match="input/0 was truncated"):
        await loop.run_once()


async def test_another_topic_id_ends_the_task(context: ShardContext) -> None:
    """Deleted and created again between two fetches, a topic refuses none of them."""
    own = FakeReader({INPUT: [], FORWARDS: []})
    loop = running(context, own, own)
    ids = {**context.topology.topic_ids, "input": "another"}
    changed = replace(context, topology=replace(context.topology, topic_ids=ids))
    with pytest.raises(TaskFailed, match="input was deleted and created again"):
        await loop.refresh_topology(changed, 0)


async def test_the_dead_letter_limit_uses_a_side_reader(context: ShardContext) -> None:
    """It reads records before the position, with a reader of its own."""
    invalid = [Record(offset, 0, b"key", b"no JSON", ()) for offset in range(20)]
    look = FakeReader({INPUT: invalid})
    guard = DeadLetterGuard(context.settings, FakeReaders(look))  # type: ignore[arg-type]
    buffer, decision = Buffer(), Decision()
    buffer.add({INPUT: FetchedRecords.of(invalid[10:])}, lambda _: 20)
    batch = SourceBatch("input", 0, invalid[10:], forwarded=False)
    Decider(context.pipeline(), SeenIds(0)).decide(batch, decision, 2**62)
    await guard.check(context, buffer, decision, SeenIds(0))
    assert look.assignments == [{INPUT: 0}]


async def test_a_slow_look_back_is_cut(context: ShardContext) -> None:
    """Huge records must not stop a shard: the rest of the window is skipped."""
    invalid = [Record(offset, 0, b"key", b"no JSON", ()) for offset in range(501)]
    clock = [0.0]

    def wait() -> None:
        clock[0] += LOOK_BACK_SECONDS / 2 + 1

    class SlowReader(FakeReader):
        async def fetch(self, _: int, __: int) -> dict[TopicPartition, FetchedRecords]:
            at = self.assigned[INPUT]
            self.assigned[INPUT] = at + 200
            wait()
            return {INPUT: FetchedRecords.of(invalid[at : at + 200])}

    look = SlowReader({INPUT: invalid})
    slow = replace(context, clock=lambda: clock[0])
    guard = DeadLetterGuard(context.settings, FakeReaders(look))  # type: ignore[arg-type]
    buffer, decision = Buffer(), Decision()
    buffer.add({INPUT: FetchedRecords.of(invalid[500:])}, lambda _: 501)
    batch = SourceBatch("input", 0, invalid[500:], forwarded=False)
    Decider(context.pipeline(), SeenIds(0)).decide(batch, decision, 2**62)
    await guard.check(slow, buffer, decision, SeenIds(0))  # 401 of 500: not all 501
    assert look.position(INPUT) == 400


async def test_a_fingerprint_that_retention_deleted_is_not_fetched(context: ShardContext) -> None:
    """A fetch before the log's start would be refused, and request another revalidation."""
    look = FakeReader({INPUT: [HANDLED._replace(offset=20)]}, log_start=15)
    known = {INPUT: Progress(10, 0, Fingerprint.of(HANDLED), "id", 3)}
    reader: Any = look
    found = await inspect(context, reader, reader, known)
    assert found == {INPUT: Found(15, 21, "id")}
    assert look.assignments == []


async def test_a_position_after_markers_is_saved_in_intervals(context: ShardContext) -> None:
    """A marker moves the position without a record, and retention may delete the marker."""
    clock = [0.0]
    ticking = replace(context, clock=lambda: clock[0])
    own, memory, writer = FakeReader({INPUT: [], FORWARDS: []}), ShardState(0), FakeWriter()
    loop = running(ticking, own, own, memory, writer)
    own.assigned[INPUT] = 12
    for _ in range(3):
        await loop.run_once()
    assert writer.committed == 0  # not at once: it would double the transactions of a trickle
    for seconds in (1, 10, MOVED_SECONDS + 20, 2 * MOVED_SECONDS):
        clock[0] = MOVED_SECONDS + seconds
        await loop.run_once()
    assert writer.committed == 1
    assert memory.progress[INPUT].next_offset == 12
    assert memory.progress[INPUT].fingerprint == Fingerprint.of(HANDLED)
    assert memory.progress[FORWARDS].next_offset == 10
