"""The port: the operations on Kafka that the service needs, as protocols.

``consumer.kafka.client`` implements them with aiokafka, ``tests.support.fake_kafka`` in memory. One
conformance suite runs against both (``tests/integration/test_port_conformance.py``). Shards, the
worker and jobs use only these protocols.

Errors are those of ``consumer.errors``: the class of an error names the recovery.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from consumer.config import Settings
from consumer.kafka.broker_settings import BrokerSettings
from consumer.kafka.clock import BrokerClock
from consumer.kafka.cluster_faults import CurrentFault
from consumer.kafka.tokens import TokenLife
from consumer.kafka.types import (
    FetchedRecords,
    NewRecord,
    OpenTransactions,
    TopicDescription,
    TopicPartition,
)
from consumer.pipeline.records import Header


class PartitionBatches(Protocol):
    """The records that one transaction writes to one partition."""

    def append(
        self, key: bytes | None, value: bytes | None, headers: Sequence[Header] = (), /
    ) -> None:
        """Add one record."""

    def append_pairs(self, pairs: Iterable[tuple[bytes | None, bytes | None]], /) -> None:
        """Add a record without headers for each pair of a key and a value, in this order."""


class TransactionBatches(Protocol):
    """The records of one transaction, all added before the transaction begins."""

    def to(self, topic: str, partition: int) -> PartitionBatches:
        """Return the batches for one partition."""


class LogReader(Protocol):
    """Reads records of assigned partitions from offsets that the caller sets.

    It never uses committed group offsets and never resets a position by itself.
    ``needs_revalidation`` becomes true when a broker refuses a fetch, or answers again after an
    unanswered fetch. Then a leader may have moved, or a topic may have been recreated. The caller
    must check its sources, and sets it to false when it begins the check.
    """

    needs_revalidation: bool

    async def start(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Close."""

    async def follow(self, topics: Iterable[str]) -> None:
        """Also fetch the metadata of these topics, which must exist."""

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions, each from the given offset, and no others."""

    def use_running_fetch_settings(self) -> None:
        """Let fetches wait longer and return less from now on. Call it after the restore."""

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver no more records of these partitions."""

    async def fetch(
        self, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, FetchedRecords]:
        """Return records that were fetched already, or wait up to ``timeout_ms`` for some.

        Raises:
            TaskFailed: records were possibly fetched and lost, so the positions are unknown.
        """

    def position(self, partition: TopicPartition) -> int:
        """Return the offset of the next record to deliver. Markers move it too."""

    @property
    def positions(self) -> dict[TopicPartition, int]:
        """The position of each assigned partition."""

    def lag(self, partition: TopicPartition) -> int | None:
        """Return last stable offset minus position, or None before the first fetch."""

    def backlog(self, partition: TopicPartition) -> int | None:
        """Return high watermark minus position, or None before the first fetch."""

    def stable_offset_and_end(self, partition: TopicPartition) -> tuple[int, int] | None:
        """Return the last stable offset and the high watermark, or None before the first fetch."""

    def seen_at(self, partition: TopicPartition) -> float | None:
        """Return when the fetch that brought the current lag was sent, in monotonic seconds.

        Return None before the first response.
        """

    async def beginning_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return each partition's log start offset."""

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return each partition's last stable offset.

        A reader without `committed_only` returns the high watermark instead.
        """

    async def offsets_for_times(
        self, times_ms: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, tuple[int, int] | None]:
        """Return offset and timestamp of each partition's first record at or after the given time.

        The value is None if the partition has no such record.
        """


class TransactionalWriter(Protocol):
    """Writes transactions under one transactional id; only the newest writer of this id can commit.

    A writer must not be reused after an error. ``unchecked`` holds partitions that no leader
    could be asked about, in which a transaction of an earlier owner may still be open. ``send``
    refuses to write there, because its marker would end that transaction too.
    """

    transactional_id: str
    unchecked: frozenset[TopicPartition]
    broker_clock: BrokerClock
    begun_transactions: int
    committed_transactions: int

    @property
    def producer_id_and_epoch(self) -> tuple[int, int]:
        """The producer id, and the epoch of this owner; valid after ``fence``."""

    async def fence(self) -> None:
        """Take the transactional id over: InitProducerId (KIP-98).

        Afterwards no earlier owner can commit, and the outcome of its last transaction is final.

        Raises:
            TaskFailed, ClusterError, TransientError: the fence failed, or its outcome is unknown.
        """

    def new_batches(
        self, max_message_bytes: Mapping[str, int], unstamped: Collection[str] = ()
    ) -> TransactionBatches:
        """Return empty batches. Records of the `unstamped` topics get no timestamp.

        `max_message_bytes` is the largest batch that each topic accepts.
        """

    async def send(self, batches: TransactionBatches) -> dict[TopicPartition, int]:
        """Begin a transaction and deliver every batch; return the first offset by partition.

        Raises:
            Leaderless: one of the partitions is ``unchecked``; nothing was sent.
            Fenced: another producer took the transactional id over.
            TaskFailed: a batch failed or got no response; the transaction must not be committed.
        """

    async def commit(self) -> None:
        """Commit the batches that ``send`` delivered.

        Raises:
            TaskFailed, TransientError, ClusterError: the outcome is unknown until the next fence.
            Fenced: another producer took the transactional id over. Here too, the outcome is
                unknown until the next fence.
        """

    async def commit_in(self, partitions: Iterable[TopicPartition]) -> None:
        """Commit a transaction without records, whose marker is written to these partitions."""

    async def refresh(self) -> None:
        """Fetch the metadata of the topics again, so that new partitions can be written to."""

    async def close(self) -> None:
        """Close without waiting. If a transaction is open, the next fence aborts it."""


class IdempotentProducer(Protocol):
    """Writes records to one topic without a transaction, acknowledged by all in-sync replicas.

    A producer must not be used after `is_broken` has become true: replace it.
    """

    @property
    def is_broken(self) -> bool:
        """Whether later sends would fail too, so that the producer must be replaced."""

    async def start(self) -> None:
        """Connect.

        Raises:
            ClusterError, TaskFailed, TransientError: the producer cannot be used.
        """

    def send(self, records: Sequence[NewRecord]) -> asyncio.Future[None]:
        """Begin to send the records.

        The result is complete when all in-sync replicas have acknowledged every record, or when it
        is certain that one of them failed. It has no time limit: a batch is retried while brokers
        are down, and keeps its memory. To cancel it has no effect on the records.
        """

    async def check(self) -> None:
        """Return if a broker answers.

        Raises:
            TransientError, TimedOut: no broker answers.
        """

    async def close(self, flush_seconds: float) -> None:
        """Wait up to this time for the records that are being sent, then close.

        The results of sends that have not ended by then are cancelled.
        """


class ClusterAdmin(Protocol):
    """Describes and creates topics, deletes records, reads a group's offsets, and asks leaders.

    The leaders of partitions tell which transactions are open, and where leader epochs end.
    """

    async def start(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Close."""

    async def cluster(self) -> tuple[str, int]:
        """Return the cluster's id and its number of brokers."""

    async def unknown_somewhere(self, topics: Iterable[str]) -> set[str]:
        """Return the topics that at least one broker does not know yet."""

    async def describe(self, topics: Iterable[str]) -> dict[str, TopicDescription]:
        """Describe each topic that exists, with its settings."""

    async def create(
        self, name: str, partitions: int, replication: int, configs: Mapping[str, str]
    ) -> bool:
        """Create a topic; return whether this call created it.

        Raises:
            SettingsRefused: the cluster does not allow one of the settings.
            ClusterError: the cluster refuses for another reason.
        """

    async def creation_refusal(
        self, name: str, partitions: int, replication: int, configs: Mapping[str, str]
    ) -> str | None:
        """Return why the brokers would refuse the settings of a new topic. Nothing is created."""

    async def setting_refusal(self, topic: str, setting: str, value: str) -> str | None:
        """Return why the brokers would refuse this setting, or None. Nothing is changed."""

    async def delete_records(self, before: Mapping[TopicPartition, int]) -> None:
        """Delete the records before these offsets.

        Raises:
            TransientError: the call failed; a later call may succeed.
            ClusterError: the cluster does not support the call, or does not allow it.
        """

    async def group_offsets(self, group_id: str) -> dict[TopicPartition, int]:
        """Return the committed offsets of a group."""

    async def open_transactions(
        self, topics: Iterable[str], optional: Iterable[str] = ()
    ) -> OpenTransactions:
        """Return every transaction that is open in these topics (KIP-664).

        The result names the partitions without a leader, which cannot be queried.
        """

    async def log_sizes(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, int] | None:
        """Return the size in bytes of each partition's log; None: the cluster does not allow it."""

    async def broker_settings(self) -> BrokerSettings:
        """Return the settings of a broker, and which topics of the coordinators do not exist."""

    def current_faults(self) -> list[CurrentFault]:
        """Return what keeps failing at the brokers of this process now."""

    async def epoch_ends(self, epochs: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Return the first offset after each leader epoch, in the current logs (KIP-320)."""


class GroupMembership(Protocol):
    """Membership in the consumer group.

    ``wanted`` holds the assigned shards. It is None before an assignment and during a rebalance.
    """

    wanted: frozenset[int] | None
    rebalances: int

    async def join(self) -> None:
        """Connect and join."""

    async def poll(self) -> None:
        """Keep the membership alive; return after a poll interval, or when a rebalance ends."""

    async def commit_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit positions for lag tools and autoscalers."""

    async def leave(self) -> None:
        """Leave the group at once and close."""


class Kafka(Protocol):
    """Makes the clients of one cluster. A client connects at its ``start``."""

    def reader(
        self,
        client_id: str,
        *,
        topics: Iterable[str],
        max_message_bytes: int,
        committed_only: bool = True,
    ) -> LogReader:
        """Return a reader of these topics. `max_message_bytes` is the largest batch they accept.

        Without `committed_only` the reader also delivers uncommitted and aborted records.
        """

    def writer(self, transactional_id: str, transaction_timeout_ms: int) -> TransactionalWriter:
        """Return a writer."""

    def admin(self, client_id: str) -> ClusterAdmin:
        """Return an admin client."""

    def member(
        self,
        settings: Settings,
        on_change: Callable[[], None],
        on_rebalance: Callable[[float], None],
    ) -> GroupMembership:
        """Return a member of the group that the settings name.

        It calls both functions after each assignment, and passes to `on_rebalance` the seconds
        that the rebalance took.
        """

    def token_life(self) -> TokenLife | None:
        """Return how long the token of the logins is valid. None: no token, or not known."""
