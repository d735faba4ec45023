"""The proxy between services and brokers: what it passes on, holds back and cuts."""

from __future__ import annotations

import gc
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import pytest
from confluent_kafka import Producer

from consumer.kafka.client.private_connection import keep_alive
from dev.kafka import LocalKafka
from dev.kafka_settings import HOST
from tests.chaos.effects import END_TXN, INIT_PRODUCER_ID, SASL_HANDSHAKE, Effect, Link
from tests.chaos.proxy import Proxy
from tests.support.cluster import Cluster
from tests.support.topics import Names
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE, ELSEWHERE = Link(1, 1), Link(2, 1)
METADATA = 3
DELAY_SECONDS = 1.5
PATIENCE_SECONDS = 10.0


def request(api_key: int, body: bytes = b"body") -> bytes:
    """Return a frame as Kafka's clients send it."""
    frame = struct.pack(">hhi", api_key, 0, 1) + body
    return struct.pack(">i", len(frame)) + frame


class Echo:
    """Listens as a broker does, keeps what comes, and sends it back."""

    def __init__(self) -> None:
        self.received = b""
        self._listening = socket.create_server((HOST, 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        try:
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        except OSError:
            return  # closed

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while chunk := connection.recv(65536):
                    self.received += chunk
                    connection.sendall(chunk)
            except OSError:
                return  # cut


@pytest.fixture
def echo() -> Iterator[Echo]:
    """Stand in for a broker: the proxy's own tests need no answers with a meaning."""
    with Echo() as listening:
        yield listening


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    """Run a proxy with two links to it."""
    with Proxy([HERE, ELSEWHERE]) as running:
        running.start({HERE: echo.port, ELSEWHERE: echo.port})
        yield running


def connect(proxy: Proxy, link: Link = HERE) -> socket.socket:
    """Connect as a service does."""
    return socket.create_connection((HOST, proxy.port(link)), PATIENCE_SECONDS)


def is_ended(connection: socket.socket) -> bool:
    """Tell whether the other side ends the connection."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def answer_seconds(connection: socket.socket, frame: bytes) -> float:
    """Send a request, wait for the whole echo, and return how long it took."""
    began = time.monotonic()
    connection.sendall(frame)
    answer = b""
    while len(answer) < len(frame):
        chunk = connection.recv(65536)
        assert chunk
        answer += chunk
    assert answer == frame
    return time.monotonic() - began


def test_it_holds_back_only_the_requests_meant(proxy: Proxy) -> None:
    """EndTxn of one service is late; its other requests and the other service's are not."""
    effect = Effect(place=HERE.place, api_key=END_TXN, delay_seconds=DELAY_SECONDS)
    with connect(proxy) as here, connect(proxy, ELSEWHERE) as elsewhere, proxy.trouble(effect):
        assert answer_seconds(here, request(METADATA)) < DELAY_SECONDS
        assert answer_seconds(here, request(END_TXN)) >= DELAY_SECONDS
        assert answer_seconds(elsewhere, request(END_TXN)) < DELAY_SECONDS
    assert proxy.delayed == {END_TXN: 1}
    with connect(proxy) as here:
        assert answer_seconds(here, request(END_TXN)) < DELAY_SECONDS


def test_it_keeps_the_order_and_large_frames(proxy: Proxy, echo: Echo) -> None:
    """What follows a late request on its connection comes after it, whole, however large."""
    frames = [request(END_TXN), request(METADATA, b"x" * 3_000_000), request(METADATA)]
    with connect(proxy) as here, proxy.trouble(Effect(api_key=END_TXN, delay_seconds=0.3)):
        threading.Thread(target=here.sendall, args=(b"".join(frames),), daemon=True).start()
        wanted = sum(map(len, frames))
        received = 0
        while received < wanted:
            received += len(here.recv(1_000_000))
    assert echo.received == b"".join(frames)


def test_a_late_request_arrives_though_its_client_has_gone(proxy: Proxy, echo: Echo) -> None:
    """A request that is on its way when its client hangs up still reaches the broker."""
    with proxy.trouble(Effect(api_key=INIT_PRODUCER_ID, delay_seconds=DELAY_SECONDS)):
        with connect(proxy) as here:
            here.sendall(request(INIT_PRODUCER_ID))
            wait_until(lambda: proxy.is_holding(HERE.place, INIT_PRODUCER_ID))
        assert not echo.received
        wait_until(lambda: echo.received == request(INIT_PRODUCER_ID))
    # The broker can have the request a moment before the proxy counts it as passed on.
    wait_until(lambda: not proxy.is_holding(HERE.place, INIT_PRODUCER_ID))


def test_it_cuts_and_refuses_what_is_meant(proxy: Proxy, echo: Echo) -> None:
    """Connections of one service end at once, with what is held back, and new ones fail."""
    slow = Effect(api_key=END_TXN, delay_seconds=DELAY_SECONDS)
    with connect(proxy) as here, connect(proxy, ELSEWHERE) as elsewhere, proxy.trouble(slow):
        assert answer_seconds(elsewhere, request(METADATA)) < PATIENCE_SECONDS
        here.sendall(request(END_TXN))
        wait_until(lambda: proxy.is_holding(HERE.place, END_TXN))
        with proxy.trouble(Effect(place=HERE.place, is_refusing=True)):
            assert is_ended(here)
            with connect(proxy) as again:
                assert is_ended(again)
            assert answer_seconds(elsewhere, request(METADATA)) < PATIENCE_SECONDS
        wait_until(lambda: not proxy.is_holding(HERE.place, END_TXN))
    with connect(proxy) as again:
        assert answer_seconds(again, request(METADATA)) < PATIENCE_SECONDS
    assert request(END_TXN) not in echo.received


def test_it_counts_renewed_logins(proxy: Proxy) -> None:
    """The first login of a connection is no renewal, each further one is."""
    with connect(proxy) as here, connect(proxy, ELSEWHERE) as elsewhere:
        for connection in (here, elsewhere):
            answer_seconds(connection, request(SASL_HANDSHAKE))
            answer_seconds(connection, request(METADATA))
        assert proxy.renewed_logins == 0
        for _ in range(2):
            answer_seconds(here, request(SASL_HANDSHAKE))
        assert proxy.renewed_logins == 2


def test_it_forgets_connections_that_were_idle(proxy: Proxy, echo: Echo) -> None:
    """A forgotten connection stays open, and nothing passes; a new one works."""
    with connect(proxy) as idle, connect(proxy) as busy:
        assert answer_seconds(idle, request(METADATA)) < PATIENCE_SECONDS
        with proxy.trouble(Effect(forgets_after_seconds=DELAY_SECONDS)):
            begin = time.monotonic()
            while time.monotonic() < begin + DELAY_SECONDS * 1.5:
                answer_seconds(busy, request(METADATA))
            received = len(echo.received)
            idle.sendall(request(METADATA))
            wait_until(lambda: proxy.forgotten)
            idle.settimeout(DELAY_SECONDS / 2)
            with pytest.raises(TimeoutError):
                idle.recv(1)
            assert len(echo.received) == received
            with connect(proxy) as fresh:
                assert answer_seconds(fresh, request(METADATA)) < PATIENCE_SECONDS
    assert proxy.forgotten == 1
    assert proxy.forgotten_by_link == {HERE: 1}


def test_it_does_not_forget_what_tcp_keeps_alive(proxy: Proxy) -> None:
    """A gateway sees the packets of TCP keep-alive. A connection without them is forgotten."""
    with connect(proxy) as kept, connect(proxy, ELSEWHERE) as idle:
        for connection in (kept, idle):
            answer_seconds(connection, request(METADATA))
        keep_alive(kept, 1)
        with proxy.trouble(Effect(forgets_after_seconds=DELAY_SECONDS * 2)):
            wait_until(lambda: proxy.forgotten_by_link[ELSEWHERE])  # it is never used again
            answer_seconds(kept, request(METADATA))
    assert proxy.forgotten_by_link == {ELSEWHERE: 1}


@pytest.mark.timeout(300)
def test_connections_of_the_last_moment_are_closed_too(echo: Echo) -> None:
    """A proxy that ends while clients connect leaves no transport, and so no warning, behind."""
    for _ in range(20):
        with Proxy([HERE]) as ending:
            ending.start({HERE: echo.port})
            clients = [connect(ending) for _ in range(20)]
        for client in clients:
            assert is_ended(client)
            client.close()
        del ending
        gc.collect()  # an open transport warns now, which fails the test


@pytest.mark.usefixtures("local_brokers")
def test_a_client_of_a_proxied_listener_stays_behind_the_proxy(names: Names) -> None:
    """The broker sends clients of that listener to the proxy, where their EndTxn is late."""
    with Proxy([HERE]) as proxy:
        ports = {"PROXIED": {HERE.node: proxy.port(HERE)}}
        listeners = {"PROXIED": "PLAINTEXT"}
        with LocalKafka(extra_listeners=listeners, advertised_ports=ports) as kafka:
            proxy.start({HERE: int(kafka.listener("PROXIED").rpartition(":")[2])})
            Cluster(kafka.bootstrap_servers).create_topics({names.topic(): 1})
            settings: dict[str, Any] = {
                "bootstrap.servers": proxy.addresses(HERE.place),
                "transactional.id": names.group(),
            }
            producer = Producer(settings)
            producer.init_transactions(PATIENCE_SECONDS * 3)
            with proxy.trouble(Effect(api_key=END_TXN, delay_seconds=DELAY_SECONDS)):
                producer.begin_transaction()
                producer.produce(names.topic(), b"value")
                producer.flush(PATIENCE_SECONDS)
                began = time.monotonic()
                producer.commit_transaction(PATIENCE_SECONDS * 3)
            assert time.monotonic() - began >= DELAY_SECONDS
            assert proxy.delayed[END_TXN]
