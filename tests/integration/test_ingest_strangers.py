"""The receiver with its default limits against many clients that have no secret."""

from __future__ import annotations

import base64
import contextlib
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.deployment import Deployment
from tests.support.ingest import start_ingest
from tests.support.records import checkpoint
from tests.support.standard_webhooks import signed_headers
from tests.support.topics import Names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster import Cluster
    from tests.support.ingest import Ingest

KEY = b"0123456789abcdef0123456789abcdef"
WEBHOOK = """
[webhooks.openai]
kind = "standard-webhooks"
secret_files = ["secret"]
"""
HEAD = (
    b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)
ROUNDS = 4
HALF_BODY_BYTES = 500_000


@pytest.fixture(scope="module")
def ingest(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """Start a receiver with the default limits."""
    folder = tmp_path_factory.mktemp("ingest")
    (folder / "secret").write_bytes(b"whsec_" + base64.b64encode(KEY))
    with Deployment(cluster, Names(f"strangers-{time.time_ns()}")) as deployment:
        yield start_ingest(deployment, folder, WEBHOOK)


class Strangers:
    """Clients that send the same part of a request, and connect again when they are closed."""

    def __init__(self, ingest: Ingest, sent: bytes, count: int) -> None:
        self._port = ingest.port
        self._sent = sent
        self._open = [self._connect() for _ in range(count)]

    def again(self) -> int:
        """Replace the closed connections, and return their number."""
        closed = [connection for connection in self._open if is_closed(connection)]
        for connection in closed:
            connection.close()
            self._open.remove(connection)
            self._open.append(self._connect())
        return len(closed)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._open:
            connection.close()

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=20)
        with contextlib.suppress(ConnectionError):
            connection.sendall(self._sent)
        connection.setblocking(False)  # noqa: FBT003 - of socket
        return connection


def is_closed(connection: socket.socket) -> bool:
    """Return whether the server has closed a connection. Its answers are discarded."""
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


def assert_honest_senders_are_served(ingest: Ingest, strangers: Strangers) -> None:
    """Send checkpoints with a token and with a signature while the strangers connect again."""
    body = checkpoint("ftckpt_honest")
    for number in range(ROUNDS):
        strangers.again()
        assert ingest.post(body).status == 202, number
        strangers.again()
        reply = ingest.post(
            body, path="/v1/webhooks/openai", token=None, headers=signed_headers(body, KEY)
        )
        assert reply.status == 202, (number, reply)


@pytest.mark.parametrize(
    ("path", "count"),
    [
        (b"/v1/webhooks/openai", 300),
        (b"/v1/webhooks/none", 300),
        (b"/v1/checkpoints", 300),
        (b"/v1/webhooks/openai", 1000),
    ],
)
def test_idle_strangers_do_not_keep_senders_out(ingest: Ingest, path: bytes, count: int) -> None:
    """Each has sent a complete head without a body."""
    strangers = Strangers(ingest, HEAD % (path, 1000), count)
    try:
        assert_honest_senders_are_served(ingest, strangers)
    finally:
        strangers.close()


def test_parts_of_large_bodies_do_not_use_up_the_memory(ingest: Ingest) -> None:
    """Twice the memory for requests is sent. The oldest of these requests give way."""
    part = HEAD % (b"/v1/webhooks/openai", 2 * HALF_BODY_BYTES) + b" " * HALF_BODY_BYTES
    strangers = Strangers(ingest, part, 130)
    try:
        assert_honest_senders_are_served(ingest, strangers)
    finally:
        strangers.close()
