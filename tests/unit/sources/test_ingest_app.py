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
from consumer.sources.ingest_config import (
    BodyHmacWebhook,
    Checkpoints,
    IngestConfig,
    Limits,
)
from consumer.sources.ingest_metrics import IngestMetrics
from consumer.sources.receivers import make_receivers
from consumer.sources.triggered_listings import TriggeredListings
from tests.support.records import checkpoint
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from consumer.kafka.types import NewRecord

MIB = 1024 * 1024
PATH, WEBHOOKS = "/v1/checkpoints", "/v1/webhooks/"
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

    def __init__(self, folder: Path) -> None:
        self.bodies: list[bytes] = []
        self.producers: list[ControlledProducer] = []
        self.registry = CollectorRegistry()
        self.delivery = Delivery(self._connect, LIMITS.delivery_seconds)
        secret = folder / "secret"
        secret.write_text("0123456789abcdef")
        webhook = BodyHmacWebhook(secret_files=(str(secret),), header="x-signature")
        config = IngestConfig(
            checkpoints=Checkpoints(token_files=(str(secret),)), webhooks={"known": webhook}
        )
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

    async def post(
        self,
        body: bytes,
        path: str = PATH,
        *,
        rest: asyncio.Event | None = None,
        token: bytes = b"0123456789abcdef",
        query: bytes = b"",
    ) -> tuple[int, dict[str, str]]:
        """Send a request, and return status and headers. `rest` delays the end of the body."""
        sent: list[Any] = []
        parts = [] if rest is None else [{"type": "http.request", "body": body, "more_body": True}]
        last = {"type": "http.request", "body": body if rest is None else b""}

        async def receive() -> dict[str, Any]:
            if parts:
                return parts.pop()
            if rest is not None:
                await rest.wait()
            return last

        async def send(message: Any) -> None:  # noqa: ANN401 - a message of ASGI
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "headers": [
                (b"content-type", b"application/x-ndjson"),
                (b"authorization", b"Bearer " + token),
            ],
            "client": ("127.0.0.1", 1),
        }
        await self.app(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        self.bodies.append(sent[1]["body"])
        return sent[0]["status"], headers

    async def accept(self, body: bytes) -> int:
        """Send a request, acknowledge its records, and return the status."""
        post = asyncio.create_task(self.post(body))
        await wait_until_async(lambda: self.producer.sends or post.done())
        while self.producer.sends:
            self.producer.sends.pop().set_result(None)
        return (await post)[0]


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    """Run the delivery while the context lasts."""
    made = Running(folder)
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


async def test_memory_stays_reserved_until_kafka_has_acknowledged(tmp_path: Path) -> None:
    """A request that got 503 still holds its records; beyond the limit nothing is sent."""
    body = b"\n".join(checkpoint(f"ftckpt_{number}") for number in range(1500))
    async with running(tmp_path) as made:
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


async def test_too_many_requests_are_refused(tmp_path: Path) -> None:
    """The answer is 429; the others are not disturbed."""
    async with running(tmp_path) as made:
        posts = [asyncio.create_task(made.post(checkpoint(str(n)))) for n in range(5)]
        await wait_until_async(lambda: len(made.producer.sends) == LIMITS.requests)
        for sending in made.producer.sends:
            sending.set_result(None)
        statuses = sorted([status for status, _ in await asyncio.gather(*posts)])
        assert statuses == [202, 202, 202, 429, 429]


async def test_incomplete_requests_do_not_count(tmp_path: Path) -> None:
    """Only bodies that have arrived do. So strangers who send a part of a request refuse nobody."""
    async with running(tmp_path) as made:
        rest = asyncio.Event()
        paths = [f"{WEBHOOKS}{name}" for name in ("known", "unknown")] * 20
        slow = [asyncio.create_task(made.post(b"{", path, rest=rest)) for path in paths]
        slow += [asyncio.create_task(made.post(b"{}", rest=rest, token=b"wrong"))]
        await wait_until_async(slow[-1].done)
        assert await made.accept(checkpoint("one")) == HTTPStatus.ACCEPTED
        rest.set()
        assert {(await one)[0] for one in slow} == {HTTPStatus.UNAUTHORIZED}


async def test_the_oldest_incomplete_request_gives_up_its_memory(tmp_path: Path) -> None:
    """Strangers cannot use up the memory; a request with a token gives nothing up."""
    async with running(tmp_path) as made:
        rest = asyncio.Event()
        big = checkpoint("big").ljust(MIB // 4)
        honest = asyncio.create_task(made.post(big, rest=rest))
        await wait_until_async(lambda: made.memory == 2 * len(big))
        strangers = []
        for number in range(20):
            strangers.append(asyncio.create_task(made.post(big, f"{WEBHOOKS}known", rest=rest)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert await made.accept(checkpoint(str(number))) == HTTPStatus.ACCEPTED
        refused = [await one for one in strangers[:16]]
        assert {status for status, _ in refused} == {HTTPStatus.SERVICE_UNAVAILABLE}
        assert refused[0][1]["retry-after"] == "1"
        rest.set()
        assert [(await one)[0] for one in strangers[-2:]] == [HTTPStatus.UNAUTHORIZED] * 2
        await wait_until_async(lambda: made.producer.sends)
        made.producer.sends[0].set_result(None)
        assert (await honest)[0] == HTTPStatus.ACCEPTED
        assert made.memory == 0


async def test_a_shutdown_refuses_an_incomplete_request(tmp_path: Path) -> None:
    """The answer is not that of a request that gave up its memory."""
    async with running(tmp_path) as made:
        post = asyncio.create_task(made.post(b"{", f"{WEBHOOKS}known", rest=asyncio.Event()))
        await wait_until_async(lambda: made.memory == 2)
        post.cancel()
        assert (await post)[0] == HTTPStatus.SERVICE_UNAVAILABLE
        assert b"shuts down" in made.bodies[-1]


async def test_unknown_webhooks_are_not_told_from_known_ones(tmp_path: Path) -> None:
    """Their names cannot be found by trying."""
    async with running(tmp_path) as made:
        answers = [await made.post(b"{}", f"{WEBHOOKS}{name}") for name in ("known", "unknown")]
        assert answers[0] == answers[1]
        assert answers[0][0] == HTTPStatus.UNAUTHORIZED
        assert made.bodies[-1] == made.bodies[-2]


async def test_the_request_line_counts_as_a_part_of_the_head(tmp_path: Path) -> None:
    """A query of any size would be in memory otherwise."""
    async with running(tmp_path) as made:
        query = b"a" * LIMITS.head_bytes
        assert (await made.post(b"", query=query))[0] == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


async def test_a_broken_producer_is_replaced(tmp_path: Path) -> None:
    """The sender gets 503, and its next attempt uses another producer."""
    async with running(tmp_path) as made:
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
