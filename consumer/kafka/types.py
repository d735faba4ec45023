"""The data types of the port: partitions, topics, open transactions, consumer groups.

``TopicPartition`` is aiokafka's class, because aiokafka accepts no other. Type checkers get an
equivalent class with types instead, because aiokafka ships no types.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Self

import msgspec

from consumer.errors import ClusterError
from consumer.pipeline.record_size import record_bytes
from consumer.pipeline.records import Header, SourceRecord

if TYPE_CHECKING:

    class TopicPartition(NamedTuple):
        """One partition of a topic."""

        topic: str
        partition: int

else:
    from aiokafka.structs import TopicPartition

__all__ = [
    "ConsumerGroup",
    "FetchedRecords",
    "GroupListing",
    "GroupMember",
    "NewRecord",
    "OpenTransaction",
    "OpenTransactions",
    "TopicDescription",
    "TopicPartition",
]


class NewRecord(NamedTuple):
    """A record to send. The partition follows from the key, as in the Java client."""

    key: bytes
    value: bytes
    headers: tuple[Header, ...] = ()


class TopicDescription(msgspec.Struct, frozen=True):
    """The partitions, replication factor and settings of one topic.

    ``leader_epochs`` maps a partition to its leader epoch. The client reads leader epochs and topic
    ids only from version 10 of the Metadata response. Brokers before Kafka 2.8 do not have this
    version. Then ``topic_id`` is None and ``leader_epochs`` is empty. ``leaderless`` holds the
    partitions that have no leader now.
    """

    name: str
    partitions: int
    replication: int
    configs: dict[str, str]
    topic_id: str | None = None
    leader_epochs: dict[int, int] = {}
    leaderless: tuple[int, ...] = ()

    @property
    def max_message_bytes(self) -> int:
        """The largest record batch that the topic accepts, in bytes.

        Raises:
            ClusterError: the brokers do not report it. All versions of Apache Kafka do.
        """
        value = self.configs.get("max.message.bytes")
        if value is None:
            raise ClusterError(
                f"topic {self.name}: the brokers do not report max.message.bytes, which the service"
                " must know: this cluster lacks a feature of Apache Kafka"
            )
        return int(value)


class OpenTransaction(msgspec.Struct, frozen=True, order=True):
    """A transaction that is open in one partition, as the partition's leader reports it."""

    partition: TopicPartition
    start_offset: int
    producer_id: int
    producer_epoch: int


class OpenTransactions(msgspec.Struct, frozen=True):
    """The result of one query for open transactions."""

    found: tuple[OpenTransaction, ...]
    not_queried: dict[str, str]
    """The optional topics that could not be queried, with the reason."""
    unsupported_brokers: frozenset[int] = frozenset()
    """The leaders that do not know DescribeProducers (KIP-664): brokers before Kafka 2.8."""
    leaderless: frozenset[TopicPartition] = frozenset()
    """The partitions that could not be queried, because they have no leader."""
    unanswered: frozenset[TopicPartition] = frozenset()
    """The partitions of optional topics that a later query may reach: a leader has just moved."""

    @property
    def unchecked(self) -> frozenset[TopicPartition]:
        """The partitions where a transaction may be open that a later query would find."""
        return self.leaderless | self.unanswered


class FetchedRecords(list[SourceRecord]):
    """The records of one partition that one fetch returned, in the order of their offsets."""

    __slots__ = ("batch_start", "size_bytes")

    def __init__(self, records: Iterable[SourceRecord] = ()) -> None:
        super().__init__(records)
        self.batch_start = 0
        """The first offset of the batch that holds the last record."""
        self.size_bytes = 0
        """About how much memory the records occupy, including their Python objects."""

    @classmethod
    def of(cls, records: Iterable[SourceRecord], batch_start: int = 0) -> Self:
        """Return these records with their size."""
        made = cls(records)
        made.batch_start = batch_start
        made.size_bytes = sum(map(record_bytes, made))
        return made


class GroupMember(msgspec.Struct, frozen=True, order=True):
    """A member of a consumer group, with the number of its partitions of one topic."""

    client_id: str
    host: str
    partitions: int


class ConsumerGroup(msgspec.Struct, frozen=True):
    """A group that reads one topic; ``offsets`` are its committed offsets by partition."""

    group_id: str
    type: str
    """``classic``, ``consumer`` (KIP-848), or another type that a newer broker names."""
    state: str
    protocol: str
    """The assignor; empty if the group has no members."""
    members: tuple[GroupMember, ...]
    offsets: dict[int, int]


class GroupListing(msgspec.Struct, frozen=True):
    """The groups that read one topic, and what could not be examined."""

    groups: tuple[ConsumerGroup, ...]
    refused: tuple[str, ...]
    """The groups on which the user lacks the ACL Describe."""
    other_types: dict[str, str]
    """The type of each group that commits no offsets by the consumer protocols (share groups)."""
    lists_all: bool
    """Whether the user has Describe on the cluster. Without it brokers omit groups silently."""

    @property
    def problem(self) -> str:
        """The ACLs that are missing for a complete listing; empty if it is complete."""
        if self.refused:
            return (
                f"{len(self.refused)} groups cannot be described ({', '.join(self.refused)}): "
                "missing ACL: grant Describe on group *"
            )
        if not self.lists_all:
            return (
                "brokers list only the groups that this user may describe: missing ACL: grant "
                "Describe on cluster kafka-cluster"
            )
        return ""
