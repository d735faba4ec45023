"""The ASGI application of `checkpoint-ready ingest`: one answer and one log line for a request.

A request passes these steps, and the first failure is its answer: size of the head (431), route
(404, 405), token (401), content type (415), body (413, or 503 without memory), number of requests
(429), signature (401), validation (422), delivery (503). Success is 202.

Only a request whose body has arrived counts as a request. Before, only the limits of connections
and of memory count. Both are taken from the oldest incomplete requests when others need them. So
clients that send only a part of a request cannot keep others out.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog

from consumer.pipeline.trace_context import TRACEPARENT, TRACESTATE, parse_traceparent
from consumer.sources import ingest_metrics
from consumer.sources.delivery import Delivery
from consumer.sources.incomplete_requests import RETRY_SECONDS, IncompleteRequests
from consumer.sources.ingest_config import Limits
from consumer.sources.ingest_metrics import CLOSED, OTHER, IngestMetrics
from consumer.sources.ingest_request import Answer, IngestRequest
from consumer.sources.memory_budget import MemoryBudget
from consumer.sources.problems import (
    PROBLEM_CONTENT_TYPE,
    Refusal,
    large_head,
    too_large,
    unavailable,
)
from consumer.sources.receivers import WEBHOOKS_PATH, Receiver, UnknownWebhook
from consumer.sources.validation import to_records

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_NO_TRACE: Final = ()
_TRACEPARENT_NAME: Final = TRACEPARENT.encode()
_TRACESTATE_NAME: Final = TRACESTATE.encode()
_encode = msgspec.json.Encoder().encode
log = structlog.get_logger(__name__)


class ClientDisconnected(Exception):
    """The client closed the connection before its request was complete."""


class IngestApp:
    """Answers the requests of senders."""

    def __init__(
        self,
        receivers: dict[str, Receiver],
        delivery: Delivery,
        limits: Limits,
        metrics: IngestMetrics,
    ) -> None:
        """`receivers` are by the path that they serve."""
        self._receivers = receivers
        self._delivery = delivery
        self._limits = limits
        self._metrics = metrics
        self._budget = MemoryBudget(limits.memory_bytes)
        self._unknown = UnknownWebhook()
        self._incomplete = IncompleteRequests(self._budget)
        self._active = 0
        for receiver in receivers.values():
            metrics.add_source(receiver.name)
        metrics.observe(ingest_metrics.MEMORY, lambda: self._budget.used_bytes)
        metrics.observe(ingest_metrics.MEMORY_LIMIT, lambda: limits.memory_bytes)
        metrics.observe(ingest_metrics.ACTIVE_REQUESTS, lambda: self._active)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        receiver = self._receiver(scope["path"])
        request = IngestRequest.of_scope(scope)
        answer: Answer | None
        try:
            answer = await self._answer(scope, receiver, request, receive)
        except Refusal as refusal:
            answer = _refuse(refusal)
        except ClientDisconnected:
            answer = None
        except asyncio.CancelledError:  # the shutdown has waited long enough
            answer = _refuse(unavailable("the process shuts down", RETRY_SECONDS))
        except Exception:
            log.exception("ingest_failed")
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            answer = Answer(status, {"title": status.phrase, "status": status.value})
        finally:
            self._budget.release(request.reserved_bytes)
        self._report(scope, receiver, request, answer, time.perf_counter() - began)
        if answer is not None:
            await _respond(send, answer)

    async def _answer(
        self, scope: Message, receiver: Receiver | None, request: IngestRequest, receive: Receive
    ) -> Answer:
        limit = self._limits.head_bytes
        if request.head_bytes > limit:
            raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, large_head(limit))
        if receiver is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "there is no such path")
        if scope["method"] != "POST":
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "send POST", headers={"Allow": "POST"})
        receiver.check_head(request)
        max_message_bytes = self._delivery.max_message_bytes
        body = await self._read(request, receive)
        if self._active >= self._limits.requests:
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too many requests are in progress",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        self._active += 1
        try:
            return await self._accept(receiver, request, body, max_message_bytes)
        finally:
            self._active -= 1

    async def _accept(
        self, receiver: Receiver, request: IngestRequest, body: bytes, max_message_bytes: int
    ) -> Answer:
        received = receiver.read(request, body, self._limits.elements)
        if received.event is not None:
            self._metrics.events.labels(receiver.name, received.event).inc()
            return Answer(HTTPStatus.ACCEPTED, {"accepted": 0, "event": received.event})
        try:
            records = await to_records(received.elements, _trace(request), max_message_bytes)
        except Refusal as refusal:
            for one in refusal.document["invalid"]:
                self._metrics.invalid.labels(receiver.name, one["reason"]).inc()
            raise
        if records:
            await self._deliver(request, records)
        self._metrics.accepted_of(receiver.name).inc(len(records))
        return Answer(HTTPStatus.ACCEPTED, {"accepted": len(records)})

    async def _deliver(self, request: IngestRequest, records: list[Any]) -> None:
        """Deliver the records. The memory of the request stays reserved until they have ended."""
        reserved, request.reserved_bytes = request.reserved_bytes, 0
        await self._delivery.deliver(records, lambda: self._budget.release(reserved))

    async def _read(self, request: IngestRequest, receive: Receive) -> bytes:
        """Return the body. Memory is reserved for what has arrived, not for what is announced."""
        with self._incomplete.add(request):
            return await self._read_all(request, receive)

    async def _read_all(self, request: IngestRequest, receive: Receive) -> bytes:
        limit = self._limits.body_bytes
        if request.announced_bytes > limit:
            raise too_large(f"the body has more than {limit} bytes")
        chunks: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientDisconnected
            chunk = message.get("body", b"")
            if request.body_bytes + len(chunk) > limit:
                raise too_large(f"the body has more than {limit} bytes")
            self._incomplete.reserve(
                request, 2 * len(chunk)
            )  # the body, and the records made of it
            request.body_bytes += len(chunk)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _receiver(self, path: str) -> Receiver | None:
        found = self._receivers.get(path)
        return self._unknown if found is None and path.startswith(WEBHOOKS_PATH) else found

    def _report(
        self,
        scope: Message,
        receiver: Receiver | None,
        request: IngestRequest,
        answer: Answer | None,
        seconds: float,
    ) -> None:
        source = OTHER if receiver is None else receiver.name
        status = CLOSED if answer is None else answer.status.value
        self._metrics.requests_of(source, status).inc()
        self._metrics.seconds.observe(seconds)
        facts: dict[str, Any] = {} if answer is None else dict(answer.log_fields())
        client = scope.get("client")
        log.info(
            "request_answered",
            source=source,
            status=status,
            bytes=request.body_bytes,
            duration_ms=round(seconds * 1000, 3),
            client=client[0] if client else None,
            **facts,
        )


def _trace(request: IngestRequest) -> tuple[tuple[str, bytes], ...]:
    """Return the trace context of a request as headers of a record, if it is valid."""
    parents = request.headers.get(_TRACEPARENT_NAME, ())
    if len(parents) != 1 or parse_traceparent(parents[0]) is None:
        return _NO_TRACE
    states = request.headers.get(_TRACESTATE_NAME, ())
    return ((TRACEPARENT, parents[0]), *((TRACESTATE, b",".join(states)) for _ in states[:1]))


def _refuse(refusal: Refusal) -> Answer:
    return Answer(refusal.status, refusal.document, refusal.headers, PROBLEM_CONTENT_TYPE)


async def _respond(send: Send, answer: Answer) -> None:
    body = _encode(answer.document) + b"\n"
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in answer.headers.items()),
    ]
    await send({"type": "http.response.start", "status": answer.status.value, "headers": headers})
    await send({"type": "http.response.body", "body": body})
