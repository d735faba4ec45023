"""The record batches of one transaction, built before the transaction begins."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from consumer.kafka.client import compiled, private_api
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import Header

# A transaction sends one batch per partition at a time; bigger batches mean fewer round trips.
BATCH_BYTES: Final = 512 * 1024
# Kafka's RecordBatch.NO_TIMESTAMP.
NO_TIMESTAMP_MS: Final = -1


class PartitionBatches:
    """The batches for one partition: the last one accepts records, those before are full.

    A batch never exceeds its limit, except for a single record that is larger. The pipeline's size
    check refuses such a record before.
    """

    __slots__ = ("_append", "_batch_bytes", "_builders", "_timestamp_ms")

    def __init__(self, batch_bytes: int, timestamp_ms: int) -> None:
        self._batch_bytes = batch_bytes
        self._timestamp_ms = timestamp_ms
        self._builders: list[private_api.RecordsBuilder] = []
        self._open(compiled.new_builder(batch_bytes))

    def append(
        self, key: bytes | None, value: bytes | None, headers: Sequence[Header] = ()
    ) -> None:
        """Add one record."""
        try:
            if self._append(self._timestamp_ms, key, value, headers):
                return
        except TypeError:  # a RawHeaderName: the compiled builder takes plain strings only
            self._append_raw(key, value, headers)
            return
        self._open(compiled.new_builder(self._batch_bytes))
        self._append(self._timestamp_ms, key, value, headers)

    def _append_raw(
        self, key: bytes | None, value: bytes | None, headers: Sequence[Header]
    ) -> None:
        """Add a record in a batch of its own, with the Python builder for any header names."""
        self._open(private_api.LibraryRecordsBuilder(self._batch_bytes, 0, raw_header_names=True))
        self._append(self._timestamp_ms, key, value, headers)
        self._open(compiled.new_builder(self._batch_bytes))

    def finish(self) -> list[private_api.Batch]:
        """Return the batches; no record can be added afterwards."""
        return [private_api.Batch(builder) for builder in self._builders if builder.record_count]

    def _open(self, builder: private_api.RecordsBuilder) -> None:
        self._builders.append(builder)
        self._append = builder.append


class TransactionBatches:
    """The batches of one transaction, by partition."""

    def __init__(
        self, max_message_bytes: Mapping[str, int], unstamped: Collection[str] = ()
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
        self._timestamp_ms = wall_clock_ms()
        self._partitions: dict[tuple[str, int], PartitionBatches] = {}

    def to(self, topic: str, partition: int) -> PartitionBatches:
        """Return the batches for one partition."""
        batches = self._partitions.get((topic, partition))
        if batches is None:
            timestamp_ms = NO_TIMESTAMP_MS if topic in self._unstamped else self._timestamp_ms
            batches = PartitionBatches(self._batch_bytes[topic], timestamp_ms)
            self._partitions[topic, partition] = batches
        return batches

    def finish(self) -> dict[TopicPartition, list[private_api.Batch]]:
        """Return the finished batches of each partition."""
        return {
            TopicPartition(*target): batches.finish()
            for target, batches in self._partitions.items()
        }
