"""The admin client and the group member of the in-memory Kafka."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from msgspec.structs import replace

from consumer.errors import TransientError
from consumer.kafka.broker_settings import BrokerSettings
from consumer.kafka.cluster_faults import CurrentFault
from consumer.kafka.types import (
    OpenTransaction,
    OpenTransactions,
    TopicDescription,
    TopicPartition,
)
from tests.support.fake_cluster import FakeCluster

MEMBER_POLL_SECONDS: Final = 0.2


class FakeAdmin:
    """Describes and creates topics, deletes records, reads group offsets."""

    def __init__(self, cluster: FakeCluster) -> None:
        """Use this cluster."""
        self._cluster = cluster

    async def start(self) -> None:
        """Connect."""
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Close."""
        await asyncio.sleep(0)

    async def cluster(self) -> tuple[str, int]:
        """Return the cluster's id and its number of brokers."""
        await asyncio.sleep(0)
        return self._cluster.cluster_id, 1

    async def broker_settings(self) -> BrokerSettings:
        """Return that nothing is known of the broker's settings."""
        await asyncio.sleep(0)
        return BrokerSettings(1, {})

    async def log_sizes(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, int] | None:
        """Return the number of records of each partition: records have no size here."""
        await asyncio.sleep(0)
        logs = {partition: self._cluster.log(partition) for partition in partitions}
        return {partition: log.high_watermark - log.log_start for partition, log in logs.items()}

    def current_faults(self) -> list[CurrentFault]:
        """Return that nothing fails."""
        return []

    async def unknown_somewhere(self, topics: Iterable[str]) -> set[str]:
        """Return the topics that do not exist."""
        await asyncio.sleep(0)
        return set(topics) - self._cluster.topics.keys()

    async def describe(self, topics: Iterable[str]) -> dict[str, TopicDescription]:
        """Describe each topic that exists, with its settings."""
        await asyncio.sleep(0)
        known, leaderless = self._cluster.topics, self._cluster.leaderless
        return {
            name: replace(
                known[name].describe(name),
                leaderless=tuple(sorted(it.partition for it in leaderless if it.topic == name)),
            )
            for name in topics
            if name in known
        }

    async def create(
        self,
        name: str,
        partitions: int,
        replication: int,  # noqa: ARG002 - the port's; there is one broker
        configs: Mapping[str, str],
    ) -> bool:
        """Create a topic; return whether this call created it."""
        await asyncio.sleep(0)
        return self._cluster.create(name, partitions, configs)

    async def creation_refusal(
        self,
        name: str,  # noqa: ARG002 - the port's; every setting is allowed
        partitions: int,  # noqa: ARG002 - the same
        replication: int,  # noqa: ARG002 - the same
        configs: Mapping[str, str],  # noqa: ARG002 - the same
    ) -> str | None:
        """Return None: every setting is allowed."""
        await asyncio.sleep(0)
        return None

    async def setting_refusal(
        self,
        topic: str,  # noqa: ARG002 - the port's; every setting is allowed
        setting: str,  # noqa: ARG002 - the same
        value: str,  # noqa: ARG002 - the same
    ) -> str | None:
        """Return None: every setting is allowed."""
        await asyncio.sleep(0)
        return None

    async def delete_records(self, before: Mapping[TopicPartition, int]) -> None:
        """Delete the records before these offsets."""
        await asyncio.sleep(0)
        for partition, offset in before.items():
            log = self._cluster.log(partition)
            log.log_start = max(log.log_start, offset)

    async def group_offsets(self, group_id: str) -> dict[TopicPartition, int]:
        """Return the committed offsets of a group."""
        await asyncio.sleep(0)
        return dict(self._cluster.group_offsets.get(group_id, {}))

    async def open_transactions(
        self, topics: Iterable[str], optional: Iterable[str] = ()
    ) -> OpenTransactions:
        """Return every transaction that is open in these topics (KIP-664)."""
        await asyncio.sleep(0)
        moving = self._cluster.moving
        if any(it.topic in topics for it in moving):
            raise TransientError("describe producers: NotLeaderForPartitionError")
        found = [
            OpenTransaction(TopicPartition(name, number), start_offset, *producer)
            for name in (*topics, *optional)
            if name in self._cluster.topics
            for number, log in enumerate(self._cluster.topics[name].logs)
            if self._cluster.has_leader(partition := TopicPartition(name, number))
            and partition not in moving
            for start_offset, producer in log.open_transactions
        ]
        leaderless = {it for it in self._cluster.leaderless if it.topic in {*topics, *optional}}
        return OpenTransactions(
            tuple(sorted(found)),
            {it.topic: "NotLeaderForPartitionError" for it in moving},
            leaderless=frozenset(leaderless),
            unanswered=frozenset(moving),
        )

    async def epoch_ends(self, epochs: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Return the first offset after each leader epoch, in the current logs (KIP-320)."""
        await asyncio.sleep(0)
        ends = {p: self._cluster.log(p).epoch_end(epoch) for p, epoch in epochs.items()}
        return {p: end for p, end in ends.items() if end is not None}


class FakeMember:
    """A member of the group, which gets its shards from the test (``decide``)."""

    def __init__(
        self,
        cluster: FakeCluster,
        group_id: str,
        on_change: Callable[[], None],
        on_rebalance: Callable[[float], None],
    ) -> None:
        """Start without an assignment."""
        self.wanted: frozenset[int] | None = None
        self.rebalances = 0
        self.has_left = False
        self._cluster = cluster
        self._group_id = group_id
        self._on_change = on_change
        self._on_rebalance = on_rebalance

    def decide(self, shards: Collection[int] | None) -> None:
        """Assign these shards to this member. None means that a rebalance has begun."""
        self.wanted = None if shards is None else frozenset(shards)
        if shards is not None:
            self.rebalances += 1
            self._on_rebalance(0.0)
        self._on_change()

    async def join(self) -> None:
        """Record that the member wants to join."""
        await asyncio.sleep(0)

    async def poll(self) -> None:
        """Keep the membership alive."""
        await asyncio.sleep(MEMBER_POLL_SECONDS)

    async def commit_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit positions for lag tools and autoscalers."""
        await asyncio.sleep(0)
        self._cluster.group_offsets.setdefault(self._group_id, {}).update(offsets)

    async def leave(self) -> None:
        """Leave the group at once and close."""
        await asyncio.sleep(0)
        self.has_left = True
