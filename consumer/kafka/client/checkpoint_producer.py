"""An idempotent producer for one topic, for bridges: ``acks=all``, and no transaction.

Idempotence (KIP-98) numbers the batches of a partition. If a batch fails for good, its numbers stay
unused, and the broker refuses every later batch of this partition. So after a failure the producer
is replaced, and the new one gets a new producer id.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final, Self

from aiokafka import AIOKafkaProducer

from consumer.errors import TaskFailed
from consumer.kafka.client import private_api
from consumer.kafka.client.compression import NO_COMPRESSION
from consumer.kafka.client.connection import Connection, bounded, translate
from consumer.kafka.client.writer import MAX_RECORDS_PER_PRODUCER

START_SECONDS: Final = 10.0
DELIVERY_SECONDS: Final = 15.0
CLOSE_SECONDS: Final = 2.0
MAX_BATCH_BYTES: Final = 512 * 1024
# A request holds one batch of each partition. The size of one record is checked by the caller.
MAX_REQUEST_BYTES: Final = 2**31 - 1
Pair = tuple[bytes, bytes]


class CheckpointProducer:
    """Sends keys and values to one topic; a context manager that closes the producer."""

    def __init__(
        self,
        connection: Connection,
        client_id: str,
        topic: str,
        max_message_bytes: int,
        compression_type: str = NO_COMPRESSION,
    ) -> None:
        self._connection = connection
        self._client_id = client_id
        self._topic = topic
        self._max_batch_bytes = min(MAX_BATCH_BYTES, max_message_bytes)
        self._compression_type = None if compression_type == NO_COMPRESSION else compression_type
        self._lock = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None
        self._records = 0

    async def __aenter__(self) -> Self:
        """Use as a context manager; the first `send` connects."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close without waiting for deliveries."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _close(producer)

    async def send(self, records: Sequence[Pair], /) -> None:
        """Send the records; return when all replicas in sync have acknowledged each of them.

        Raises:
            ClusterError, TaskFailed, TransientError: as ``translate`` says; at least one record may
                be missing. The next call uses a new producer.
        """
        producer = await self._connected(len(records))
        try:
            await bounded(self._deliver(producer, records), DELIVERY_SECONDS, "the brokers")
        except Exception as error:
            await self._discard(producer)
            raise translate(error, "send") from error

    async def _deliver(self, producer: AIOKafkaProducer, records: Sequence[Pair]) -> None:
        deliveries: list[asyncio.Future[Any]] = []
        try:
            for key, value in records:
                deliveries.append(await producer.send(self._topic, value=value, key=key))
        finally:
            # Also after a failure: an outcome that is not retrieved would be printed by asyncio.
            outcomes = await asyncio.gather(*deliveries, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _connected(self, records: int) -> AIOKafkaProducer:
        async with self._lock:
            self._records += records
            if self._producer is not None and self._records > MAX_RECORDS_PER_PRODUCER:
                await _close(self._producer)
                self._producer = None
            if self._producer is None:
                self._producer = await self._start()
                self._records = records
            return self._producer

    async def _start(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._connection.options(self._client_id),
            enable_idempotence=True,
            acks="all",
            max_batch_size=self._max_batch_bytes,
            max_request_size=MAX_REQUEST_BYTES,
            compression_type=self._compression_type,
        )
        try:
            await bounded(producer.start(), START_SECONDS, "InitProducerId")
        except Exception as error:
            await _close(producer)
            raise translate(error, "connect") from error
        return producer

    async def _discard(self, producer: AIOKafkaProducer) -> None:
        async with self._lock:
            if self._producer is producer:
                self._producer = None
                await _close(producer)


async def _close(producer: AIOKafkaProducer) -> None:
    """Close without waiting for deliveries, within a time limit."""
    task = private_api.abandon_producer(producer)
    if task is not None:
        # After the first cancel the task waits for its requests. The second cancels them too.
        for _ in range(2):
            task.cancel()
            await asyncio.wait([task], timeout=CLOSE_SECONDS / 4)
        if task.done() and not task.cancelled():
            task.exception()
    with contextlib.suppress(TaskFailed):
        await bounded(producer.client.close(), CLOSE_SECONDS, "closing the producer")
