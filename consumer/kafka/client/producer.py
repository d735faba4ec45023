"""An idempotent producer for one topic, without transactions: ``acks=all``, each record once.

Idempotence (KIP-98) numbers the batches of a partition. If a batch fails for good, its numbers stay
unused, and the broker refuses every later batch of this partition. So a producer that had one
failure must be replaced, and the new one gets a new producer id.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka_errors

from consumer.errors import ClusterError, TransientError
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

if TYPE_CHECKING:
    from consumer.kafka.port import IdempotentProducer

START_SECONDS: Final = 10.0
CHECK_SECONDS: Final = 5.0
MAX_BATCH_BYTES: Final = 512 * 1024
# A request holds one batch of each partition. The size of one record is checked by the caller.
MAX_REQUEST_BYTES: Final = 2**31 - 1


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
        self._sends: set[asyncio.Task[None]] = set()
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
        sending = asyncio.ensure_future(self._send(records))
        self._sends.add(sending)
        sending.add_done_callback(self._sends.discard)
        return asyncio.shield(sending)

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
            await asyncio.wait(self._sends, timeout=flush_seconds)
        await stop_sender(self._producer)
        for sending in self._sends:
            sending.cancel()
        await close_client(self._producer.client.close(), "closing the producer")

    async def _send(self, records: Sequence[NewRecord]) -> None:
        """Send the records, and return when each of them has its outcome."""
        deliveries: list[asyncio.Future[Any]] = []
        failure: BaseException | None = None
        try:
            for key, value, headers in records:
                deliveries.append(
                    await self._producer.send(self._topic, value, key, headers=list(headers))
                )
        except Exception as error:  # noqa: BLE001 - raised below, after the records sent before it
            failure = error
        for outcome in await asyncio.gather(*deliveries, return_exceptions=True):
            if isinstance(outcome, BaseException):
                failure = outcome
                self.is_broken = True
        if isinstance(failure, kafka_errors.KafkaTimeoutError) and not self.is_broken:
            raise TransientError("the partition accepts no more records now") from failure
        if failure is not None:
            self.is_broken = True
            raise translate(failure, "send") from failure


if TYPE_CHECKING:

    def _implements_the_port(producer: KafkaProducer) -> IdempotentProducer:
        """Let mypy check the class against the protocol of the port."""
        return producer
