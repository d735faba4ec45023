"""Delivers the records of requests, and replaces a producer that is broken.

A request is answered with success only after all in-sync replicas have acknowledged its records.
If that takes too long, the answer asks the sender to try again. The records may still be in the
topic, which is harmless: the service deduplicates by id.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

import structlog

from consumer.errors import CheckpointReadyError, ClusterError, Unreachable
from consumer.kafka.port import IdempotentProducer
from consumer.kafka.types import NewRecord
from consumer.sources.problems import unavailable

CHECK_SECONDS: Final = 2.0
RETRY_SECONDS: Final = 1.0
MAX_RETRY_SECONDS: Final = 15.0
RETRY_AFTER_SECONDS: Final = 5
FLUSH_SECONDS: Final = 5.0
log = structlog.get_logger(__name__)


class Link(NamedTuple):
    """A connected producer, and the largest batch that its topic accepts."""

    producer: IdempotentProducer
    max_message_bytes: int


Connect = Callable[[], Awaitable[Link]]


class Delivery:
    """The connection to the input topic while the process runs."""

    def __init__(self, connect: Connect, delivery_seconds: float) -> None:
        """`connect` makes and starts a producer, or raises a CheckpointReadyError."""
        self._connect = connect
        self._delivery_seconds = delivery_seconds
        self._link: Link | None = None
        self._broken = asyncio.Event()
        self._old: set[asyncio.Task[None]] = set()
        self.problem: str | None = "not connected to Kafka yet"
        """Why nothing can be delivered now; None if Kafka is reachable."""

    @property
    def max_message_bytes(self) -> int:
        """The largest batch that the topic accepts.

        Raises:
            Refusal: 503, not known before the first connection.
        """
        return self._current().max_message_bytes

    async def deliver(self, records: Sequence[NewRecord], on_end: Callable[[], None]) -> None:
        """Return when all in-sync replicas have acknowledged all records.

        `on_end` is called once, when no record needs memory any more. This can be later than the
        refusal of the request.

        Raises:
            Refusal: 503, the records are not acknowledged in time, or failed.
        """
        try:
            link = self._current()
            sending = link.producer.send(records)
        except BaseException:
            on_end()
            raise
        sending.add_done_callback(lambda ended: self._ended(link, ended, on_end))
        await _wait(sending, self._delivery_seconds)
        if not sending.done():
            raise unavailable("Kafka did not acknowledge in time", RETRY_AFTER_SECONDS)
        if sending.cancelled() or sending.exception() is not None:
            raise unavailable("Kafka did not accept the records", RETRY_AFTER_SECONDS)

    async def run(self) -> None:
        """Keep a usable producer until cancelled."""
        while True:
            await self._reconnect()
            await self._watch()

    async def close(self, flush_seconds: float) -> None:
        """Wait up to this time for unacknowledged records, and close the connection."""
        self.problem = "the process shuts down"
        link, self._link = self._link, None
        closing = [*self._old]
        if link is not None:
            closing.append(asyncio.ensure_future(link.producer.close(flush_seconds)))
        if closing:
            await asyncio.wait(closing)

    def _current(self) -> Link:
        link = self._link
        if link is None:
            raise unavailable("Kafka is not reachable now", RETRY_AFTER_SECONDS)
        return link

    def _ended(self, link: Link, sending: asyncio.Future[None], on_end: Callable[[], None]) -> None:
        on_end()
        if not sending.cancelled() and (error := sending.exception()) is not None:
            log.warning("delivery_failed", error=str(error))
        if link is self._link and link.producer.is_broken:
            self._broken.set()

    async def _reconnect(self) -> None:
        """Replace the producer; try until it succeeds."""
        old, self._link = self._link, None
        if old is not None:
            task = asyncio.create_task(old.producer.close(FLUSH_SECONDS), name="close-producer")
            self._old.add(task)
            task.add_done_callback(self._old.discard)
        seconds = RETRY_SECONDS
        while True:
            self._broken.clear()
            try:
                self._link = await self._connect()
            except CheckpointReadyError as error:
                self.problem = str(error)
                is_final = isinstance(error, ClusterError) and not isinstance(error, Unreachable)
                (log.error if is_final else log.warning)("kafka_unavailable", error=self.problem)
                await asyncio.sleep(seconds)
                seconds = min(seconds * 2, MAX_RETRY_SECONDS)
            else:
                self.problem = None
                log.info("kafka_connected")
                return

    async def _watch(self) -> None:
        """Check the connection, until the producer is broken."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._broken.wait(), CHECK_SECONDS)
            link = self._link
            if link is None or link.producer.is_broken:
                return
            try:
                await link.producer.check()
            except CheckpointReadyError as error:
                if self.problem is None:
                    log.warning("kafka_unavailable", error=str(error))
                self.problem = str(error)
            else:
                if self.problem is not None:
                    log.info("kafka_connected")
                self.problem = None


async def _wait(sending: asyncio.Future[None], seconds: float) -> None:
    """Return when the future is done, or after this time.

    `asyncio.wait` takes twice the time, and each request waits once.
    """
    if sending.done():
        return
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()

    def wake(_: object = None) -> None:
        if not waiter.done():
            waiter.set_result(None)

    timer = loop.call_later(seconds, wake)
    sending.add_done_callback(wake)
    try:
        await waiter
    finally:
        timer.cancel()
        sending.remove_done_callback(wake)
