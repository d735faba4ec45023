"""The HTTP server answers each request as it should, and no client can hold it up."""

import asyncio
import contextlib
import logging
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus

import pytest
from structlog.testing import capture_logs

from consumer.errors import ConfigError
from consumer.service import http
from consumer.service.http import COMMON_HEADERS, HttpServer, Page
from dev.free_ports import free_ports
from tests.support.waiting import wait_until_async

ANSWER_SECONDS = 5.0
# What a probe waits for at least: its default in Kubernetes.
PROBE_SECONDS = 1.0
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = b"x" * (32 * 1024 * 1024)  # more than the buffers of two sockets take in
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def broken() -> Page:
    """Fail as a page with a bug would."""
    raise RuntimeError("a bug")


PAGES = {
    "/": lambda: Page(HTTPStatus.OK, b"hello", headers={"X-Extra": "yes"}),
    "/broken": broken,
    "/large": lambda: Page(HTTPStatus.OK, LARGE),
}


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[int, HttpServer]]:
    """Serve three pages; yield the port and the server."""
    port = free_ports(1)[0]
    server = HttpServer(port, PAGES)
    await server.start()
    try:
        yield port, server
    finally:
        await server.close()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Return the port of a server of three pages."""
    async with serving() as (number, _):
        yield number


async def ask(port: int, request: bytes = GET, host: str = "127.0.0.1") -> bytes:
    """Send bytes and return all that the server sends until the connection ends."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), ANSWER_SECONDS)
    finally:
        await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection that the server may have aborted."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """Return what is left of a connection, which the server ends."""
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(), ANSWER_SECONDS)
    return b""


@asynccontextmanager
async def silent_connections(port: int, count: int) -> AsyncIterator[list[Connection]]:
    """Open connections that send nothing."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    try:
        yield opened
    finally:
        for _, writer in opened:
            await close(writer)


def connection_count(server: HttpServer) -> int:
    """Return how many connections a server has open."""
    return len(server._server.server_state.connections)  # noqa: SLF001 - no response shows it


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1", b"200 OK"),
        (b"GET /?refresh=1 HTTP/1.0", b"200 OK"),
        (b"HEAD / HTTP/1.1", b"200 OK"),
        (b"GET /other HTTP/1.1", b"404 Not Found"),
        (b"GET //large HTTP/1.1", b"404 Not Found"),
        (b"GET /large/ HTTP/1.1", b"404 Not Found"),
        (b"GET /../etc/passwd HTTP/1.1", b"404 Not Found"),
        (b"HEAD /other HTTP/1.1", b"404 Not Found"),
        (b"OPTIONS * HTTP/1.1", b"404 Not Found"),
        (b"POST / HTTP/1.1", b"405 Method Not Allowed"),
        (b"DELETE / HTTP/1.1", b"405 Method Not Allowed"),
        (b"OPTIONS / HTTP/1.1", b"405 Method Not Allowed"),
        (b"POST /other HTTP/1.1", b"404 Not Found"),
        (b"GET / HTTP/2", b"400 Bad Request"),
        (b"GET /", b"400 Bad Request"),
        (b"\xff\xfe\x00", b"400 Bad Request"),
        (b"GET /broken HTTP/1.1", b"500 Internal Server Error"),
    ],
)
async def test_each_request_has_its_answer(port: int, request_line: bytes, status: bytes) -> None:
    """Each response has the common headers, and after it the server answers the next client."""
    answer = await ask(port, request_line + b"\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status + b"\r\n")
    head = answer.partition(b"\r\n\r\n")[0].decode().lower().split("\r\n")
    for name, value in COMMON_HEADERS.items():
        assert f"{name}: {value}".lower() in head
    assert not [line for line in head if line.startswith("server:")]
    assert (await ask(port)).endswith(b"\r\n\r\nhello")


async def test_a_head_has_no_body_and_a_refused_method_says_which_are_not(port: int) -> None:
    """HEAD has the headers of GET, and 405 lists the allowed methods."""
    got, head = await ask(port), await ask(port, GET.replace(b"GET", b"HEAD"))
    assert got == head + b"hello"
    assert b"\r\ncontent-length: 5\r\n" in head
    assert b"\r\nx-extra: yes\r\n" in head
    assert b"\r\nallow: GET, HEAD\r\n" in await ask(port, GET.replace(b"GET", b"PUT"))


async def test_a_page_that_fails_is_logged_with_its_path(port: int) -> None:
    """One log line with the exception is what an operator can report."""
    with capture_logs() as logged:
        answer = await ask(port, GET.replace(b" / ", b" /broken "))
    assert answer.endswith(b"\r\n\r\nInternal Server Error\n")
    assert [(line["event"], line["path"]) for line in logged] == [("http_failed", "/broken")]


async def test_requests_are_not_logged(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """Any client may send any number of requests, valid or not."""
    caplog.set_level(logging.DEBUG)
    upgrade = GET.replace(b"Host", b"Connection: upgrade\r\nUpgrade: websocket\r\nHost")
    for request in (GET, b"nonsense\r\n\r\n", GET.replace(b" / ", b" /other "), upgrade):
        assert (await ask(port, request)).startswith(b"HTTP/1.1 ")
    assert not [one for one in caplog.records if one.name.startswith("uvicorn")]


async def test_signals_stay_with_the_engine() -> None:
    """The server neither handles SIGTERM and SIGINT nor restores other handlers at its end."""
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(one) for one in signals]
    async with serving():
        assert [signal.getsignal(one) for one in signals] == before
    assert [signal.getsignal(one) for one in signals] == before


async def test_a_connection_serves_one_request(port: int) -> None:
    """A client that asks for keep-alive, or sends two requests at once, gets one response."""
    keep_alive = GET.replace(b"Host", b"Connection: keep-alive\r\nHost")
    for request in (keep_alive, GET + GET, GET + b"GET /la"):
        answer = await ask(port, request)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert answer.endswith(b"\r\n\r\nhello")


async def test_a_request_without_end_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a slow nor a large head keeps a connection, and others are answered meanwhile."""
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.3)
    slow = asyncio.create_task(ask_slowly(port, b"GET / HTTP/1.1\r\n"))
    assert (await ask(port)).startswith(b"HTTP/1.1 200")
    assert await slow == b""
    start = b"GET / HTTP/1.1\r\nX: "
    long = start + b"x" * (http.MAX_HEAD_BYTES - len(start) + 1)
    assert (await ask(port, long)).startswith(b"HTTP/1.1 431 ")
    whole = start + b"x" * http.MAX_HEAD_BYTES + b"\r\nHost: x\r\n\r\n"
    assert (await ask(port, whole)).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("pieces", [1, 2])
async def test_a_large_head_is_refused_however_it_arrives(port: int, pieces: int) -> None:
    """h11 itself checks only a head that is incomplete when it is parsed."""
    head = GET.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * http.MAX_HEAD_BYTES + b"\r\n\r\n")
    size = -(-len(head) // pieces)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for start in range(0, len(head), size):
        writer.write(head[start : start + size])
        await asyncio.sleep(0.05)
    assert (await read_to_end(reader)).startswith(b"HTTP/1.1 431 ")
    await close(writer)


async def test_a_body_after_the_largest_head_is_no_part_of_it(port: int) -> None:
    """A body may arrive with the head, and may be larger than a head."""
    size = http.MAX_HEAD_BYTES * 2
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
    assert (await ask(port, head + b"x" * size)).startswith(b"HTTP/1.1 405 ")


async def ask_slowly(port: int, head: bytes) -> bytes:
    """Send one byte after the other, for longer than the server waits; return what it sends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        for byte in head:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)
    answer = await read_to_end(reader)
    await close(writer)
    return answer


async def test_a_body_is_not_waited_for(port: int) -> None:
    """The response does not depend on it, so it comes at once and ends the connection."""
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    get = GET.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
    expect = GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    async with asyncio.timeout(http.REQUEST_SECONDS / 2):
        assert (await ask(port, post)).startswith(b"HTTP/1.1 405 ")
        assert (await ask(port, get)).startswith(b"HTTP/1.1 200 ")
        assert (await ask(port, expect)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("pause_seconds", [0.0, 0.05])
async def test_an_invalid_body_changes_nothing(
    port: int, caplog: pytest.LogCaptureFixture, pause_seconds: float
) -> None:
    """The head was valid, so its response comes, and no client can fill the log with errors."""
    caplog.set_level(logging.DEBUG)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"))
    await asyncio.sleep(pause_seconds)
    writer.write(b"more of it")
    assert (await read_to_end(reader)).endswith(b"\r\n\r\nhello")
    await close(writer)
    assert not [one for one in caplog.records if one.levelno > logging.DEBUG]


async def test_a_half_closed_connection_gets_its_response(port: int) -> None:
    """A client such as `nc -N` ends its side directly after the request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET)
    writer.write_eof()
    assert (await read_to_end(reader)).endswith(b"\r\n\r\nhello")
    await close(writer)


async def test_a_slow_reader_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A response that the client does not read is not kept for longer than the deadline."""
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.5)
    async with serving() as (port, server), silent_connections(port, 1) as [(reader, writer)]:
        writer.write(GET.replace(b" / ", b" /large "))
        await reader.readexactly(1)
        assert connection_count(server) == 1
        await wait_until_async(lambda: connection_count(server) == 0)
        assert len(await read_to_end(reader)) < len(LARGE)
        assert (await ask(port)).startswith(b"HTTP/1.1 200")


async def test_who_says_nothing_makes_room_for_who_asks(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent clients cannot keep a probe out: its failures would end the process."""
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 2)
    async with silent_connections(port, 2) as [(oldest, _), (other, other_writer)]:
        other_writer.write(b"GET")
        for _ in range(5):
            assert (await ask(port)).startswith(b"HTTP/1.1 200")
        # The server aborted the oldest one; the other one may still complete its request.
        assert await read_to_end(oldest) == b""
        other_writer.write(GET.removeprefix(b"GET"))
        answer = await asyncio.wait_for(other.read(), ANSWER_SECONDS)
        assert answer.startswith(b"HTTP/1.1 200")


async def test_a_client_that_is_answered_does_not_make_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While all connections are being answered, the server aborts the new one."""
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 2)
    async with serving() as (port, server), silent_connections(port, 2) as busy:
        for reader, writer in busy:
            writer.write(GET.replace(b" / ", b" /large "))
            await reader.readexactly(1)
        with contextlib.suppress(ConnectionError):
            assert await ask(port) == b""
        assert connection_count(server) == 2


@pytest.mark.parametrize("count", [http.MAX_CONNECTIONS, 200])
async def test_probes_are_answered_beside_silent_connections(count: int) -> None:
    """However many clients are silent, each probe has its response within its usual timeout."""
    async with serving() as (port, server), silent_connections(port, count):
        await wait_until_async(lambda: connection_count(server) == http.MAX_CONNECTIONS)
        for _ in range(50):
            began = time.monotonic()
            assert (await ask(port)).startswith(b"HTTP/1.1 200")
            assert time.monotonic() - began < PROBE_SECONDS


async def test_probes_are_answered_while_silent_connections_come(port: int) -> None:
    """A client that opens hundreds of connections at once cannot keep a probe out either."""
    flood = asyncio.create_task(open_at_once(port, 400))
    answered = 0
    while not flood.done():
        assert (await ask(port)).startswith(b"HTTP/1.1 200")
        answered += 1
    assert answered > 0
    for writer in await flood:
        await close(writer)


async def open_at_once(port: int, count: int) -> list[asyncio.StreamWriter]:
    """Open connections without waiting for each other."""
    opening = [asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    opened = await asyncio.gather(*opening, return_exceptions=True)
    return [one[1] for one in opened if not isinstance(one, BaseException)]


async def test_a_port_in_use_is_a_wrong_setting(port: int) -> None:
    """The message names the variable and the fix."""
    with pytest.raises(ConfigError, match=f"HTTP_PORT: port {port} cannot be served"):
        await HttpServer(port, PAGES).start()


@pytest.mark.parametrize("request_bytes", [b"", b"GET / HT", GET.replace(b" / ", b" /large ")])
async def test_the_end_waits_for_no_client(request_bytes: bytes) -> None:
    """A client that holds its connection open does not delay the end of the process."""
    async with serving() as (port, server), silent_connections(port, 1) as [(reader, writer)]:
        writer.write(request_bytes)
        await wait_until_async(lambda: connection_count(server) == 1)
        if b"large" in request_bytes:
            await reader.readexactly(1)
        async with asyncio.timeout(http.CLOSE_SECONDS):
            await server.close()
        assert connection_count(server) == 0
        assert len(await read_to_end(reader)) < len(LARGE)


@contextmanager
def without_ipv6() -> Iterator[None]:
    """Let the machine have no IPv6."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("socket.has_dualstack_ipv6", lambda: False)
        yield


async def test_it_listens_on_ipv6_and_ipv4_or_on_ipv4_alone() -> None:
    """A machine without IPv6 is served all the same."""
    async with serving() as (port, server):
        (listener,) = server._server.servers[0].sockets  # noqa: SLF001 - this machine may have no IPv6
        for host in ("127.0.0.1", "::1")[: 1 + (listener.family == socket.AF_INET6)]:
            assert (await ask(port, host=host)).startswith(b"HTTP/1.1 200")
    with without_ipv6():
        async with serving() as (port, _):
            assert (await ask(port)).startswith(b"HTTP/1.1 200")


def test_a_process_that_does_not_serve_loads_no_server() -> None:
    """The packages cost start-up time and memory, and neither commands nor port 0 need them."""
    program = (
        "import sys, asyncio\n"
        "import consumer.cli.main, consumer.cli.run, consumer.cli.replay, consumer.cli.tail\n"
        "from consumer.config import Settings\n"
        "from consumer.service.app import HttpEndpoint\n"
        "async def run():\n"
        "    endpoint = HttpEndpoint(Settings.load({'CHECKPOINT_READY_HTTP_PORT': '0'}))\n"
        "    assert endpoint.observers == ()\n"
        "    async with endpoint.open(lambda: None):\n"
        "        pass\n"
        "asyncio.run(run())\n"
        "print([name for name in ('starlette', 'uvicorn', 'h11', 'anyio') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
