"""The brokers of the in-memory Kafka: topics, the transaction coordinator, groups and faults."""

import asyncio
import enum
import itertools
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

from consumer.errors import Fenced, TaskFailed
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.types import TopicDescription, TopicPartition
from tests.builders import Record
from tests.support.fake_log import NO_TIMESTAMP_MS, FakeLog, NewRecord, Producer

DEFAULT_CONFIGS: Final = {
    "cleanup.policy": "delete",
    "max.message.bytes": "1048588",
    "message.timestamp.type": "CreateTime",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "unclean.leader.election.enable": "false",
}


class Fault(enum.Enum):
    """A failure that a test injects for one topic, client or transactional id."""

    SEND_FAILED = "the batch for one topic fails; the others are delivered"
    SEND_TIMED_OUT = "everything is delivered, but the answer does not come in time"
    COMMIT_REQUEST_LOST = "EndTxn does not reach the coordinator: the transaction stays open"
    COMMIT_ANSWER_LOST = "the transaction is committed, but the writer does not learn it"
    FETCH_REFUSED = "a broker refuses a fetch"
    KILLED_BEFORE_COMMIT = "the process ends before its EndTxn reaches the coordinator"
    KILLED_AFTER_COMMIT = "the process ends right after its transaction is committed"


class Killed(Exception):
    """The process, or a task of it, ends at this point without any clean-up, as by SIGKILL."""


class _Planned(NamedTuple):
    left: int
    period: int  # 0: once only


class FakeTopic:
    """A topic with its settings and logs."""

    def __init__(
        self, partitions: int, configs: Mapping[str, str], now_ms: Callable[[], int]
    ) -> None:
        """Start with empty logs."""
        self.id = str(uuid.uuid4())
        self.configs = {**DEFAULT_CONFIGS, **configs}
        self._now_ms = now_ms
        self.logs: list[FakeLog] = []
        self.grow(partitions)

    def grow(self, partitions: int) -> None:
        """Add partitions up to this number."""
        stamps = self.configs["message.timestamp.type"] == "LogAppendTime"
        for _ in range(partitions - len(self.logs)):
            self.logs.append(FakeLog(self._now_ms, is_log_append_time=stamps))

    def describe(self, name: str) -> TopicDescription:
        """Return the topic as a broker describes it."""
        return TopicDescription(
            name=name,
            partitions=len(self.logs),
            replication=1,
            configs=dict(self.configs),
            topic_id=self.id,
            leader_epochs={number: log.leader_epoch for number, log in enumerate(self.logs)},
        )


class _TransactionalId:
    """The coordinator's state of one transactional id."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer
        self.partitions: set[TopicPartition] = set()


class FakeCluster:
    """The state of all brokers. Its methods are atomic: none of them awaits."""

    def __init__(self) -> None:
        """Start without topics."""
        self.cluster_id = "fake-cluster"
        self.topics: dict[str, FakeTopic] = {}
        self.group_offsets: dict[str, dict[TopicPartition, int]] = {}
        self.now_ms: Callable[[], int] = wall_clock_ms
        """The brokers' clock; a test may replace it."""
        self.most_fetched = 2**31
        """The records that one fetch returns at most; a small number makes small transactions."""
        self.leaderless: set[TopicPartition] = set()
        """The partitions that have no leader; a test may change it at any time."""
        self.moving: set[TopicPartition] = set()
        """The partitions whose leader has just moved: the queried broker refuses a question."""
        self.silent: set[TopicPartition] = set()
        """The partitions whose leader is known and does not answer."""
        self._ids: dict[str, _TransactionalId] = {}
        self._producer_ids = itertools.count(1000)
        self._faults: dict[tuple[Fault, str], _Planned] = {}
        self._before_fence: dict[str, Callable[[], Awaitable[None]]] = {}
        self._waiting: set[asyncio.Future[None]] = set()

    def _now_ms(self) -> int:
        return self.now_ms()

    # Topics and records.

    def create(self, name: str, partitions: int, configs: Mapping[str, str]) -> bool:
        """Create a topic; return whether it is new."""
        if name in self.topics:
            return False
        self.topics[name] = FakeTopic(partitions, configs, self._now_ms)
        return True

    def recreate(self, name: str) -> None:
        """Delete a topic and create it again: the same name, another id, no records."""
        before = self.topics.pop(name)
        self.create(name, len(before.logs), before.configs)

    def log(self, partition: TopicPartition) -> FakeLog:
        """Return the log of a partition.

        Raises:
            TaskFailed: there is no such partition.
        """
        topic, number = partition
        if topic not in self.topics or number >= len(self.topics[topic].logs):
            raise TaskFailed(f"UnknownTopicOrPartitionError: {topic}/{number}")
        return self.topics[topic].logs[number]

    def produce(self, topic: str, record: NewRecord, partition: int = 0) -> int:
        """Append a record outside of transactions, as most producers do; return its offset.

        A record without a timestamp gets the current time.
        """
        if record.timestamp_ms == NO_TIMESTAMP_MS:
            record = record._replace(timestamp_ms=self.now_ms())
        offset = self.log(TopicPartition(topic, partition)).append(record).offset
        self.wake_readers()
        return offset

    def read(self, topic: str) -> list[Record]:
        """Return the committed records of all partitions of a topic, from each log start."""
        found: list[Record] = []
        for log in self.topics[topic].logs:
            found += log.read(log.log_start, 2**31, committed_only=True).records
        return found

    # Transactions.

    def init_producer_id(self, transactional_id: str) -> Producer:
        """Return the producer of the next owner. Abort an open transaction of the earlier owner."""
        known = self._ids.get(transactional_id)
        if known is None:
            known = _TransactionalId(Producer(next(self._producer_ids), 0))
            self._ids[transactional_id] = known
        else:
            known.producer = known.producer._replace(epoch=known.producer.epoch + 1)
            self._end(known, is_commit=False)
        return known.producer

    def expire(self, transactional_id: str) -> None:
        """Abort the open transaction as a timeout does. This also fences its owner."""
        self.init_producer_id(transactional_id)

    def add(
        self, transactional_id: str, producer: Producer, partitions: Sequence[TopicPartition]
    ) -> None:
        """Register partitions in the transaction of this producer.

        Raises:
            Fenced: a later owner exists.
        """
        self._owned(transactional_id, producer).partitions.update(partitions)

    def append(
        self, transactional_id: str, producer: Producer, partition: TopicPartition, new: NewRecord
    ) -> Record:
        """Append a record of an open transaction.

        Raises:
            Fenced: a later owner exists.
        """
        self._owned(transactional_id, producer)
        record = self.log(partition).append(new, producer)
        self.wake_readers()
        return record

    def commit(self, transactional_id: str, producer: Producer) -> None:
        """Commit the transaction of this producer in all its partitions.

        Raises:
            Fenced: a later owner exists.
        """
        self._end(self._owned(transactional_id, producer), is_commit=True)

    def has_leader(self, partition: TopicPartition) -> bool:
        """Return whether a leader of this partition answers."""
        return partition not in self.leaderless and partition not in self.silent

    def _owned(self, transactional_id: str, producer: Producer) -> _TransactionalId:
        known = self._ids[transactional_id]
        if known.producer != producer:
            raise Fenced(f"another producer with transactional id {transactional_id} took over")
        return known

    def _end(self, known: _TransactionalId, *, is_commit: bool) -> None:
        # Without a leader a partition gets no marker, now or later.
        for partition in sorted(known.partitions - self.leaderless):
            self.log(partition).append_marker(known.producer, is_commit=is_commit)
        known.partitions.clear()
        self.wake_readers()

    # Faults and interleavings.

    def inject(
        self, fault: Fault, where: str, occurrence: int = 1, *, repeatedly: bool = False
    ) -> None:
        """Inject a fault at the next `occurrence`-th call.

        With `repeatedly` every `occurrence`-th call fails, otherwise only one. `where` is a topic
        (SEND_FAILED), a client id (FETCH_REFUSED), or a transactional id (all other faults).
        """
        self._faults[fault, where] = _Planned(occurrence, occurrence if repeatedly else 0)

    def takes_place(self, fault: Fault, where: str) -> bool:
        """Return whether a fault was injected here and is due now."""
        planned = self._faults.pop((fault, where), None)
        if planned is None:
            return False
        is_due = planned.left == 1
        left = planned.period if is_due else planned.left - 1
        if left:
            self._faults[fault, where] = planned._replace(left=left)
        return is_due

    def clear_faults(self) -> None:
        """Remove all injected faults."""
        self._faults.clear()

    def before_fence(self, transactional_id: str, hook: Callable[[], Awaitable[None]]) -> None:
        """Await `hook` once before the next InitProducerId of this transactional id."""
        self._before_fence[transactional_id] = hook

    async def run_before_fence(self, transactional_id: str) -> None:
        """Await the hook that the test has set for this fence."""
        hook = self._before_fence.pop(transactional_id, None)
        if hook is not None:
            await hook()

    async def wait_for_change(self, seconds: float) -> None:
        """Wait until a record is appended or a transaction ends, at most for this time."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await asyncio.wait([waiting], timeout=seconds)
        finally:
            self._waiting.discard(waiting)

    def wake_readers(self) -> None:
        """Let every waiting reader fetch again."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
