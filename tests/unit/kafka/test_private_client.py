"""How the client asks brokers, and what a connection does while it logs in again."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataResponse_v1
from aiokafka.structs import BrokerMetadata

from consumer.config import Settings
from consumer.kafka.client import Connection as ClientConnection
from consumer.kafka.client import broker_health, private_client, private_connection
from consumer.kafka.client.private_client import BootstrapServers, ClusterClient
from consumer.kafka.client.private_connection import BrokerConnection
from consumer.kafka.cluster_faults import Fault
from tests.support.command_line import environment
from tests.support.topics import Names
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

HOST = "127.0.0.1"
SLOW, QUICK = BrokerMetadata(1, "slow", 9092, None), BrokerMetadata(2, "quick", 9092, None)


class Connection(BrokerConnection):
    """A connection without a socket: it notes what is sent, and answers at once."""

    sent: list[object]
    opening: Callable[[], Awaitable[None]]

    def __init__(self, host: str = "host", port: int = 9092) -> None:
        """Begin connected."""
        super().__init__(host, port)
        self.sent = []

    def __del__(self) -> None:
        """There is nothing to close."""

    async def connect(self) -> None:
        """Do what the test says."""
        await self.opening()

    def connected(self) -> bool:
        """Return True."""
        return True

    def _send_now(self, request: Any, *, expect_response: bool = True) -> Any:  # noqa: ANN401, ARG002
        self.sent.append(request)
        return asyncio.sleep(0, result=request)


async def test_requests_stay_in_order_while_a_login_is_renewed() -> None:
    """Those that come during the login, and one that comes when it has just ended."""
    connection = Connection()
    connection._login = login = asyncio.get_running_loop().create_future()  # noqa: SLF001 - the renewal
    held = [asyncio.ensure_future(connection.send(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    handshake = SaslHandShakeRequest("PLAIN")
    await connection.send(handshake)
    assert connection.sent == [handshake]
    login.set_result(None)
    connection._login = None  # noqa: SLF001 - as the renewal does
    held.append(asyncio.ensure_future(connection.send(3)))
    assert await asyncio.gather(*held) == [1, 2, 3]
    assert connection.sent == [handshake, 1, 2, 3]
    await connection.send(4)
    assert connection.sent[-1] == 4


async def test_a_login_that_fails_in_any_way_closes_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SCRAM raises ValueError: held requests must not go out on a connection half logged in."""
    closed: list[BaseException] = []
    connection = Connection()

    async def fail() -> None:
        raise ValueError("planted")

    monkeypatch.setattr(connection, "_do_sasl_handshake", fail)
    monkeypatch.setattr(connection, "close", lambda reason, exc: closed.append(exc))  # noqa: ARG005
    connection._begin_login()  # noqa: SLF001 - the timer calls it
    await wait_until_async(lambda: bool(closed))
    assert isinstance(closed[0], ValueError)
    assert connection._login is None  # noqa: SLF001 - requests are not held for ever


async def test_a_renewal_waits_for_its_token_without_holding_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The session is still valid then."""
    connection = Connection()

    class Provider:
        async def token(self) -> str:
            return str(await asyncio.Event().wait())

    monkeypatch.setattr(connection, "_sasl_oauth_token_provider", Provider())
    connection._begin_login()  # noqa: SLF001 - the timer calls it
    await asyncio.sleep(0)
    assert await asyncio.wait_for(asyncio.ensure_future(connection.send(1)), 5) == 1
    renewal = connection._renewal  # noqa: SLF001 - to end it
    assert renewal is not None
    renewal.cancel()
    with pytest.raises(asyncio.CancelledError):
        await renewal


class Client(ClusterClient):
    """A client of two brokers; a connection to one of them takes longer than an answer may."""

    def __init__(self) -> None:
        """Know the brokers."""
        super().__init__(bootstrap_servers=BootstrapServers(["slow:9092"]))
        self.cluster._brokers = {one.nodeId: one for one in (SLOW, QUICK)}  # noqa: SLF001 - as metadata does
        self.connecting: list[str] = []
        self.error: Exception | None = None
        self.refusing: set[str] = set()
        self.hangs = False

    def _new_connection(self, address: Any, on_close: Any) -> Any:  # noqa: ANN401, ARG002
        connection = Connection(*address)
        connection.opening = partial(self._open, address)
        return connection

    async def _open(self, address: Any) -> None:  # noqa: ANN401
        self.connecting.append(address[0])
        if self.error is not None:
            raise self.error
        if address[0] in self.refusing:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
        if address[0] == "slow":
            await asyncio.sleep(self._shared.health.answer_seconds(address) * 1.2)
        if self.hangs:
            await asyncio.Event().wait()

    def current_faults(self) -> set[Fault]:
        """Return the kinds of the faults."""
        return {fault.kind for fault in self._shared.faults.current()}


async def test_a_slow_connection_is_no_missing_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of an answer does not cut a connection that needs a little longer."""
    monkeypatch.setattr(broker_health, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(broker_health, "CONNECT_SECONDS", 30.0)
    client = Client()
    client._shared.health.failed(("quick", 9092))  # noqa: SLF001 - so that the other is asked first
    assert await client.ask_any("question") == "question"
    assert client.connecting == ["slow"]


async def test_every_broker_is_tried() -> None:
    """The error is that of the last one."""
    client = Client()
    client.error = KafkaConnectionError("refused")
    with pytest.raises(NodeNotReadyError, match="cannot be reached at"):
        await client.ask_any("question")
    assert sorted(client.connecting) == ["quick", "slow"]


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """Run a server that accepts connections and never answers."""
    with socket.create_server((HOST, 0)) as server:
        yield server


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[BrokerConnection]:
    """Record the connections that clients open from now on."""
    opened: list[BrokerConnection] = []

    class Recorded(BrokerConnection):
        async def connect(self) -> None:
            opened.append(self)
            await super().connect()

    monkeypatch.setattr(private_client, "BrokerConnection", Recorded)
    return opened


SHORT_SECONDS = 1.5  # for the connections of this module
KEEPALIVE_OPTIONS = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("", [60, 10, 3]), ("7200", [7200, 10, 3]), ("4", [4, 4, 3]), ("0", None)],
)
async def test_each_socket_has_the_keep_alive_of_the_settings(
    listening: socket.socket,
    connections: list[BrokerConnection],
    setting: str,
    expected: list[int] | None,
) -> None:
    """TCP_KEEPALIVE_SECONDS is an option of the socket of each connection; 0 switches it off."""
    address = listening.getsockname()
    variables = Names("x").topics().settings(f"{HOST}:{address[1]}")
    given = {"TCP_KEEPALIVE_SECONDS": setting} if setting else {}
    settings = Settings.load(environment({**variables, **given}))
    client = ClusterClient(**ClientConnection.of(settings).options("client"))
    starting = asyncio.create_task(client.bootstrap())
    try:
        await wait_until_async(lambda: bool(connections) and connections[0].connected())
        opened = connections[0]._writer.get_extra_info("socket")  # noqa: SLF001 - the socket
        is_on = opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert bool(is_on) == (expected is not None)
        if expected is not None:
            found = [opened.getsockopt(socket.IPPROTO_TCP, one) for one in KEEPALIVE_OPTIONS]
            assert found == expected
    finally:
        starting.cancel()
        await asyncio.wait([starting])
        await client.close()


async def test_the_next_address_is_tried_if_the_first_never_answers(
    listening: socket.socket,
    connections: list[BrokerConnection],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name has two addresses that accept all connections. Both are tried, the first one once."""
    monkeypatch.setattr(broker_health, "CONNECT_SECONDS", SHORT_SECONDS)
    port = listening.getsockname()[1]
    with socket.create_server(("127.0.0.2", port)) as silent:
        found = [(socket.AF_INET, 0, 0, "", server.getsockname()) for server in (silent, listening)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        client = ClusterClient(bootstrap_servers=BootstrapServers([f"kafka.test:{port}"]))
        with pytest.raises(KafkaConnectionError):
            await client.bootstrap()
        assert [each.peer for each in connections] == [("127.0.0.2", port), (HOST, port)]
        client._shared.health.answered((HOST, port))  # noqa: SLF001 - the second one is back
        with pytest.raises(KafkaConnectionError):
            await client.bootstrap()
        assert [each.peer for each in connections[2:]] == [(HOST, port)]
        await client.close()


@pytest.mark.parametrize("closes", [False, True])
async def test_an_address_that_refuses_is_no_reason_to_try_the_others_for_ever(
    listening: socket.socket,
    connections: list[BrokerConnection],
    monkeypatch: pytest.MonkeyPatch,
    closes: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """`localhost` has ::1, which refuses, and 127.0.0.1, where the broker hangs or closes."""
    monkeypatch.setattr(broker_health, "CONNECT_SECONDS", SHORT_SECONDS)
    port = listening.getsockname()[1]
    found = [(socket.AF_INET, 0, 0, "", (host, port)) for host in ("127.0.0.3", HOST)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    loop = asyncio.get_running_loop()

    def close_at_once() -> None:
        accepted, _ = listening.accept()
        accepted.close()

    if closes:
        loop.add_reader(listening, close_at_once)
    try:
        client = ClusterClient(bootstrap_servers=BootstrapServers([f"kafka.test:{port}"]))
        with pytest.raises(KafkaConnectionError):
            await asyncio.wait_for(client.bootstrap(), 30)
        assert 1 <= len(connections) <= len(found)
    finally:
        loop.remove_reader(listening)


async def test_callers_share_one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that hangs costs all of them the time of one attempt."""
    monkeypatch.setattr(broker_health, "CONNECT_SECONDS", 0.2)
    client = Client()
    client.hangs = True
    abandoned = asyncio.ensure_future(client.ready(QUICK.nodeId))
    await asyncio.sleep(0)
    callers = [asyncio.ensure_future(client.ready(QUICK.nodeId)) for _ in range(20)]
    abandoned.cancel()  # the attempt goes on for the others
    assert await asyncio.gather(*callers) == [False] * 20
    assert client.connecting == ["quick"]
    assert client.current_faults() == {Fault.UNREACHABLE}


async def test_a_client_that_is_closed_ends_its_attempts() -> None:
    """Those that wait get no connection; they are not cancelled themselves."""
    client = Client()
    client.hangs = True
    caller = asyncio.ensure_future(client.ready(QUICK.nodeId))
    await wait_until_async(lambda: bool(client.connecting))
    await client.close()
    assert await caller is False
    assert await client.ready(QUICK.nodeId) is False
    assert client.connecting == ["quick"]


async def test_refused_connections_are_tried_at_a_bounded_rate() -> None:
    """All clients of a process share the bound. A broker that is back is found by all at once."""
    clients = [Client() for _ in range(20)]
    for client in clients:
        client._shared = clients[0]._shared  # noqa: SLF001 - as clients of one process
        client.error = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    begins_at = time.monotonic()

    async def insist(client: Client) -> None:
        while not await client.ready(QUICK.nodeId):
            pass  # a caller without a pause of its own

    callers = [asyncio.ensure_future(insist(client)) for client in clients]
    await wait_until_async(lambda: tries_of(clients) >= len(clients) + 4)
    # At first each client tries. Then, together, after 0.05, 0.1, 0.2, 0.4, 0.5 ... s, each of them
    # shortened to a half at most.
    most = (time.monotonic() - begins_at) / 0.25 + 3
    assert tries_of(clients) <= len(clients) + most
    for client in clients:
        client.error = None
    await asyncio.wait_for(asyncio.gather(*callers), 30)


def tries_of(clients: Iterable[Client]) -> int:
    """Return how often the clients tried to connect."""
    return sum(len(client.connecting) for client in clients)


async def test_those_that_wait_for_a_failing_address_get_the_outcome_of_the_next_try() -> None:
    """Also if it is the one that succeeds: then each of them connects, and none has failed."""
    client = Client()
    others = [Client() for _ in range(5)]
    for other in others:
        other._shared = client._shared  # noqa: SLF001 - as clients of one process
    client.error = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    assert not await client.ready(QUICK.nodeId)
    client.error = None
    assert await asyncio.gather(*(one.ready(QUICK.nodeId) for one in (client, *others))) == [
        True
    ] * (len(others) + 1)
    # A try that fails is the failure of all that waited for it.
    client.error = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    client._conns.clear()  # noqa: SLF001 - the connection broke
    assert not await client.ready(QUICK.nodeId)
    for other in others:
        other._conns.clear()  # noqa: SLF001 - the connection broke
        other.error, other.connecting = client.error, []
    client.connecting.clear()
    answers = await asyncio.gather(*(one.ready(QUICK.nodeId) for one in (client, *others)))
    assert answers == [False] * (len(others) + 1)
    assert tries_of([client, *others]) == 1


async def test_a_try_that_is_given_up_passes_its_turn_on() -> None:
    """Those that wait for it are not left behind."""
    first, second = Client(), Client()
    second._shared = first._shared  # noqa: SLF001 - as clients of one process
    first.error = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    assert not await first.ready(QUICK.nodeId)
    first.error, first.hangs = None, True
    hanging = asyncio.ensure_future(first.ready(QUICK.nodeId))
    await wait_until_async(lambda: len(first.connecting) > 1)
    waiting = asyncio.ensure_future(second.ready(QUICK.nodeId))
    await asyncio.sleep(0)
    await first.close()
    assert await asyncio.wait_for(waiting, 30)
    assert not await hanging


async def test_bootstrap_servers_are_asked_beside_brokers_that_answer_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The old addresses of thirty brokers drop packets: this costs the time of two of them."""
    monkeypatch.setattr(private_client, "NEXT_BROKER_SECONDS", 0.05)
    monkeypatch.setattr(broker_health, "CONNECT_SECONDS", 30.0)
    client = Client()
    client.cluster._brokers = {  # noqa: SLF001 - as metadata does
        number: BrokerMetadata(number, f"old-{number}", 9092, None) for number in range(30)
    }
    client.hangs = True
    fresh = MetadataResponse_v1([(1, "new", 9092, None)], 1, [])

    async def answer(_: object) -> object:
        return fresh

    monkeypatch.setattr(client, "_ask_bootstrap_servers", answer)
    assert await client._metadata_update(client.cluster, [])  # noqa: SLF001 - as its own task does
    assert [broker.host for broker in client.cluster.brokers()] == ["new"]
    assert len(client.connecting) == private_client.BROKERS_BEFORE_BOOTSTRAP
    await client.close()


async def test_another_broker_stands_in_for_a_controller_that_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Any broker passes requests for the controller on; the reachable one that is named is kept."""
    monkeypatch.setattr(broker_health, "ANSWER_SECONDS", 0.1)
    client = Client()
    client.cluster.controller = SLOW
    await client.reach_controller()
    assert client.cluster.controller == SLOW
    client._conns.clear()  # noqa: SLF001 - the connection broke
    client.refusing = {SLOW.host}
    await client.reach_controller()
    assert client.cluster.controller == QUICK


async def test_a_broker_that_hangs_in_requests_is_asked_last() -> None:
    """Although new connections to it succeed."""
    client = Client()
    address = (QUICK.host, QUICK.port)
    client._shared.health.failed(address)  # noqa: SLF001 - a request had no answer in time
    assert await client.ready(QUICK.nodeId)
    assert all(client.get_random_node() == SLOW.nodeId for _ in range(20))
    assert await client.send(QUICK.nodeId, "question") == "question"
    assert {client.get_random_node() for _ in range(100)} == {SLOW.nodeId, QUICK.nodeId}


async def test_no_open_files_is_no_fault_of_the_broker() -> None:
    """Also if the error is only a cause of the one that is raised."""
    client = Client()
    client.error = KafkaConnectionError("no connection")
    client.error.__cause__ = OSError(errno.EMFILE, "Too many open files")
    assert not await client.ready(QUICK.nodeId)
    assert client.current_faults() == {Fault.OPEN_FILES}
    assert not client._shared.health.is_avoided((QUICK.host, QUICK.port))  # noqa: SLF001


class Metadata(NamedTuple):
    """The answer of a broker that knows this address of the other one."""

    host: str

    def broker_metadata(self, node_id: int) -> BrokerMetadata:
        """Return the address."""
        return BrokerMetadata(node_id, self.host, 9092, None)


async def test_brokers_that_disagree_about_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that works is kept, until no broker names its address for some time."""
    client = Client()
    connection = await client._get_conn(QUICK.nodeId)  # noqa: SLF001 - the private client's
    for host in ("other", "quick", "other", "other", "other"):
        client._note_addresses(Metadata(host))  # noqa: SLF001 - as metadata does
        assert await client._get_conn(QUICK.nodeId) is connection  # noqa: SLF001
    monkeypatch.setattr(private_connection, "MOVED_SECONDS", 0.0)
    assert await client._get_conn(QUICK.nodeId) is not connection  # noqa: SLF001
    assert client.connecting == ["quick", "quick"]
