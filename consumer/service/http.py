"""A small HTTP server for probes, a scraper and a browser: GET and HEAD of a few fixed paths.

It serves strangers as well, so all is bounded: a request's size and time, and how many there are at
once. A connection serves one request. A framework would be the larger part of the service for this.
"""

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final, NamedTuple

import structlog
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest

from consumer import __version__
from consumer.config import PREFIX, Settings
from consumer.errors import ConfigError
from consumer.service.health import Answer, StartUp, is_alive, is_ready
from consumer.service.metrics_observer import EngineCollector, MetricsObserver
from consumer.service.recent_activity import RecentActivity
from consumer.service.status_page import Status, render_status
from consumer.shard.events import Observer, ObserverGroup
from consumer.worker.engine import EngineStatus

MAX_HEAD_BYTES: Final = 8 * 1024
MAX_CONNECTIONS: Final = 64
REQUEST_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 1.0
NO_IPV6: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)
log = structlog.get_logger(__name__)


class Response(NamedTuple):
    """What is answered to a request."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class HttpServer:
    """Answers each path by calling its function; listens on all addresses of the machine."""

    def __init__(self, port: int, routes: Mapping[str, Callable[[], Response]]) -> None:
        self._port = port
        self._routes = routes
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._waiting: dict[asyncio.StreamWriter, None] = {}  # for their request, the oldest first

    async def start(self) -> None:
        """Begin to serve.

        Raises:
            ConfigError: the port cannot be had.
        """
        try:
            listener = _listen(self._port)
        except OSError as error:
            raise ConfigError(
                f"{PREFIX}HTTP_PORT: port {self._port} cannot be served ({error.strerror}): choose "
                "another, one for each process of a machine, or 0 for none"
            ) from error
        self._server = await asyncio.start_server(self._serve, sock=listener, limit=MAX_HEAD_BYTES)

    async def close(self) -> None:
        """Stop serving; whoever is still being answered is cut off."""
        if self._server is None:
            return
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._server.wait_closed(), CLOSE_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= MAX_CONNECTIONS:
            # Who says nothing makes room, for a probe says all at once and must be heard.
            silent = next(iter(self._waiting), writer)
            silent.transport.abort()
            self._forget(silent)
            if silent is writer:
                return
        self._open.add(writer)
        self._waiting[writer] = None
        # Whoever goes away or is slow has itself to blame.
        with contextlib.suppress(TimeoutError, OSError, asyncio.IncompleteReadError):
            async with asyncio.timeout(REQUEST_SECONDS):
                answer = await self._answer(reader)
                self._waiting.pop(writer, None)
                writer.write(answer)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        self._forget(writer)
        writer.transport.abort()

    def _forget(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        self._waiting.pop(writer, None)

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _encode(_plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
        method, _, rest = head.split(b"\r\n", 1)[0].partition(b" ")
        target, _, version = rest.partition(b" ")
        if not version.startswith(b"HTTP/1."):
            return _encode(_plain(HTTPStatus.BAD_REQUEST))
        response = self._respond(method, target.partition(b"?")[0].decode("latin-1"))
        return _encode(response, with_body=method != b"HEAD")

    def _respond(self, method: bytes, path: str) -> Response:
        route = self._routes.get(path)
        if route is None:
            return _plain(HTTPStatus.NOT_FOUND)
        if method not in {b"GET", b"HEAD"}:
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED)._replace(headers=(("Allow", "GET, HEAD"),))
        try:
            return route()
        except Exception:
            # A page that cannot be made must not end what it is about.
            log.exception("http_failed", path=path)
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR)


def _listen(port: int) -> socket.socket:
    """Return a socket that listens for IPv6 and IPv4, or for the latter alone where it must."""
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            if error.errno not in NO_IPV6:
                raise
    return socket.create_server(("", port))


def _plain(status: HTTPStatus) -> Response:
    return Response(status, f"{status.phrase}\n".encode())


def _encode(response: Response, *, with_body: bool = True) -> bytes:
    headers = (
        ("Content-Type", response.content_type),
        ("Content-Length", str(len(response.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
        *response.headers,
    )
    lines = [f"HTTP/1.1 {response.status.value} {response.status.phrase}"]
    lines += [f"{name}: {text}" for name, text in headers]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head + response.body if with_body else head


# What is served on HTTP_PORT, path by path.

HTML: Final = "text/html; charset=utf-8"
# Ids are the producers' words: should one ever get through unescaped, nothing of it runs.
PAGE_HEADERS: Final = (
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
    ("Referrer-Policy", "no-referrer"),
)
Routes = dict[str, Callable[[], Response]]


def make_routes(
    settings: Settings,
    look: Callable[[], EngineStatus],
    registry: CollectorRegistry,
    recent: RecentActivity,
) -> Routes:
    """Return what answers each path; `look` shows the engine as it is at that moment."""
    start_up = StartUp()

    def page() -> Response:
        view = look()
        status = Status(settings.group_id, __version__, view, is_ready(view), recent)
        return Response(HTTPStatus.OK, render_status(status).encode(), HTML, PAGE_HEADERS)

    def metrics() -> Response:
        return Response(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)

    return {
        "/": page,
        "/metrics": metrics,
        "/livez": lambda: _health(is_alive(look(), settings.watchdog_seconds)),
        "/readyz": lambda: _health(is_ready(look())),
        "/startupz": lambda: _health(start_up.is_over(look())),
    }


def _health(answer: Answer) -> Response:
    status = HTTPStatus.OK if answer.is_ok else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(status, "".join(f"{line}\n" for line in answer.lines).encode())


# What a process shows of itself over HTTP, and the counting behind it.


class HttpEndpoint:
    """Counts from the start of the process on; without a port (0) nothing is counted or served."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry = CollectorRegistry()
        self._metrics = MetricsObserver(self._registry, settings)
        self._recent = RecentActivity(
            time.monotonic, binary_mode=settings.cloudevents_mode == "binary"
        )

    def beside(self, observer: Observer) -> Observer:
        """Return an observer that tells this one, and what is counted here."""
        if not self._settings.http_port:
            return observer
        return ObserverGroup(observer, self._metrics, self._recent)

    def count_suppressed_line(self) -> None:
        """Count a log line that was left out."""
        self._metrics.suppressed_lines.inc()

    @asynccontextmanager
    async def open(self, look: Callable[[], EngineStatus]) -> AsyncIterator[None]:
        """Serve while the context lasts; `look` shows the engine.

        Raises:
            ConfigError: the port cannot be had.
        """
        port = self._settings.http_port
        if not port:
            yield
            return
        self._registry.register(EngineCollector(look))
        routes = make_routes(self._settings, look, self._registry, self._recent)
        server = HttpServer(port, routes)
        await server.start()
        log.info("http_served", port=port)
        try:
            yield
        finally:
            await server.close()
