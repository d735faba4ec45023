"""The record batches of one transaction, built before the transaction begins."""

from collections.abc import Collection, Mapping
from typing import Final

from consumer.kafka import port
from consumer.kafka.client import partition_batches, private_api
from consumer.kafka.client.compression import NO_COMPRESSION, builder_for
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.types import TopicPartition

# A transaction sends one batch per partition at a time; bigger batches mean fewer round trips.
BATCH_BYTES: Final = 512 * 1024
# Kafka's RecordBatch.NO_TIMESTAMP.
NO_TIMESTAMP_MS: Final = -1


class TransactionBatches:
    """The batches of one transaction, by partition."""

    def __init__(
        self,
        max_message_bytes: Mapping[str, int],
        unstamped: Collection[str] = (),
        compression_type: str = NO_COMPRESSION,
    ) -> None:
        """Start empty; records of the `unstamped` topics have no timestamp.

        These are the topics with the service's own state, which are never read by time. A broker
        refuses a record whose timestamp is more than an hour ahead of its clock (KIP-937). So with
        timestamps, a machine whose clock is an hour ahead could not run a shard.
        """
        self._batch_bytes = {
            topic: min(BATCH_BYTES, limit) for topic, limit in max_message_bytes.items()
        }
        self._unstamped = unstamped
        self._compression_type = compression_type
        self._timestamp_ms = wall_clock_ms()
        self._partitions: dict[tuple[str, int], partition_batches.PartitionBatches] = {}

    def to(self, topic: str, partition: int) -> port.PartitionBatches:
        """Return the batches for one partition."""
        batches = self._partitions.get((topic, partition))
        if batches is None:
            timestamp_ms = NO_TIMESTAMP_MS if topic in self._unstamped else self._timestamp_ms
            batches = partition_batches.new_partition_batches(
                self._batch_bytes[topic], timestamp_ms
            )
            self._partitions[topic, partition] = batches
        return batches

    def finish(self) -> dict[TopicPartition, list[private_api.Batch]]:
        """Return the finished batches of each partition."""
        return {
            TopicPartition(*target): [
                private_api.Batch(builder_for(builder, self._compression_type))
                for builder in batches.finish()
            ]
            for target, batches in self._partitions.items()
        }
