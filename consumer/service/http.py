"""The HTTP server and its routes: health probes, metrics, the status page and the schemas.

Starlette routes the requests and uvicorn serves them with h11. All three are pure Python, widely
used and maintained; the image needs no compiled extension for them.

Any client in the network may connect, so a connection is limited (see `BoundedConnection`): uvicorn
alone has no deadline for a client that connects and sends no request. The engine does not depend on
the server: if a page cannot be rendered, the server answers 500 and the engine continues.

A process with `HTTP_PORT` 0 does not import this module, because the packages cost start-up time
and memory.
"""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache, partial
from http import HTTPStatus
from typing import Final, NamedTuple

import h11
import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from consumer import __version__
from consumer.config import PREFIX, Settings
from consumer.contract.names import (
    ASYNCAPI_CONTENT_TYPE,
    ASYNCAPI_PATH,
    SCHEMA_CONTENT_TYPE,
    VERSIONS,
    schema_path,
)
from consumer.errors import ConfigError
from consumer.service.health import ProbeAnswer, StartUp, is_alive, is_ready
from consumer.service.recent_activity import RecentActivity
from consumer.service.status_page import PageData, render_status
from consumer.worker.engine import EngineStatus

MAX_HEAD_BYTES: Final = 8 * 1024
MAX_CONNECTIONS: Final = 64
REQUEST_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 1.0
# The event loop accepts this many connections in one round (one more since Python 3.12) and reads
# from them one round later. Two rounds accept at most MAX_CONNECTIONS, so a burst of connections
# cannot evict a client whose request has arrived but is not read yet.
BACKLOG: Final = MAX_CONNECTIONS // 2 - 1
NO_IPV6: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)

TEXT: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"
ALLOW: Final = "GET, HEAD"
COMMON_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # A connection serves one request and is then closed. So one deadline for each is enough.
    "Connection": "close",
}
# Producers choose the ids. Even if a script in an id reached the page unescaped, the browser would
# not run it.
PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
}
log = structlog.get_logger(__name__)


class Page(NamedTuple):
    """The content of a response."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT
    headers: Mapping[str, str] = {}


Pages = Mapping[str, Callable[[], Page]]
"""By path: the function that renders the page."""


def make_pages(
    settings: Settings,
    get_engine_status: Callable[[], EngineStatus],
    registry: CollectorRegistry,
    recent: RecentActivity,
) -> Pages:
    """Return the pages of the service; `get_engine_status` returns the engine's current state."""
    start_up = StartUp()

    def status_page() -> Page:
        engine = get_engine_status()
        data = PageData(settings.group_id, __version__, engine, is_ready(engine), recent)
        return Page(HTTPStatus.OK, render_status(data).encode(), HTML, PAGE_HEADERS)

    def metrics() -> Page:
        return Page(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)

    return {
        "/": status_page,
        "/metrics": metrics,
        "/livez": lambda: _health(is_alive(get_engine_status(), settings.watchdog_seconds)),
        "/readyz": lambda: _health(is_ready(get_engine_status())),
        "/startupz": lambda: _health(start_up.is_over(get_engine_status())),
        **_contract_pages(settings),
    }


def _contract_pages(settings: Settings) -> Pages:
    """Return the pages with the schemas. Each is built once, when a client first asks for it."""

    @cache
    def schema(name: str) -> Page:
        from consumer.contract.documents import schema_text  # noqa: PLC0415 - delays the start

        return Page(HTTPStatus.OK, schema_text(name), SCHEMA_CONTENT_TYPE)

    @cache
    def asyncapi() -> Page:
        from consumer.contract.documents import asyncapi_text  # noqa: PLC0415 - delays the start

        return Page(HTTPStatus.OK, asyncapi_text(settings), ASYNCAPI_CONTENT_TYPE)

    pages: dict[str, Callable[[], Page]] = {
        schema_path(name): partial(schema, name) for name in VERSIONS
    }
    return {**pages, ASYNCAPI_PATH: asyncapi}


def _health(answer: ProbeAnswer) -> Page:
    status = HTTPStatus.OK if answer.is_ok else HTTPStatus.SERVICE_UNAVAILABLE
    return Page(status, "".join(f"{line}\n" for line in answer.lines).encode())


def make_app(pages: Pages) -> Starlette:
    """Return the ASGI application that serves GET and HEAD of these pages and nothing else."""
    app = Starlette(
        routes=[_route(path, render) for path, render in pages.items()],
        exception_handlers={HTTPException: _refuse},
    )
    app.router.redirect_slashes = False  # /livez/ is another path, which is not served
    return app


def _route(path: str, render: Callable[[], Page]) -> Route:
    # `async` although it awaits nothing: Starlette calls a plain function in a thread, but the
    # engine's state belongs to the event loop.
    async def respond(_: Request) -> Response:
        try:
            page = render()
        except Exception:
            log.exception("http_failed", path=path)
            page = _plain(HTTPStatus.INTERNAL_SERVER_ERROR)
        return _response(page)

    return Route(path, respond, methods=["GET"])  # Starlette adds HEAD


async def _refuse(_: Request, error: Exception) -> Response:
    """Answer an unknown path with 404, and any method but GET and HEAD with 405."""
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    if isinstance(error, HTTPException):
        status = HTTPStatus(error.status_code)
    page = _plain(status)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        page = page._replace(headers={"Allow": ALLOW})
    return _response(page)


def _plain(status: HTTPStatus) -> Page:
    return Page(status, f"{status.phrase}\n".encode())


def _response(page: Page) -> Response:
    headers = {"Content-Type": page.content_type, **COMMON_HEADERS, **page.headers}
    return Response(page.body, page.status, headers)


class BoundedConnection(H11Protocol):
    """A connection of uvicorn that serves one request and cannot be held open.

    - The server aborts it `REQUEST_SECONDS` after it was opened, in any state. So a
      client cannot hold memory by sending nothing, sending slowly, or not reading the response.
    - There are at most `MAX_CONNECTIONS`. A further connection evicts the oldest one that has not
      sent a whole request head. A probe sends its request at once, so silent clients cannot keep a
      probe out. If all others have sent their request, the server aborts the new connection.
    - A request head has at most `MAX_HEAD_BYTES`.
    """

    _deadline: asyncio.TimerHandle
    _opened_at: float
    _received_bytes = 0
    is_silent = True
    """True until the client has sent a whole request head."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Start the deadline, and evict a silent connection if there are too many."""
        super().connection_made(transport)
        self._opened_at = self.loop.time()
        self._deadline = self.loop.call_later(REQUEST_SECONDS, transport.abort)
        if len(self.connections) > MAX_CONNECTIONS:
            silent = [
                connection
                for connection in self.connections
                if isinstance(connection, BoundedConnection) and connection.is_silent
            ]
            oldest = min(silent, key=lambda connection: connection._opened_at)  # noqa: SLF001 - of this class
            oldest.transport.abort()
            self.connections.discard(oldest)  # now; its `connection_lost` is called later

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadline."""
        self._deadline.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what the client sent.

        h11 compares only an incomplete head with the limit, so a larger head that arrives in one
        piece would pass. Therefore this method first gives h11 at most one byte more than the
        limit, and then the rest.
        """
        head = data
        if self.is_silent:
            head = data[: MAX_HEAD_BYTES + 1 - self._received_bytes]
        self._received_bytes += len(data)
        super().data_received(head)
        if len(head) < len(data) and not self.transport.is_closing():
            super().data_received(data[len(head) :])
        self.is_silent = self.conn.their_state is h11.IDLE

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the phrase of the status says it
        """Refuse a request that is not valid HTTP/1 (400) or has too large a head (431).

        If the head was valid, the error is in the body, which no page reads. Then do nothing: the
        page's response is on its way, and a second response would make uvicorn log an error with a
        traceback.
        """
        if (
            getattr(self, "cycle", None) is not None
        ):  # None before the first request; mypy does not know that
            return
        is_too_large = self.is_silent and self._received_bytes > MAX_HEAD_BYTES
        status = (
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if is_too_large else HTTPStatus.BAD_REQUEST
        )
        page = _response(_plain(status))
        reason = status.phrase.encode()
        head = h11.Response(status_code=status, headers=page.raw_headers, reason=reason)
        for event in (head, h11.Data(data=bytes(page.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def shutdown(self) -> None:
        """Abort the connection, so that the shutdown does not wait for a client."""
        self.transport.abort()


class HttpServer:
    """Serves pages on all addresses of the machine, in the running event loop.

    It calls `startup` and `shutdown` of `uvicorn.Server`, and not `serve`. `serve` would also
    handle SIGTERM and SIGINT, which the engine handles, and wake the process ten times a second.
    """

    def __init__(self, port: int, pages: Pages) -> None:
        self._port = port
        self._config = uvicorn.Config(
            make_app(pages),
            http=BoundedConnection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            workers=1,  # else uvicorn reads WEB_CONCURRENCY
            backlog=BACKLOG,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            log_config=None,
            log_level=logging.ERROR,  # uvicorn warns of invalid requests, which any client may send
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,  # only `serve` keeps it up to date
        )
        self._server = uvicorn.Server(self._config)

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            ConfigError: the port cannot be opened.
        """
        try:
            listener = listen(self._port)
        except OSError as error:
            raise ConfigError(
                f"{PREFIX}HTTP_PORT: port {self._port} cannot be served ({error.strerror}): choose "
                "another port, one for each process of a machine, or 0 to serve nothing"
            ) from error
        self._config.load()
        self._server.lifespan = self._config.lifespan_class(self._config)
        await self._server.startup(sockets=[listener])

    async def close(self) -> None:
        """Stop serving and abort open connections."""
        if self._server.started:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._server.shutdown(), CLOSE_SECONDS)


def listen(port: int) -> socket.socket:
    """Return a listening socket for IPv6 and IPv4, or for IPv4 alone on a machine without IPv6."""
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            if error.errno not in NO_IPV6:
                raise
    return socket.create_server(("", port))


@asynccontextmanager
async def serve_http(port: int, pages: Pages) -> AsyncIterator[None]:
    """Serve pages while the context lasts.

    Raises:
        ConfigError: the port cannot be opened.
    """
    server = HttpServer(port, pages)
    await server.start()
    log.info("http_served", port=port)
    try:
        yield
    finally:
        await server.close()
