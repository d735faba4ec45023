"""The constants of a shard's task (shard number, settings, topics), and its additional readers."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from consumer.config import Settings
from consumer.kafka.port import (
    ClusterAdmin,
    Kafka,
    LogReader,
    TransactionalWriter,
    TransactionBatches,
)
from consumer.kafka.read import ReadOptions
from consumer.kafka.topics import Topology
from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import Limits, ShardSettings
from consumer.shard.changelog import FORMAT_VERSION, Meta
from consumer.shard.progress import Identity
from consumer.shard.status import Heartbeat


class AcceptedLosses(msgspec.Struct, frozen=True):
    """The losses with which an operator lets shards start, instead of refusing them."""

    state: bool = False
    """The changelog, or its beginning. The shard then publishes its ids again."""
    forwards: bool = False
    """Forwards that the brokers deleted before the shard read them."""


NO_LOSSES: Final = AcceptedLosses()


class ShardContext(msgspec.Struct, frozen=True):
    """The constants of a shard's task. ``clock`` returns monotonic seconds."""

    shard: int
    settings: Settings
    topology: Topology
    clock: Callable[[], float]
    heartbeat: Heartbeat = msgspec.field(default_factory=Heartbeat)
    accepted: AcceptedLosses = NO_LOSSES

    @property
    def changelog(self) -> TopicPartition:
        """The partition that stores the shard's state."""
        return TopicPartition(self.settings.changelog_topic, self.shard)

    def sources(self) -> list[TopicPartition]:
        """Return the shard's input partitions (p % S == shard) and its repartition partition."""
        partitions = [
            TopicPartition(topic, partition)
            for topic, count in sorted(self.topology.inputs.items())
            for partition in range(self.shard, count, self.topology.shards)
        ]
        return [*partitions, self.forwards]

    @property
    def forwards(self) -> TopicPartition:
        """The shard's partition of the repartition topic."""
        return TopicPartition(self.settings.repartition_topic, self.shard)

    def is_forwards(self, source: TopicPartition) -> bool:
        """Return whether this source holds records that other shards forwarded."""
        return source.topic == self.settings.repartition_topic

    def has_leader(self, partition: TopicPartition) -> bool:
        """Return whether a partition had a leader at the last check of the topics."""
        return partition.partition not in self.topology.leaderless.get(partition.topic, ())

    def identity(self, source: TopicPartition) -> Identity:
        """Return topic id and leader epoch of a source, from the last check of the topics."""
        topology = self.topology
        epochs = topology.leader_epochs.get(source.topic, {})
        return Identity(topology.topic_ids.get(source.topic), epochs.get(source.partition))

    @property
    def read_options(self) -> ReadOptions:
        """The options that all bounded reads of the shard share: its clock and its heartbeat.

        A caller changes other options with `_replace`, but keeps `on_fetch`: without heartbeats, a
        task that reads for more than a minute would count as hanging.
        """
        return ReadOptions(clock=self.clock, on_fetch=self.heartbeat.beat)

    def new_batches(self, writer: TransactionalWriter) -> TransactionBatches:
        """Return empty batches for a transaction, each at most as large as its topic allows.

        Records of the changelog get no timestamp.
        """
        return writer.new_batches(self.topology.max_message_bytes, {self.settings.changelog_topic})

    def meta(self) -> Meta:
        """Return the meta entry of this configuration on this cluster."""
        return Meta(
            version=FORMAT_VERSION,
            group_id=self.settings.group_id,
            shard=self.shard,
            shards=self.topology.shards,
            cluster_id=self.topology.cluster_id,
            input_topics=sorted(self.settings.input_topics),
            output_topic=self.settings.output_topic,
        )

    def pipeline(self) -> ShardSettings:
        """Return the settings for the pipeline."""
        sizes, settings = self.topology.max_message_bytes, self.settings
        return ShardSettings(
            shard=self.shard,
            shards=self.topology.shards,
            group_id=settings.group_id,
            limits=Limits(
                ready_max_bytes=sizes[settings.output_topic],
                dead_letter_max_bytes=sizes[settings.dead_letter_topic],
                forward_max_bytes=sizes[settings.repartition_topic],
            ),
            binary_mode=settings.cloudevents_mode == "binary",
            schema_guid=settings.schema_guid,
            dataschema=settings.dataschema,
        )


class SideReaders(msgspec.Struct, frozen=True):
    """Opens additional readers for one shard, and holds the admin client.

    While the shard runs, only ``Sources`` assigns partitions to the shard's own reader. It always
    assigns all sources, because the status of the shard needs their positions at any moment. So a
    read of other partitions or offsets needs an additional reader.
    """

    kafka: Kafka
    admin: ClusterAdmin

    @asynccontextmanager
    async def open(
        self, context: ShardContext, *, committed_only: bool
    ) -> AsyncGenerator[LogReader, None]:
        """Yield a connected reader, and close it at the end.

        Without `committed_only` the reader also delivers uncommitted and aborted records.

        Raises:
            TaskFailed, TransientError, ClusterError: the reader cannot connect.
        """
        reader = self.kafka.reader(
            f"{context.settings.group_id}-{context.shard}-look",
            topics=context.topology.max_message_bytes,
            max_message_bytes=context.topology.largest_source_bytes,
            committed_only=committed_only,
        )
        try:
            await reader.start()
            yield reader
        finally:
            await reader.close()
