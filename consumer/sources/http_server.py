"""The HTTP server of `checkpoint-ready ingest`: uvicorn with httptools, and limits for connections.

Any client of the network may connect. So a connection has a deadline for each request, and there is
a largest number of connections. uvicorn alone has neither.
"""

import asyncio
import logging
import math
import socket
from functools import partial
from http import HTTPStatus
from typing import Any, Final, cast

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from consumer.sources.ingest_app import IngestApp
from consumer.sources.ingest_config import Limits
from consumer.sources.problems import PROBLEM_CONTENT_TYPE, Refusal, large_head

BACKLOG: Final = 128
KEEP_ALIVE_SECONDS: Final = 30
# uvicorn makes some kilobytes of objects for each, and one read can hold ten thousand requests.
MAX_PIPELINED: Final = 16
# Beyond the time for the body and for Kafka: to read the answer.
ANSWER_SECONDS: Final = 5.0
# After a refusal by the server: for the client to read it. A connection that is closed while its
# client still sends is reset, and the client does not see the answer.
LINGER_SECONDS: Final = 2.0
LINGER_BYTES: Final = 4 * 1024 * 1024
NOT_HTTP: Final = "the request is not valid HTTP/1.1"


class JoinedTransport:
    """A transport that sends all that is written in one round of the event loop at once.

    uvicorn writes the head and the body of an answer one after the other. Two packets would double
    the largest cost of an answer, the system call.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pending: list[bytes] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of the transport
        """Return everything else from the transport itself."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send the data in this round of the event loop."""
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(data)

    def write_eof(self) -> None:
        """Send what was written, and end the sending side."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send what was written, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._pending:
            data = b"".join(self._pending)
            self._pending.clear()
            self._transport.write(data)


class LimitedConnection(HttpToolsProtocol):
    """A connection of uvicorn that no client can hold open without complete requests.

    - A request must arrive within `request_seconds` of its first byte, or of the begin of the
      connection. Its answer must be complete within the time for Kafka and some seconds.
    - There are at most `connections`. A further one evicts the oldest one without a complete
      request. If there is none, the server aborts the further one.
    - A head, the trailers and the frame of a chunk have at most `head_bytes`. The parser itself has
      no limit. What arrives in one piece may be larger; the application refuses such a head.
    - What programs may read differently is refused: two lengths of a body, another
      Transfer-Encoding than `chunked`, several hosts. A proxy may find another end of the request.
    - At most `MAX_PIPELINED` requests wait for the answer to the one before them. After a further
      one, the server answers these and closes the connection. RFC 9112 lets the client send the
      others again.
    """

    def __init__(
        self,
        limits: Limits,
        by_wait: dict["LimitedConnection", None],
        *arguments: Any,  # noqa: ANN401 - uvicorn's
        **named: Any,  # noqa: ANN401 - uvicorn's
    ) -> None:
        """Take the limits, and the connections of the server by the time since which they wait."""
        super().__init__(*arguments, **named)
        self._limits = limits
        self._by_wait = by_wait
        # A request changes its deadline several times. So the timer is not replaced each time: when
        # it ends, it compares the time with the deadline.
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._in_message = False
        self._in_body = False
        self._is_invalid = False
        self._problem = NOT_HTTP
        self._discarded_bytes = 0
        self._unparsed_bytes = 0
        """Bytes received since the parser last reported a head or a part of a body."""

    @property
    def is_waiting(self) -> bool:
        """Whether no complete request is being handled."""
        cycle = self._last_cycle
        return not self.pipeline and (cycle is None or cycle.response_complete or cycle.more_body)

    @property
    def _last_cycle(self) -> RequestResponseCycle | None:
        """The last request whose head is complete."""
        return self.cycle  # mypy does not know that it is None at first

    @property
    def _is_idle(self) -> bool:
        """Whether all requests were answered, and no byte of a further one has arrived."""
        cycle = self._last_cycle
        if self._in_message or self.pipeline or cycle is None:
            return False
        return cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Start the deadline of the first request, and evict a connection if there are too many."""
        super().connection_made(cast("asyncio.Transport", JoinedTransport(transport, self.loop)))
        # asyncio sets it only for listeners that name TCP. Without it the second packet of an
        # answer waits for the client's acknowledgement of the first one, 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wait_for_request()
        if len(self.connections) > self._limits.connections:
            oldest = next(one for one in self._by_wait if one.is_waiting)
            oldest.transport.abort()
            del self._by_wait[oldest]
            self.connections.discard(oldest)  # now; its `connection_lost` is called later

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._by_wait.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what the client sent, and set the deadline of what follows."""
        if self._is_invalid:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > LINGER_BYTES:
                self.transport.abort()
            return
        if self._deadline is None:
            self._wait_for_request()
        was_waiting = self.is_waiting
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > self._limits.head_bytes and not self._is_invalid:
            if self._in_body:
                self.send_400_response("")
            else:
                self._refuse(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    large_head(self._limits.head_bytes),
                )
        elif was_waiting and not self.is_waiting:
            self._set_deadline(self._limits.delivery_seconds + ANSWER_SECONDS)
        elif self._is_idle:
            # The rest of a refused request has arrived. uvicorn has stopped its own timer.
            self._set_deadline(KEEP_ALIVE_SECONDS)

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio reads the result
        """Keep the connection for its answer if the client ends its side after a request.

        uvicorn would close it, and the sender would not know that its checkpoints were accepted.
        """
        cycle = self._last_cycle
        if cycle is None or self.is_waiting:
            return False
        cycle.keep_alive = False
        return True

    def on_message_begin(self) -> None:
        """Note that the next request begins.

        Raises:
            ValueError: too many requests wait for the answers before them.
        """
        if len(self.pipeline) >= MAX_PIPELINED:  # the answers before it are its answer
            raise ValueError("too many pipelined requests")
        self._in_message = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin to handle the request.

        Raises:
            ValueError: the version is not 1.0 or 1.1, the request does not name exactly one host
                (RFC 9112, 3.2), or the length of its body is not clear (6.1 and 6.3).
        """
        self._unparsed_bytes = 0
        problem = _head_problem(self.parser.get_http_version(), self.headers)
        if problem is not None:
            self._problem = problem
            raise ValueError(problem)
        self._in_body = True
        super().on_headers_complete()
        if self.parser.should_upgrade():
            # uvicorn ignores the upgrade, and drops what was read after this request.
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request has arrived."""
        self._unparsed_bytes = 0
        self._in_message = self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of a refused one."""
        if self._in_body and not self.pipeline:
            super().on_response_complete()  # the deadline of the request is still running
            return
        self._deadline = None
        self._begin_to_wait()
        if self._is_invalid and not (self.pipeline and not self.pipeline[-1][0].more_body):
            self.transport.close()
        super().on_response_complete()
        if self.transport.is_closing() or self._is_idle:
            return
        # The client has sent a part of the next request, or all of it, before this answer.
        if self.is_waiting:
            self._wait_for_request()
        else:
            self._set_deadline(self._limits.delivery_seconds + ANSWER_SECONDS)

    def timeout_keep_alive_handler(self) -> None:
        """Abort an idle connection, because its client may not read the last answer."""
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's does not say why
        """Refuse what is not valid HTTP/1. Complete requests before it are answered first."""
        self._refuse(HTTPStatus.BAD_REQUEST, self._problem)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        self._is_invalid = True
        if not self.is_waiting:
            return  # `on_response_complete` closes the connection
        cycle = self._last_cycle
        if cycle is not None and cycle.response_complete and self._in_body:
            self.transport.abort()  # the request has its answer
            return
        self.transport.write(_answer(status, detail))
        self.transport.write_eof()
        self._set_deadline(LINGER_SECONDS)
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True  # the application must not answer too
            cycle.message_event.set()

    def _begin_to_wait(self) -> None:
        self._by_wait.pop(self, None)
        if not self.transport.is_closing():
            self._by_wait[self] = None  # at the end: it waits for the shortest time

    def _wait_for_request(self) -> None:
        self._begin_to_wait()
        self._set_deadline(self._limits.request_seconds)

    def _set_deadline(self, seconds: float) -> None:
        self._deadline = self.loop.time() + seconds
        if self._timer is None or self._timer.when() > self._deadline:
            self._start_timer(self._deadline)

    def _start_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(when, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self.loop.time() < self._deadline:
            self._start_timer(self._deadline)
        else:
            self.transport.abort()


def _head_problem(version: str, headers: list[tuple[bytes, bytes]]) -> str | None:
    """Return why a head is refused, although the parser accepts it."""
    if version not in {"1.0", "1.1"}:
        return "the version of HTTP must be 1.0 or 1.1"
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 and (hosts or version == "1.1"):
        return "the request needs one header Host"
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings and any(name == b"content-length" for name, _ in headers):
        return "the request has both Content-Length and Transfer-Encoding"
    if codings and (version == "1.0" or [one.strip().lower() for one in codings] != [b"chunked"]):
        return "Transfer-Encoding must be chunked, in HTTP/1.1"
    return None


def _answer(status: HTTPStatus, detail: str) -> bytes:
    """Return the bytes of a refusal, after which the connection ends."""
    body = msgspec.json.encode(Refusal(status, detail).document) + b"\n"
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {PROBLEM_CONTENT_TYPE}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


class IngestServer:
    """Serves the application on a listening socket, in the running event loop."""

    def __init__(self, app: IngestApp, listener: socket.socket, limits: Limits) -> None:
        self._listener = listener
        self._config = uvicorn.Config(
            cast("Any", app),
            http=cast("Any", partial(LimitedConnection, limits, {})),
            ws="none",
            lifespan="off",
            interface="asgi3",
            workers=1,  # else uvicorn reads WEB_CONCURRENCY
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=math.ceil(limits.shutdown_seconds),
            log_config=None,
            log_level=logging.ERROR,  # uvicorn warns of invalid requests, which any client may send
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,  # only `serve` keeps it up to date
        )
        self._server = uvicorn.Server(self._config)

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._server.server_state.connections)

    async def start(self) -> None:
        """Begin to accept connections."""
        self._config.load()
        self._server.lifespan = self._config.lifespan_class(self._config)
        await self._server.startup(sockets=[self._listener])

    async def close(self) -> None:
        """Accept no more connections, and wait for accepted requests, up to the limit."""
        if self._server.started:
            await self._server.shutdown(sockets=[self._listener])
