"""Memory and requests are bounded while Kafka does not acknowledge, and a producer is replaced."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from consumer.errors import TaskFailed, Unreachable
from consumer.sources.delivery import Delivery, Link
from consumer.sources.ingest_app import IngestApp
from consumer.sources.ingest_config import Checkpoints, IngestConfig, Limits
from consumer.sources.ingest_metrics import IngestMetrics
from consumer.sources.receivers import make_receivers
from consumer.sources.triggered_listings import TriggeredListings
from tests.support.records import checkpoint
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from consumer.kafka.types import NewRecord

MIB = 1024 * 1024
LIMITS = Limits(memory_bytes=2 * MIB, requests=3, delivery_seconds=0.05)


class ControlledProducer:
    """A producer whose acknowledgements the test decides."""

    def __init__(self) -> None:
        self.is_broken = False
        self.is_closed = False
        self.sends: list[asyncio.Future[None]] = []

    async def start(self) -> None:
        """Do nothing."""

    async def check(self) -> None:
        """Answer always."""

    def send(self, records: Sequence[NewRecord]) -> asyncio.Future[None]:  # noqa: ARG002 - the port's
        """Return a result that the test completes."""
        self.sends.append(asyncio.get_running_loop().create_future())
        return self.sends[-1]

    async def close(self, flush_seconds: float) -> None:  # noqa: ARG002 - the port's
        """Cancel what is not complete."""
        self.is_closed = True
        for sending in self.sends:
            sending.cancel()


class Running:
    """An application with a delivery that runs."""

    def __init__(self) -> None:
        self.producers: list[ControlledProducer] = []
        self.registry = CollectorRegistry()
        self.delivery = Delivery(self._connect, LIMITS.delivery_seconds)
        config = IngestConfig(checkpoints=Checkpoints(anonymous=True))
        receivers = make_receivers(config, TriggeredListings())
        self.app = IngestApp(receivers, self.delivery, LIMITS, IngestMetrics(self.registry))

    async def _connect(self) -> Link:
        if not self.producers:
            self.producers.append(ControlledProducer())
            raise Unreachable("the first attempt fails")
        self.producers.append(ControlledProducer())
        return Link(self.producers[-1], MIB)

    @property
    def producer(self) -> ControlledProducer:
        """The newest producer."""
        return self.producers[-1]

    @property
    def memory(self) -> float | None:
        """The reserved bytes."""
        return self.registry.get_sample_value("checkpoint_ready_ingest_memory_bytes")

    async def post(self, body: bytes) -> tuple[int, dict[str, str]]:
        """Send a request, and return status and headers."""
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:  # noqa: ANN401 - a message of ASGI
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/checkpoints",
            "headers": [(b"content-type", b"application/x-ndjson")],
            "client": ("127.0.0.1", 1),
        }
        await self.app(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], headers


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Running]:
    """Run the delivery while the context lasts."""
    made = Running()
    status, headers = await made.post(checkpoint("early"))
    assert (status, headers["retry-after"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "5")
    task = asyncio.create_task(made.delivery.run())
    try:
        await wait_until_async(lambda: made.delivery.problem is None)
        yield made
    finally:
        task.cancel()
        await asyncio.wait([task])
        await made.delivery.close(0)


async def test_memory_stays_reserved_until_kafka_has_acknowledged() -> None:
    """A request that got 503 still holds its records; beyond the limit nothing is sent."""
    body = b"\n".join(checkpoint(f"ftckpt_{number}") for number in range(1500))
    async with running() as made:
        refused = [await made.post(body) for _ in range(6)]
        assert {status for status, _ in refused} == {HTTPStatus.SERVICE_UNAVAILABLE}
        assert all(int(headers["retry-after"]) > 0 for _, headers in refused)
        fitting = LIMITS.memory_bytes // (2 * len(body))
        assert len(made.producer.sends) == fitting
        assert made.memory == 2 * fitting * len(body)
        for sending in made.producer.sends:
            sending.set_result(None)
        await asyncio.sleep(0)
        assert made.memory == 0


async def test_too_many_requests_are_refused() -> None:
    """The answer is 429; the others are not disturbed."""
    async with running() as made:
        posts = [asyncio.create_task(made.post(checkpoint(str(n)))) for n in range(5)]
        await wait_until_async(lambda: len(made.producer.sends) == LIMITS.requests)
        for sending in made.producer.sends:
            sending.set_result(None)
        statuses = sorted([status for status, _ in await asyncio.gather(*posts)])
        assert statuses == [202, 202, 202, 429, 429]


async def test_a_broken_producer_is_replaced() -> None:
    """The sender gets 503, and its next attempt uses another producer."""
    async with running() as made:
        first = made.producer
        post = asyncio.create_task(made.post(checkpoint("one")))
        await wait_until_async(lambda: first.sends)
        first.is_broken = True
        first.sends[0].set_exception(TaskFailed("refused"))
        assert (await post)[0] == HTTPStatus.SERVICE_UNAVAILABLE
        await wait_until_async(lambda: made.producer is not first and first.is_closed)
        await wait_until_async(lambda: made.delivery.problem is None)
        post = asyncio.create_task(made.post(checkpoint("one")))
        await wait_until_async(lambda: made.producer.sends)
        made.producer.sends[0].set_result(None)
        assert (await post)[0] == HTTPStatus.ACCEPTED
        assert made.memory == 0
