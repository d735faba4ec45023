"""A produce request has the bytes that the library would send, and holds no copy of its batches."""

import asyncio
import struct
import tracemalloc
from typing import Any

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.produce import ProduceRequest, ProduceRequest_v3, ProduceRequest_v8
from aiokafka.protocol.struct import Struct
from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.client.private_api import encode_in_parts

MIB = 1024 * 1024
VERSIONS = range(8)
CLIENT_ID = "a client"


def view(some: bytes) -> memoryview:
    """Return a view; mypy cannot call the generic class."""
    return memoryview(some)


int16s = st.integers(-(2**15), 2**15 - 1)
int32s = st.integers(-(2**31), 2**31 - 1)
large_batches = st.binary(min_size=1).map(lambda some: some * 64 * 1024)
batches: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.binary(), large_batches, st.binary().map(bytearray), st.binary().map(view)
)
partitions = st.lists(st.tuples(int32s, batches), max_size=8)
topics = st.lists(st.tuples(st.text(max_size=300), partitions | st.none()), max_size=4)


@given(
    version=st.sampled_from(VERSIONS),
    transactional_id=st.none() | st.text(max_size=300),
    acks=int16s,
    timeout=int32s,
    topics=topics | st.none(),
    correlation_id=int32s,
)
def test_the_bytes_are_those_of_the_library(  # noqa: PLR0913 - the fields of a request
    *,
    version: int,
    transactional_id: str | None,
    acks: int,
    timeout: int,
    topics: Any,  # noqa: ANN401 - the library has its own type
    correlation_id: int,
) -> None:
    """Every version that a broker may negotiate, with empty, missing and large batches."""
    has_id = version >= ProduceRequest_v3.API_VERSION
    producer = ProduceRequest(transactional_id if has_id else None, acks, timeout, topics)
    request = producer.prepare({ProduceRequest.API_KEY: (version, version)})
    assert version == request.API_VERSION
    header = request.build_request_header(correlation_id, CLIENT_ID).encode()
    expected = header + Struct.encode(request)
    message = header + request.encode()
    assert len(message) == len(expected)
    assert struct.pack(">i", len(message)) + message == struct.pack(">i", len(expected)) + expected


def test_every_version_of_the_library_is_tested() -> None:
    """A broker negotiates one of these."""
    assert [version.API_VERSION for version in ProduceRequest._CLASSES] == list(VERSIONS)  # noqa: SLF001
    # The library does not negotiate version 8.
    assert ProduceRequest_v8.encode is Struct.encode


@pytest.mark.parametrize(
    "topics",
    [
        [("t", [(2**31, b"batch")])],  # no 32-bit number
        [("t", [(0, b"batch", "more")])],  # not the fields of the schema
        [("t",)],
        [("t" * 2**15, [])],  # longer than a string may be
        [("t", [(0, "text")])],
        [("t", 1)],
    ],
)
def test_what_the_library_refuses_is_refused(topics: Any) -> None:  # noqa: ANN401 - of any type
    """With the same type of error, before anything is written."""
    request = ProduceRequest(None, -1, 1000, topics).prepare({0: (7, 7)})
    with pytest.raises((ValueError, TypeError)) as refused:
        Struct.encode(request)
    with pytest.raises(refused.type):
        b"size" + (b"header" + encode_in_parts(request))


class Written:
    """Takes what a connection writes."""

    def __init__(self) -> None:
        self.written: list[bytes | memoryview] = []

    def write(self, content: bytes | memoryview) -> None:
        """Take one message."""
        self.written.append(content)

    async def drain(self) -> None:
        """Nothing waits."""


async def test_a_connection_sends_one_copy() -> None:
    """The message of a real connection; the library would have two copies or more at once."""
    topics = [("t", [(number, bytes([number]) * MIB) for number in range(7)])]
    request = ProduceRequest("an id", -1, 1000, topics)
    connection = AIOKafkaConnection("localhost", 9092, client_id=CLIENT_ID)
    writer = connection._writer = Written()  # noqa: SLF001
    connection._versions = {0: (0, 9)}  # noqa: SLF001
    tracemalloc.start()
    try:
        await connection.send(request, expect_response=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        connection._writer = None  # noqa: SLF001
    assert peak < 8 * MIB
    sent = request.prepare({0: (7, 7)})
    expected = sent.build_request_header(1, CLIENT_ID).encode() + Struct.encode(sent)
    assert writer.written == [struct.pack(">i", len(expected)) + expected]


async def test_a_message_larger_than_the_socket_arrives() -> None:
    """The transport keeps the rest of a memoryview and sends it later."""
    arrived = asyncio.get_running_loop().create_future()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set_result(await reader.read(-1))
        writer.close()

    request = ProduceRequest(None, -1, 1000, [("t", [(0, b"x" * 16 * MIB)])]).prepare({0: (7, 7)})
    async with await asyncio.start_server(receive, "127.0.0.1", 0) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"size" + (b"header" + request.encode()))
        writer.close()
        await writer.wait_closed()
        assert await arrived == b"sizeheader" + Struct.encode(request)
