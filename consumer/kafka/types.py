"""The data that the port speaks of: partitions, topics, open transactions.

``TopicPartition`` is aiokafka's class, because aiokafka accepts no other; here it gets its types.
"""

from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:

    class TopicPartition(NamedTuple):
        """One partition of a topic."""

        topic: str
        partition: int

else:
    from aiokafka.structs import TopicPartition

__all__ = ["OpenTransaction", "OpenTransactions", "TopicDescription", "TopicPartition"]


class TopicDescription(msgspec.Struct, frozen=True):
    """One topic: how many partitions, how often replicated, which settings.

    ``topic_id`` and ``leader_epochs`` (by partition) are unknown to brokers before Kafka 2.8.
    """

    name: str
    partitions: int
    replication: int
    configs: dict[str, str]
    topic_id: str | None = None
    leader_epochs: dict[int, int] = {}

    @property
    def max_message_bytes(self) -> int:
        """The largest record batch that the topic takes."""
        return int(self.configs["max.message.bytes"])


class OpenTransaction(msgspec.Struct, frozen=True, order=True):
    """A transaction that is open in one partition, as the partition's leader reports it."""

    partition: TopicPartition
    start_offset: int
    producer_id: int
    producer_epoch: int


class OpenTransactions(msgspec.Struct, frozen=True):
    """The answer to one question about open transactions."""

    found: tuple[OpenTransaction, ...]
    not_asked: dict[str, str]
    """The optional topics that are missing in ``found``, and why."""
    silent_brokers: frozenset[int] = frozenset()
    """The leaders that are older than Kafka 2.8 and do not know the request (KIP-664)."""
