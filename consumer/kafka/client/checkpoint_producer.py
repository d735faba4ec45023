"""Sends checkpoints to one topic, and replaces its idempotent producer after a failure."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Self

from consumer.kafka.client.connection import bounded, translate
from consumer.kafka.client.producer import KafkaProducer
from consumer.kafka.types import NewRecord

DELIVERY_SECONDS: Final = 30.0
Pair = tuple[bytes, bytes]


class CheckpointProducer:
    """Sends keys and values to one topic; a context manager that closes the producer."""

    def __init__(self, new_producer: Callable[[], KafkaProducer]) -> None:
        """`new_producer` makes a producer of the topic, which is not connected."""
        self._new_producer = new_producer
        self._lock = asyncio.Lock()
        self._producer: KafkaProducer | None = None

    async def __aenter__(self) -> Self:
        """Use as a context manager; the first `send` connects."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close without waiting for deliveries."""
        await self._close()

    async def send(self, records: Sequence[Pair], /) -> None:
        """Send the records; return when all replicas in sync have acknowledged each of them.

        Raises:
            ClusterError, TaskFailed, TransientError: as ``translate`` says; at least one record may
                be missing. The next call uses a new producer.
        """
        producer = await self._connected()
        new = [NewRecord(key, value) for key, value in records]
        try:
            await bounded(producer.send(new), DELIVERY_SECONDS, "the brokers")
        except Exception as error:
            await self._discard(producer)
            raise translate(error, "send") from error

    async def _connected(self) -> KafkaProducer:
        async with self._lock:
            if self._producer is not None and self._producer.is_broken:
                await self._close()
            if self._producer is None:
                self._producer = self._new_producer()
                try:
                    await self._producer.start()
                except BaseException:
                    await self._close()
                    raise
            return self._producer

    async def _discard(self, producer: KafkaProducer) -> None:
        async with self._lock:
            if self._producer is producer:
                await self._close()

    async def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.close(flush_seconds=0)
