"""The HTTP server of `checkpoint-ready ingest`: uvicorn with h11, and limits for connections.

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

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from consumer.sources.ingest_app import IngestApp
from consumer.sources.ingest_config import Limits

BACKLOG: Final = 128
KEEP_ALIVE_SECONDS: Final = 30
# Beyond the time for the body and for Kafka: to read the answer.
ANSWER_SECONDS: Final = 5.0
_WAITS_FOR_REQUEST: Final = (h11.IDLE, h11.SEND_BODY)
_MAY_ANSWER: Final = (h11.IDLE, h11.SEND_RESPONSE)


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

    def close(self) -> None:
        """Send what was written, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._pending:
            data = b"".join(self._pending)
            self._pending.clear()
            self._transport.write(data)


class LimitedConnection(H11Protocol):
    """A connection of uvicorn that no client can hold open without complete requests.

    - A request must arrive within `request_seconds` of its first byte, or of the begin of the
      connection. Its answer must be complete within the time for Kafka and some seconds.
    - There are at most `connections`. A further one evicts the oldest one without a complete
      request. If there is none, the server aborts the further one.
    """

    def __init__(self, limits: Limits, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*arguments, **named)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None
        self.waits_since = 0.0
        """When the connection began to wait for a request; only valid while it waits."""

    @property
    def is_waiting(self) -> bool:
        """Whether no complete request is being handled."""
        return self.conn.their_state in _WAITS_FOR_REQUEST

    @property
    def _is_idle(self) -> bool:
        """Whether all requests were answered, and no byte of a further one has arrived."""
        return (
            self.conn.their_state is h11.IDLE
            and not self._has_open_cycle(default=True)
            and not self.conn.trailing_data[0]
        )

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Start the deadline of the first request, and evict a connection if there are too many."""
        super().connection_made(cast("asyncio.Transport", JoinedTransport(transport, self.loop)))
        # asyncio sets it only for listeners that name TCP. Without it the second packet of an
        # answer waits for the client's acknowledgement of the first one, 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wait_for_request()
        if len(self.connections) > self._limits.connections:
            waiting = [
                one
                for one in self.connections
                if isinstance(one, LimitedConnection) and one.is_waiting
            ]
            oldest = min(waiting, key=lambda one: one.waits_since)
            oldest.transport.abort()
            self.connections.discard(oldest)  # now; its `connection_lost` is called later

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadline."""
        self._cancel_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what the client sent, and set the deadline of what follows."""
        if self._deadline is None:
            self._wait_for_request()
        was_waiting = self.is_waiting
        super().data_received(data)
        if was_waiting and not self.is_waiting:
            self._set_deadline(self._limits.delivery_seconds + ANSWER_SECONDS)
        elif self._is_idle:
            # The rest of a refused request has arrived. uvicorn has stopped its own timer.
            self._set_deadline(KEEP_ALIVE_SECONDS)

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio reads the result
        """Keep the connection for its answer if the client ends its side after a request.

        uvicorn would close it, and the sender would not know that its checkpoints were accepted.
        """
        if self._has_open_cycle(default=False) and not self.is_waiting:
            self.cycle.keep_alive = False
            return True
        return False

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of a refused one."""
        if self.conn.their_state is h11.SEND_BODY:
            super().on_response_complete()  # the deadline of the request is still running
            return
        self._cancel_deadline()
        self.waits_since = self.loop.time()
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

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the status says it
        """Refuse a request that is not valid HTTP/1."""
        if self.conn.our_state not in _MAY_ANSWER:
            self.transport.abort()
            return
        status = HTTPStatus.BAD_REQUEST
        body = f"{status.phrase}\n".encode()
        head = h11.Response(
            status_code=status,
            headers=[
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ],
            reason=status.phrase.encode(),
        )
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()
        if self._has_open_cycle(default=False):
            self.cycle.disconnected = True  # the application must not answer too
            self.cycle.message_event.set()

    def _has_open_cycle(self, *, default: bool) -> bool:
        """Return whether the last request is not answered yet; `default` before the first one."""
        cycle = getattr(self, "cycle", None)  # mypy does not know that it is None at first
        return default if cycle is None else not cycle.response_complete

    def _wait_for_request(self) -> None:
        self.waits_since = self.loop.time()
        self._set_deadline(self._limits.request_seconds)

    def _set_deadline(self, seconds: float) -> None:
        self._cancel_deadline()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class IngestServer:
    """Serves the application on a listening socket, in the running event loop."""

    def __init__(self, app: IngestApp, listener: socket.socket, limits: Limits) -> None:
        self._listener = listener
        self._config = uvicorn.Config(
            cast("Any", app),
            http=cast("Any", partial(LimitedConnection, limits)),
            ws="none",
            lifespan="off",
            interface="asgi3",
            workers=1,  # else uvicorn reads WEB_CONCURRENCY
            backlog=BACKLOG,
            h11_max_incomplete_event_size=limits.head_bytes,
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
