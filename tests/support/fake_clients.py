"""The clients of the in-memory Kafka: reader and writer.

Every call awaits once before and once after its effect. So other tasks can run, and a task can be
cancelled, before and after the effect, as with a real broker.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import cast

from consumer.errors import TaskFailed, TimedOut
from consumer.kafka import port
from consumer.kafka.clock import BrokerClock
from consumer.kafka.open_transactions import refuse_unchecked
from consumer.kafka.types import FetchedRecords, TopicPartition
from consumer.pipeline.records import Header
from tests.support.fake_cluster import FakeCluster, Fault, Killed
from tests.support.fake_log import NO_TIMESTAMP_MS, NewRecord, Producer


class FakeReader:
    """Reads logs in memory, with the positions, lag and errors of ``KafkaReader``."""

    def __init__(self, cluster: FakeCluster, client_id: str, *, committed_only: bool) -> None:
        """Read nothing before ``assign``."""
        self.needs_revalidation = False
        self._cluster = cluster
        self._client_id = client_id
        self._committed_only = committed_only
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._ends: dict[TopicPartition, tuple[int, int]] = {}
        self._seen_at: dict[TopicPartition, float] = {}

    async def start(self) -> None:
        """Connect."""
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Close."""
        await asyncio.sleep(0)

    async def follow(self, topics: Iterable[str]) -> None:
        """Require that these topics exist."""
        await asyncio.sleep(0)
        for topic in topics:
            self._cluster.log(TopicPartition(topic, 0))

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions, each from the given offset, and no others."""
        self._positions = dict(positions)
        self._paused.clear()
        self._ends = {p: ends for p, ends in self._ends.items() if p in positions}

    def use_running_fetch_settings(self) -> None:
        """Do nothing: every fetch returns at once."""

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver no more records of these partitions."""
        self._paused.update(partitions)

    async def fetch(
        self, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, FetchedRecords]:
        """Return the records at hand, or wait up to ``timeout_ms`` for some.

        Raises:
            TaskFailed: a position is outside of its log, or a partition does not exist.
        """
        await asyncio.sleep(0)
        if self._cluster.takes_place(Fault.FETCH_REFUSED, self._client_id):
            self.needs_revalidation = True
            return {}
        found, has_moved = self._sweep(max_records)
        if not found and not has_moved:
            await self._cluster.wait_for_change(timeout_ms / 1000)
            found, _ = self._sweep(max_records)
        return found

    def _sweep(self, max_records: int) -> tuple[dict[TopicPartition, FetchedRecords], bool]:
        """Return the records of each partition, and whether a position moved or an end is new."""
        room = min(max_records, self._cluster.most_fetched)
        found: dict[TopicPartition, FetchedRecords] = {}
        has_moved = False
        for partition in [p for p in self._positions if p not in self._paused]:
            if not self._cluster.has_leader(partition):
                continue
            log, position = self._cluster.log(partition), self._positions[partition]
            if not log.log_start <= position <= log.high_watermark:
                self.needs_revalidation = True
                raise TaskFailed(f"fetch: OffsetOutOfRangeError: {partition} at {position}")
            read = log.read(position, room, committed_only=self._committed_only)
            room -= len(read.records)
            has_moved |= partition not in self._ends or read.position > position
            self._positions[partition] = read.position
            self._ends[partition] = log.last_stable_offset, log.high_watermark
            self._seen_at[partition] = time.monotonic()
            if read.records:
                batch_start = log.batch_start(read.records[-1].offset)
                found[partition] = FetchedRecords.of(read.records, batch_start)
        return found, has_moved

    def position(self, partition: TopicPartition) -> int:
        """Return the offset of the next record to deliver; markers count as delivered."""
        return self._positions[partition]

    @property
    def positions(self) -> dict[TopicPartition, int]:
        """The position of each assigned partition."""
        return dict(self._positions)

    def lag(self, partition: TopicPartition) -> int | None:
        """Return last stable offset minus position, or None before the first fetch."""
        position, ends = self._positions[partition], self._ends.get(partition)
        return None if ends is None else max(0, ends[0] - position)

    def backlog(self, partition: TopicPartition) -> int | None:
        """Return high watermark minus position, or None before the first fetch."""
        position, ends = self._positions[partition], self._ends.get(partition)
        return None if ends is None else max(0, ends[1] - position)

    def stable_offset_and_end(self, partition: TopicPartition) -> tuple[int, int] | None:
        """Return the last stable offset and the high watermark, or None before the first fetch."""
        return self._ends.get(partition)

    def seen_at(self, partition: TopicPartition) -> float | None:
        """Return when the latest fetch was sent, in monotonic seconds."""
        return self._seen_at.get(partition)

    async def beginning_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return each partition's log start offset."""
        await self._answer(partitions)
        return {p: self._cluster.log(p).log_start for p in partitions}

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return each partition's last stable offset (read_committed), else its high watermark."""
        await self._answer(partitions)
        logs = {p: self._cluster.log(p) for p in partitions}
        return {
            p: log.last_stable_offset if self._committed_only else log.high_watermark
            for p, log in logs.items()
        }

    async def _answer(self, partitions: Iterable[TopicPartition]) -> None:
        """Return when all leaders have answered.

        Raises:
            TaskFailed: a partition has no leader.
        """
        await asyncio.sleep(0)
        if not self._cluster.leaderless.isdisjoint(partitions):
            raise TaskFailed("list offsets: KafkaTimeoutError")
        if not self._cluster.silent.isdisjoint(partitions):
            await asyncio.Event().wait()

    async def offsets_for_times(
        self, times_ms: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, tuple[int, int] | None]:
        """Return offset and timestamp of each partition's first record from that time on."""
        await asyncio.sleep(0)
        firsts = {
            p: self._cluster.log(p).first_from(time_ms, committed_only=self._committed_only)
            for p, time_ms in times_ms.items()
        }
        return {p: None if it is None else (it.offset, it.timestamp) for p, it in firsts.items()}


class _FakePartitionBatches:
    def __init__(self, timestamp_ms: int) -> None:
        self._timestamp_ms = timestamp_ms
        self.records: list[NewRecord] = []

    def append(
        self, key: bytes | None, value: bytes | None, headers: Sequence[Header] = ()
    ) -> None:
        self.records.append(NewRecord(key, value, list(headers), self._timestamp_ms))

    def append_pairs(self, pairs: Iterable[tuple[bytes | None, bytes | None]], /) -> None:
        for key, value in pairs:
            self.append(key, value)


class FakeBatches:
    """The records of one transaction; partitions in the order of their first record."""

    def __init__(self, timestamp_ms: int, unstamped: Collection[str]) -> None:
        """Start empty."""
        self.partitions: dict[TopicPartition, _FakePartitionBatches] = {}
        self._timestamp_ms = timestamp_ms
        self._unstamped = unstamped

    def to(self, topic: str, partition: int) -> port.PartitionBatches:
        """Return the batches for one partition."""
        timestamp_ms = NO_TIMESTAMP_MS if topic in self._unstamped else self._timestamp_ms
        target = TopicPartition(topic, partition)
        return self.partitions.setdefault(target, _FakePartitionBatches(timestamp_ms))


class FakeWriter:
    """Writes transactions to logs in memory.

    Like aiokafka it commits the delivered batches only. So a commit after a failed ``send``
    succeeds without the failed batch.
    """

    def __init__(self, cluster: FakeCluster, transactional_id: str) -> None:
        """Prepare a writer. It owns the transactional id after ``fence``."""
        self.transactional_id = transactional_id
        self.unchecked: frozenset[TopicPartition] = frozenset()
        self.broker_clock = BrokerClock()
        self.begun_transactions = 0
        self.committed_transactions = 0
        self._cluster = cluster
        self._producer: Producer | None = None

    @property
    def producer_id_and_epoch(self) -> tuple[int, int]:
        """The producer id, and the epoch of this owner; after ``fence``."""
        return self._owner

    @property
    def _owner(self) -> Producer:
        if self._producer is None:
            raise RuntimeError("a writer must fence before it writes")
        return self._producer

    async def fence(self) -> None:
        """Take over the transactional id by InitProducerId (KIP-98)."""
        await self._cluster.run_before_fence(self.transactional_id)
        await asyncio.sleep(0)
        self._producer = self._cluster.init_producer_id(self.transactional_id)
        await asyncio.sleep(0)

    def new_batches(
        self,
        max_message_bytes: Mapping[str, int],  # noqa: ARG002 - the port's; a log has no batches here
        unstamped: Collection[str] = (),
    ) -> FakeBatches:
        """Return an empty set of batches."""
        return FakeBatches(self._cluster.now_ms(), unstamped)

    async def send(self, batches: port.TransactionBatches) -> dict[TopicPartition, int]:
        """Append every record within a transaction; return the first offset per partition.

        Raises:
            Leaderless: a partition is ``unchecked``.
            Fenced: another producer took the transactional id over.
            TaskFailed, TimedOut: the test has injected it, or a partition has no leader.
        """
        targets = cast("FakeBatches", batches).partitions
        refuse_unchecked(self, targets)
        await asyncio.sleep(0)
        self._cluster.add(self.transactional_id, self._owner, list(targets))
        self.begun_transactions += 1
        first_offsets: dict[TopicPartition, int] = {}
        failed = [p for p in targets if self._cluster.takes_place(Fault.SEND_FAILED, p.topic)]
        waiting = [p for p in targets if not self._cluster.has_leader(p)]
        for target in [p for p in targets if p not in failed and p not in waiting]:
            for new in targets[target].records:
                record = self._cluster.append(self.transactional_id, self._owner, target, new)
                first_offsets.setdefault(target, record.offset)
                if self._cluster.log(target).is_log_append_time:
                    self.broker_clock.set(record.timestamp)
            await asyncio.sleep(0)
        if waiting:
            raise TimedOut(f"the send to {waiting} did not answer in time")
        if failed:
            raise TaskFailed(f"send: the batch for {failed} failed")
        if self._cluster.takes_place(Fault.SEND_TIMED_OUT, self.transactional_id):
            raise TimedOut("the send did not answer in time")
        return first_offsets

    async def commit(self) -> None:
        """Commit what ``send`` delivered.

        Raises:
            Fenced: another producer took the transactional id over; nothing was committed.
            TaskFailed: the test has injected it; the outcome is unknown.
        """
        await asyncio.sleep(0)
        cluster, transactional_id = self._cluster, self.transactional_id
        if cluster.takes_place(Fault.KILLED_BEFORE_COMMIT, transactional_id):
            raise Killed
        if cluster.takes_place(Fault.COMMIT_REQUEST_LOST, transactional_id):
            raise TaskFailed("the commit (EndTxn) did not answer in time")
        cluster.commit(transactional_id, self._owner)
        if cluster.takes_place(Fault.COMMIT_ANSWER_LOST, transactional_id):
            raise TaskFailed("the commit (EndTxn) did not answer in time")
        if cluster.takes_place(Fault.KILLED_AFTER_COMMIT, transactional_id):
            raise Killed
        await asyncio.sleep(0)
        self.committed_transactions += 1

    async def commit_in(self, partitions: Iterable[TopicPartition]) -> None:
        """Commit a transaction without records, which writes its marker to these partitions."""
        await asyncio.sleep(0)
        self._cluster.add(self.transactional_id, self._owner, list(partitions))
        self.begun_transactions += 1
        await self.commit()

    async def refresh(self) -> None:
        """Do nothing: every partition is known at once."""
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Close. The next fence aborts an open transaction."""
        await asyncio.sleep(0)
