"""An idempotent producer for one topic, without transactions: ``acks=all``, each record once.

Idempotence (KIP-98) numbers the batches of a partition. If a batch fails for good, its numbers stay
unused, and the broker refuses every later batch of this partition. So a producer that had one
failure must be replaced, and the new one gets a new producer id.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka_errors

from consumer.errors import CheckpointReadyError, ClusterError, TransientError
from consumer.kafka.client import private_api
from consumer.kafka.client.compression import NO_COMPRESSION
from consumer.kafka.client.connection import (
    Connection,
    bounded,
    close_client,
    stop_sender,
    translate,
)
from consumer.kafka.client.writer import MAX_RECORDS_PER_PRODUCER
from consumer.kafka.types import NewRecord
from consumer.pipeline.hashes import default_partition

if TYPE_CHECKING:
    from consumer.kafka.port import IdempotentProducer

START_SECONDS: Final = 10.0
CHECK_SECONDS: Final = 5.0
MAX_BATCH_BYTES: Final = 512 * 1024
# A request holds one batch of each partition. The size of one record is checked by the caller.
MAX_REQUEST_BYTES: Final = 2**31 - 1


class _Delivery:
    """The records of one `send`, which are in one or more batches."""

    def __init__(self, result: asyncio.Future[None]) -> None:
        self.result = result
        self._open_batches = 0
        self._failure: CheckpointReadyError | None = None

    def add_batch(self) -> None:
        """Expect the end of one more batch."""
        self._open_batches += 1

    def end_batch(self, failure: CheckpointReadyError | None) -> None:
        """Complete the result if this was the last batch."""
        self._open_batches -= 1
        self._failure = self._failure or failure
        if self._open_batches or self.result.done():
            return
        if self._failure is None:
            self.result.set_result(None)
        else:
            self.result.set_exception(self._failure)


class _Batch:
    """Records of one partition that are sent together. Several deliveries share a batch."""

    def __init__(self, records: private_api.OpenBatch) -> None:
        self.records = records
        self.deliveries: list[_Delivery] = []

    def append(self, record: NewRecord, delivery: _Delivery) -> bool:
        """Add a record; return False if the batch is full, or is being sent."""
        key, value, headers = record
        added = self.records.append(timestamp=None, key=key, value=value, headers=list(headers))
        if added is None:
            return False
        if not self.deliveries or self.deliveries[-1] is not delivery:
            self.deliveries.append(delivery)
            delivery.add_batch()
        return True


class KafkaProducer:
    """Sends records to one topic. After a failure `is_broken` is true, and it must be replaced."""

    def __init__(
        self,
        connection: Connection,
        client_id: str,
        topic: str,
        max_message_bytes: int,
        compression_type: str = NO_COMPRESSION,
    ) -> None:
        """Only make the producer; `start` connects it. It must be made in the event loop."""
        self.is_broken = False
        self._topic = topic
        self._records_sent = 0
        self._partitions = 0
        # By partition: the batch that takes more records until the library begins to send it. So
        # the records of all requests that arrive during a round trip to the broker share a batch.
        self._open: dict[int, _Batch] = {}
        self._sends: dict[asyncio.Task[None], _Batch] = {}
        self._producer = AIOKafkaProducer(
            **connection.options(client_id),
            enable_idempotence=True,
            acks="all",
            max_batch_size=min(MAX_BATCH_BYTES, max_message_bytes),
            max_request_size=MAX_REQUEST_BYTES,
            compression_type=None if compression_type == NO_COMPRESSION else compression_type,
        )

    async def start(self) -> None:
        """Connect, and get a producer id.

        Raises:
            ClusterError, TaskFailed, TransientError: as ``translate`` says.
        """
        try:
            await bounded(self._producer.start(), START_SECONDS, "InitProducerId")
            found = self._producer.partitions_for(self._topic)
            self._partitions = len(await bounded(found, START_SECONDS, "the metadata"))
        except kafka_errors.ClusterAuthorizationFailedError as error:
            # Brokers refuse a producer id to a user that may not write to any topic.
            raise ClusterError(
                "get a producer id: missing ACL: grant IdempotentWrite on the cluster (only before "
                f"Kafka 2.8) and Write on topic {self._topic}"
            ) from error
        except Exception as error:
            raise translate(error, "connect") from error

    def send(self, records: Sequence[NewRecord]) -> asyncio.Future[None]:
        """Begin to send the records; see ``IdempotentProducer.send``.

        The result has one of these errors:
            TransientError: the records wait for a batch of their partition that is not sent.
            ClusterError, TaskFailed: the producer is broken.
        """
        self._records_sent += len(records)
        if self._records_sent > MAX_RECORDS_PER_PRODUCER:
            self.is_broken = True  # its sequence numbers are almost used up
        result: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not records:
            result.set_result(None)
        # None while the topic is not known: it may be recreated just now.
        found = self._producer.client.cluster.partitions_for_topic(self._topic)
        self._partitions = len(found or ()) or self._partitions
        delivery = _Delivery(result)
        for record in records:
            partition = default_partition(record.key, self._partitions)
            batch = self._open.get(partition)
            if batch is None or not batch.append(record, delivery):
                self._new_batch(partition).append(record, delivery)
        return result

    async def check(self) -> None:
        """Ask any broker for metadata.

        Raises:
            TransientError, TimedOut: no broker answers.
        """
        has_answer = await bounded(
            self._producer.client.force_metadata_update(), CHECK_SECONDS, "the metadata"
        )
        if not has_answer:
            raise TransientError("no broker answers")

    async def close(self, flush_seconds: float) -> None:
        """Wait up to this time for the sends, then close and cancel the results of the others."""
        if self._sends:
            await asyncio.wait([*self._sends], timeout=flush_seconds)
        await stop_sender(self._producer)
        for sending, batch in self._sends.items():
            sending.cancel()
            for delivery in batch.deliveries:
                delivery.result.cancel()
        await close_client(self._producer.client.close(), "closing the producer")

    def _new_batch(self, partition: int) -> _Batch:
        """Return an empty batch, which is sent as soon as the partition is free."""
        batch = self._open[partition] = _Batch(private_api.open_batch(self._producer))
        sending = asyncio.create_task(self._send(batch, partition))
        self._sends[sending] = batch
        sending.add_done_callback(self._sends.pop)
        return batch

    async def _send(self, batch: _Batch, partition: int) -> None:
        """Send a batch, and report its outcome to its deliveries."""
        failure: CheckpointReadyError | None = None
        is_queued = False
        try:
            acknowledged = await self._producer.send_batch(
                batch.records, self._topic, partition=partition
            )
            is_queued = True
            await acknowledged
        except kafka_errors.KafkaTimeoutError as error:
            failure = TransientError("the partition accepts no more records now")
            if is_queued:
                failure = self._broken(error)
        except Exception as error:  # noqa: BLE001 - the senders get it
            failure = self._broken(error)
        batch.records.close()  # it takes no more records, even if it was never sent
        if self._open.get(partition) is batch:
            del self._open[partition]
        for delivery in batch.deliveries:
            delivery.end_batch(failure)

    def _broken(self, error: Exception) -> CheckpointReadyError:
        self.is_broken = True
        return translate(error, "send")


if TYPE_CHECKING:

    def _implements_the_port(producer: KafkaProducer) -> IdempotentProducer:
        """Let mypy check the class against the protocol of the port."""
        return producer
