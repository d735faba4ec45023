"""The small server answers what it should, and strangers cannot hold it up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from http import HTTPStatus

import pytest

from consumer.errors import ConfigError
from consumer.service import http
from consumer.service.http import HttpServer, Response
from dev.free_ports import free_ports
from tests.support.waiting import wait_until_async

ANSWER_SECONDS = 5.0


def broken() -> Response:
    """Fail as a page with a bug would."""
    raise RuntimeError("a bug")


ROUTES = {
    "/": lambda: Response(HTTPStatus.OK, b"hello", headers=(("X-Of-Its-Own", "yes"),)),
    "/broken": broken,
}


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Where a server serves two paths."""
    number = free_ports(1)[0]
    server = HttpServer(number, ROUTES)
    await server.start()
    yield number
    await server.close()


async def ask(port: int, request: bytes, host: str = "127.0.0.1") -> bytes:
    """Send bytes and return all that comes until the connection ends."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), ANSWER_SECONDS)
    finally:
        await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection that the server may have cut off."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1", b"200 OK"),
        (b"GET /?refresh=1 HTTP/1.0", b"200 OK"),
        (b"HEAD / HTTP/1.1", b"200 OK"),
        (b"GET /other HTTP/1.1", b"404 Not Found"),
        (b"GET /../etc/passwd HTTP/1.1", b"404 Not Found"),
        (b"POST / HTTP/1.1", b"405 Method Not Allowed"),
        (b"DELETE / HTTP/1.1", b"405 Method Not Allowed"),
        (b"POST /other HTTP/1.1", b"404 Not Found"),
        (b"GET / HTTP/2", b"400 Bad Request"),
        (b"GET /", b"400 Bad Request"),
        (b"\xff\xfe\x00", b"400 Bad Request"),
        (b"GET /broken HTTP/1.1", b"500 Internal Server Error"),
    ],
)
async def test_each_request_has_its_answer(port: int, request_line: bytes, status: bytes) -> None:
    """Paths and methods that are not served are said to be none, and a bug ends nothing."""
    answer = await ask(port, request_line + b"\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert b"\r\nConnection: close\r\n" in answer
    assert (await ask(port, b"GET / HTTP/1.1\r\n\r\n")).endswith(b"\r\n\r\nhello")


async def test_a_head_has_no_body_and_a_refused_method_says_which_are_not(port: int) -> None:
    """HEAD tells the length alone, and 405 comes with Allow."""
    head = await ask(port, b"HEAD / HTTP/1.1\r\n\r\n")
    assert b"\r\nContent-Length: 5\r\n" in head
    assert b"\r\nX-Of-Its-Own: yes\r\n" in head
    assert head.endswith(b"\r\n\r\n")
    assert b"\r\nAllow: GET, HEAD\r\n" in await ask(port, b"PUT / HTTP/1.1\r\n\r\n")


async def test_a_request_without_end_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither many bytes nor much time can be taken, and others are answered meanwhile."""
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.3)
    slow = asyncio.create_task(ask(port, b"GET / HTTP/1.1\r\n"))
    assert (await ask(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert await slow == b""
    long = b"GET / HTTP/1.1\r\nX: " + b"x" * (http.MAX_HEAD_BYTES + 1)
    assert (await ask(port, long)).startswith(b"HTTP/1.1 431 ")


async def test_who_says_nothing_makes_room_for_who_asks(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers who hold all connections cannot keep a probe out, which would end the process."""
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 2)
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    silent[1][1].write(b"GET")
    for _ in range(5):
        assert (await ask(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200")
    # The oldest was cut off; the other one may still go on.
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(silent[0][0].read(), ANSWER_SECONDS) == b""
    silent[1][1].write(b" / HTTP/1.1\r\n\r\n")
    answer = await asyncio.wait_for(silent[1][0].read(), ANSWER_SECONDS)
    assert answer.startswith(b"HTTP/1.1 200")
    for _, writer in silent:
        await close(writer)


async def test_a_port_in_use_is_a_wrong_setting(port: int) -> None:
    """The message names variable and mend."""
    with pytest.raises(ConfigError, match=f"HTTP_PORT: port {port} cannot be served"):
        await HttpServer(port, ROUTES).start()


async def test_the_end_waits_for_nobody() -> None:
    """A client that holds its connection open does not hold up the end of the process."""
    number = free_ports(1)[0]
    server = HttpServer(number, ROUTES)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", number)
    await wait_until_async(lambda: len(server._open) == 1)  # noqa: SLF001 - it is accepted now
    async with asyncio.timeout(http.CLOSE_SECONDS + 1):
        await server.close()
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), ANSWER_SECONDS) == b""
    await close(writer)
