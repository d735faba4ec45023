"""Connections of the receiver: what is no valid request, and requests that follow each other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import TYPE_CHECKING, Any, cast

import pytest

from consumer.sources.http_server import MAX_PIPELINED, IngestServer
from consumer.sources.ingest_config import Limits
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMITS = Limits(head_bytes=1024, request_seconds=0.4, connections=10)
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
GOOD = HEAD + b"Content-Length: 2\r\n\r\n{}"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SECONDS = 10.0


class Running:
    """A server whose application answers when the test allows it."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.requests = 0
        self.port = 0
        self._connections: list[Connection] = []

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        """Read the body, and answer 202. A request with the path /refused is answered before."""
        self.requests += 1
        while scope["path"] != "/refused":
            message = await receive()
            if message["type"] != "http.request":
                return
            if not message["more_body"]:
                break
        await self.may_answer.wait()
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def connect(self) -> Connection:
        """Open a connection."""
        opened = await asyncio.open_connection("127.0.0.1", self.port)
        self._connections.append(Connection(*opened))
        return self._connections[-1]

    async def exchange(self, sent: bytes) -> list[int]:
        """Send bytes on a new connection, and return the statuses until the server closes it."""
        connection = await self.connect()
        connection.writer.write(sent)
        return await connection.statuses()

    async def close(self) -> None:
        """Close all connections."""
        self.may_answer.set()
        for connection in self._connections:
            connection.writer.close()
            with contextlib.suppress(ConnectionError):
                await connection.writer.wait_closed()


class Connection:
    """A client's side of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def statuses(self, count: int = 0) -> list[int]:
        """Return the statuses of this number of answers; 0: of all until the server closes."""
        received = b""
        with contextlib.suppress(ConnectionError):
            while not count or received.count(b"\r\n\r\n") < count:
                chunk = await asyncio.wait_for(self.reader.read(65536), SECONDS)
                if not chunk:
                    break
                received += chunk
        return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Running]:
    """Run a server while the context lasts."""
    made = Running()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made.port = listener.getsockname()[1]
        server = IngestServer(cast("Any", made.answer), listener, LIMITS)
        await server.start()
        try:
            yield made
        finally:
            await made.close()
            await server.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00",
        b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",  # no host
        HEAD + b"Host: y\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: identity\r\n\r\n",
        CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n",
        GOOD.replace(b"1.1", b"2.0"),
        GOOD.replace(b"1.1", b"0.9"),
        HEAD + b"x: y\x00\r\n\r\n",
        CHUNKED + b"x\r\n",
    ],
)
async def test_what_is_no_request_is_refused(sent: bytes) -> None:
    """The answer is 400 with the reason, and the connection is closed."""
    async with running() as made:
        connection = await made.connect()
        connection.writer.write(sent)
        head, _, body = (await connection.reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"content-type: application/problem+json" in head
        assert json.loads(body).keys() == {"title", "status", "detail"}
        assert made.requests <= (1 if sent.startswith(CHUNKED) else 0)


@pytest.mark.parametrize("sent", [HEAD + b"x: y" * 300, b"POST /" + b"a" * 1100])
async def test_a_large_head_is_refused(sent: bytes) -> None:
    """The parser has no limit of its own."""
    async with running() as made:
        assert await made.exchange(sent) == [431]
        assert made.requests == 0


async def test_a_refusal_arrives_while_the_client_still_sends() -> None:
    """A reset of the connection would discard the answer at the client."""
    async with running() as made:
        connection = await made.connect()
        connection.writer.write(HEAD)
        for _ in range(40):
            connection.writer.write(b"x-name: %s\r\n" % (b"y" * 5000))
            await asyncio.sleep(0)
        await connection.writer.drain()
        assert await connection.statuses() == [431]


async def test_a_client_that_never_ends_after_a_refusal_is_closed() -> None:
    """The server reads the rest for a bounded time and a bounded number of bytes."""
    async with running() as made:
        connection = await made.connect()
        connection.writer.write(b"\x00")
        assert await connection.statuses() == [400]
        with pytest.raises(ConnectionError):
            await send_without_end(connection)


async def send_without_end(connection: Connection) -> None:
    """Send until the connection is closed."""
    while True:
        connection.writer.write(b"x" * 65536)
        await connection.writer.drain()


async def test_an_endless_head_in_small_pieces_is_refused() -> None:
    """The parser has no limit of its own."""
    async with running() as made:
        connection = await made.connect()
        answer = asyncio.create_task(connection.statuses())
        connection.writer.write(HEAD)
        for _ in range(110):
            connection.writer.write(b"x-name: y\r\n")
            await asyncio.sleep(0)
        assert await answer == [431]
        assert made.requests == 0


@pytest.mark.parametrize("rest", [b"1;" + b"x" * 1100, b"0\r\n" + b"trailer: x\r\n" * 100])
async def test_endless_frames_of_chunks_are_refused(rest: bytes) -> None:
    """They are no part of the body, whose size is limited."""
    async with running() as made:
        connection = await made.connect()
        connection.writer.write(CHUNKED)
        await wait_until_async(lambda: made.requests == 1)
        connection.writer.write(rest)
        assert await connection.statuses() == [400]


async def test_small_chunks_are_no_endless_head() -> None:
    """The frames of the chunks of one body may have more bytes than a head."""
    async with running() as made:
        connection = await made.connect()
        connection.writer.write(CHUNKED + b"1\r\nx\r\n" * 2000 + b"0\r\n\r\n")
        assert await connection.statuses(1) == [202]


async def test_requests_before_an_invalid_one_are_answered() -> None:
    """Each gets its own answer, and nothing follows."""
    async with running() as made:
        made.may_answer.clear()
        answer = asyncio.create_task(made.exchange(GOOD + GOOD + b"\x00" + GOOD))
        await wait_until_async(lambda: made.requests == 1)
        made.may_answer.set()
        assert await answer == [202, 202]
        answer = asyncio.create_task(made.exchange(GOOD + CHUNKED + b"x\r\n"))
        assert await answer == [202]


async def test_pipelined_requests_are_limited() -> None:
    """The objects of a request need much memory. What was not answered was not handled."""
    async with running() as made:
        assert await made.exchange(GOOD * 1000) == [202] * (MAX_PIPELINED + 1)
        assert made.requests == MAX_PIPELINED + 1


async def test_an_invalid_rest_of_a_refused_request_ends_the_connection() -> None:
    """A second answer would be taken for the answer to another request."""
    async with running() as made:
        connection = await made.connect()
        connection.writer.write(CHUNKED.replace(b" / ", b" /refused "))
        assert await connection.statuses(1) == [202]
        connection.writer.write(b"x\r\n")
        assert await connection.statuses() == []


async def test_an_upgrade_is_ignored() -> None:
    """The request is answered, and the connection ends, because the client may change protocols."""
    async with running() as made:
        upgrade = b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}"
        assert await made.exchange(HEAD + upgrade) == [202]
        assert await made.exchange(HEAD + upgrade.replace(b"h2c", b"websocket")) == [202]


async def test_deadlines_move_with_the_requests() -> None:
    """Answered requests move the deadline; a request that is not complete in time is closed."""
    async with running() as made:
        connection = await made.connect()
        began = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - began < 2 * LIMITS.request_seconds:
            connection.writer.write(GOOD)
            assert await connection.statuses(1) == [202]
        connection.writer.write(GOOD[:-1])
        began = asyncio.get_running_loop().time()
        assert await connection.statuses() == []
        assert asyncio.get_running_loop().time() - began >= LIMITS.request_seconds - 0.1


async def test_an_answer_outlasts_the_time_for_a_request() -> None:
    """While Kafka has not acknowledged, the time for the client does not count."""
    async with running() as made:
        made.may_answer.clear()
        connection = await made.connect()
        connection.writer.write(GOOD + GOOD[:-1])
        answer = asyncio.create_task(connection.statuses())
        began = asyncio.get_running_loop().time()
        await wait_until_async(
            lambda: asyncio.get_running_loop().time() - began > LIMITS.request_seconds + 0.1
        )
        made.may_answer.set()
        assert await answer == [202]
