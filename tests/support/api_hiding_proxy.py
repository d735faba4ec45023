"""A TCP proxy that hides requests of a broker from clients, as a service without them would.

It removes API keys from the first response of each connection, which lists the supported requests
(ApiVersions, versions 0 to 2). All other bytes pass unchanged.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Self

from dev.kafka_settings import HOST
from tests.support.loop_thread import LoopThread

if TYPE_CHECKING:
    from collections.abc import Collection

DELETE_RECORDS = 21
DESCRIBE_LOG_DIRS = 35
API_VERSIONS = 18
CHUNK_BYTES = 64 * 1024
LENGTH, API_KEY, ENTRY = struct.Struct(">i"), struct.Struct(">h"), struct.Struct(">hhh")
HEAD = struct.Struct(">ihi")  # correlation id, error code, number of entries


class ApiHidingProxy:
    """Listens on a port from its creation; a context manager that serves and then closes."""

    def __init__(self, *hidden: int) -> None:
        """`hidden` are the API keys to remove."""
        self.hidden_responses = 0
        self.broker_port = 0
        self._hidden = hidden
        self._socket = socket.create_server((HOST, 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = LoopThread("api-hiding-proxy")

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        self._thread.listen(self._socket, self._serve)
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections."""
        self._thread.close()
        self._socket.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_broker: asyncio.StreamWriter | None = None
        try:
            from_broker, to_broker = await asyncio.open_connection(HOST, self.broker_port)
            request = await _frame(reader)
            to_broker.write(LENGTH.pack(len(request)) + request)
            response = await _frame(from_broker)
            if API_KEY.unpack_from(request)[0] == API_VERSIONS:
                response = without(response, self._hidden)
                self.hidden_responses += 1
            writer.write(LENGTH.pack(len(response)) + response)
            pumps = [
                asyncio.ensure_future(_pump(reader, to_broker)),
                asyncio.ensure_future(_pump(from_broker, writer)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
        except (OSError, asyncio.IncompleteReadError):
            pass  # one of the two has closed the connection
        finally:
            writer.transport.abort()
            if to_broker is not None:
                to_broker.transport.abort()


def without(response: bytes, hidden: Collection[int]) -> bytes:
    """Return an ApiVersions response without these API keys."""
    correlation, error, count = HEAD.unpack_from(response)
    end = HEAD.size + count * ENTRY.size
    entries = [
        entry for entry in ENTRY.iter_unpack(response[HEAD.size : end]) if entry[0] not in hidden
    ]
    head = HEAD.pack(correlation, error, len(entries))
    return head + b"".join(ENTRY.pack(*entry) for entry in entries) + response[end:]


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return await reader.readexactly(length)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
