"""aiokafka's client, with other ways to connect and to choose a broker.

Like ``private_api``, this module uses private parts of aiokafka, pinned to 0.14.0. The library's
own client waits 10 s for a broker that hangs, never asks the bootstrap servers again, lets brokers
create topics, and keeps the password that it was given. Each method here says which of these it
changes. ``private_connection`` has the class of the connections.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from aiokafka.admin import client as admin_module
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import (
    AIOKafkaConnection,
    CloseReason,
    collect_hosts,
)
from aiokafka.consumer import consumer as consumer_module
from aiokafka.errors import (
    CoordinatorNotAvailableError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    NoError,
    RequestTimedOutError,
    StaleMetadata,
    for_code,
)
from aiokafka.producer import producer as producer_module
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest

from consumer.kafka.client.addresses import (
    NO_OPEN_FILES,
    first_success,
)
from consumer.kafka.client.broker_health import Address, BrokerHealth
from consumer.kafka.client.private_connection import BrokerConnection, ClosedAtOnce, text_of
from consumer.kafka.client.reconnect_backoff import ReconnectBackoff
from consumer.kafka.client.refusals import causes_of, login_refusal
from consumer.kafka.cluster_faults import ClusterFaults, Fault

# Like the lines of the library, each kind is written every 10 seconds at most.
log = logging.getLogger(__name__)

# The next bootstrap server is asked beside those before it.
NEXT_SERVER_SECONDS: Final = 0.5
# The next broker is asked for metadata beside those before it.
NEXT_BROKER_SECONDS: Final = 2.0
BROKERS_BEFORE_BOOTSTRAP: Final = 2
# A request that was given up after less time says nothing about the broker.
SILENCE_SECONDS: Final = 1.0
FAILURES: Final = (KafkaError, OSError)  # TimeoutError is an OSError
# The key types of FindCoordinator.
COORDINATORS: Final = {0: Fault.GROUP_COORDINATOR, 1: Fault.TRANSACTION_COORDINATOR}


class BrokerUnreachable(NodeNotReadyError):
    """There is no connection to a broker; the message has its address."""

    def __str__(self) -> str:
        """Return the message, without the name of the class that the library puts before it."""
        return str(self.args[0])


class BootstrapServers(list[str]):
    """The bootstrap servers, and what all clients of a process share besides.

    aiokafka hands this list through to its client unchanged.
    """

    def __init__(
        self,
        servers: list[str],
        *,
        keepalive_seconds: int = 0,
        password: Callable[[], str] | None = None,
    ) -> None:
        """`keepalive_seconds` 0: no TCP keep-alive. `password` is called for each connection."""
        super().__init__(servers)
        self.health = BrokerHealth()
        self.backoff = ReconnectBackoff()
        self.faults = ClusterFaults()
        self.keepalive_seconds = keepalive_seconds
        self.password = password


class ClusterClient(AIOKafkaClient):
    """Chooses brokers that answer, and asks the bootstrap servers again if none does."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - the library's own
        super().__init__(**options)
        servers = self._bootstrap_servers
        self._shared = (
            servers
            if isinstance(servers, BootstrapServers)
            else BootstrapServers([servers] if isinstance(servers, str) else list(servers))
        )
        self._sync_task: asyncio.Task[None] | None = None  # for the type; the library sets it too
        self._attempts: dict[
            tuple[Any, ConnectionGroup], asyncio.Task[AIOKafkaConnection | None]
        ] = {}
        self._is_closed = False
        self._why_unreachable: dict[Any, BaseException] = {}

    # Connections.

    async def bootstrap(self) -> None:
        """Ask the bootstrap servers for the brokers: side by side, those that answered last first.

        Raises:
            KafkaConnectionError: no server answered; the cause is the error of the first one.
        """
        self.cluster.update_metadata(await self._ask_bootstrap_servers(MetadataRequest([])))
        if self._sync_task is None:
            self._sync_task = asyncio.create_task(self._md_synchronizer())

    async def close(self) -> None:
        """Close all connections, and end the attempts to make one."""
        self._is_closed = True
        attempts = list(self._attempts.values())
        for attempt in attempts:
            attempt.cancel()
        if attempts:
            await asyncio.wait(attempts)
        await super().close()

    async def _ask_bootstrap_servers(self, request: MetadataRequest) -> Any:  # noqa: ANN401 - a response of the untyped library
        addresses = [(host, port) for host, port, _ in collect_hosts(list(self._shared))]
        ordered = self._shared.health.preferred((each, each) for each in addresses)
        try:
            return await first_success(
                [partial(self._ask_once, address, request) for address in ordered],
                NEXT_SERVER_SECONDS,
            )
        except FAILURES as error:
            servers = ",".join(self._shared)
            raise KafkaConnectionError(f"Unable to bootstrap from {servers}: {error}") from error

    async def _ask_once(self, address: Address, request: MetadataRequest) -> Any:  # noqa: ANN401 - the same
        connection = await self._connect(address)
        health = self._shared.health
        try:
            async with asyncio.timeout(health.answer_seconds(address)):
                response = await connection.send(request)
        except FAILURES:
            health.failed(address)
            raise
        finally:
            connection.close(reason=CloseReason.SHUTDOWN)
        health.answered(address)
        if not response.brokers:
            raise KafkaConnectionError(f"{address[0]}:{address[1]} knows no broker yet")
        return response

    async def _connect(
        self,
        address: Address,
        on_close: Callable[[AIOKafkaConnection, CloseReason], None] | None = None,
    ) -> BrokerConnection:
        shared = self._shared
        if self._sasl_oauth_token_provider is not None:
            # Before the time of the connection is measured: a slow token endpoint is no sign of a
            # broker that hangs.
            try:
                await self._sasl_oauth_token_provider.token()
            except FAILURES as error:
                self._note_fault(address, error)
                raise
        connection = await shared.backoff.connect(
            address,
            partial(self._open_connection, address, on_close),
            lambda error: _lack_of_files(error) is None,
        )
        shared.health.connected(address)
        shared.faults.ended(Fault.LOGIN, _name(address))
        return connection

    async def _open_connection(
        self,
        address: Address,
        on_close: Callable[[AIOKafkaConnection, CloseReason], None] | None,
    ) -> BrokerConnection:
        """Open a connection. If an address of the name does not answer, try each other one."""
        health = self._shared.health
        silent: set[Address] = set()
        while True:
            connection = self._new_connection(address, on_close)
            try:
                async with asyncio.timeout(health.connect_seconds(address)):
                    await connection.connect()
            except FAILURES as error:
                self._note_fault(address, error)
                if _lack_of_files(error) is not None:  # nothing is known about the broker
                    raise
                health.failed(address)
                peer = connection.peer
                is_silent = isinstance(error, TimeoutError | ClosedAtOnce)
                if peer is None or peer in silent or not is_silent:
                    raise
                silent.add(peer)
                health.failed(peer)
                if all(map(health.is_avoided, connection.addresses)):
                    raise
            except Exception as error:
                # SCRAM raises ValueError and others. Such an error would end the library's tasks.
                health.failed(address)
                raise KafkaConnectionError(f"login: {type(error).__name__}: {error}") from error
            else:
                return connection

    def _new_connection(
        self,
        address: Address,
        on_close: Callable[[AIOKafkaConnection, CloseReason], None] | None,
    ) -> BrokerConnection:
        password = self._shared.password
        connection = BrokerConnection(
            *address,
            client_id=self._client_id,
            request_timeout_ms=self._request_timeout_ms,
            ssl_context=self._ssl_context,
            security_protocol=self._security_protocol,
            on_close=on_close,
            max_idle_ms=self._connections_max_idle_ms,
            sasl_mechanism=self._sasl_mechanism,
            sasl_plain_username=self._sasl_plain_username,
            # Read for each connection, because the password can be rotated.
            sasl_plain_password=password() if password else self._sasl_plain_password,
            sasl_kerberos_service_name=self._sasl_kerberos_service_name,
            sasl_kerberos_domain_name=self._sasl_kerberos_domain_name,
            sasl_oauth_token_provider=self._sasl_oauth_token_provider,
        )
        connection.keepalive_seconds = self._shared.keepalive_seconds
        connection.password = password
        connection.is_avoided = self._shared.health.is_avoided
        return connection

    def _note_fault(self, address: Address, error: BaseException) -> None:
        faults = self._shared.faults
        refusals = filter(None, map(login_refusal, (error, *causes_of(error))))
        if refusal := next(refusals, None):
            faults.occurred(Fault.LOGIN, refusal, _name(address))
            faults.ended(Fault.CLOSED_AT_ONCE, _name(address))  # the broker has answered
        elif (lack := _lack_of_files(error)) is not None:
            faults.occurred(Fault.OPEN_FILES, str(lack))
        elif isinstance(error, ClosedAtOnce) and self._shared.health.is_answering(address):
            faults.occurred(Fault.CLOSED_AT_ONCE, str(error), _name(address))

    async def _get_conn(
        self,
        node_id: Any,  # noqa: ANN401 - a number
        *,
        group: ConnectionGroup = ConnectionGroup.DEFAULT,
        no_hint: bool = False,  # noqa: ARG002 - the library's signature
    ) -> AIOKafkaConnection | None:
        """Return a connection to the broker's present address; None if it cannot be reached.

        The library has one lock for all brokers, so a broker that hangs delays the connections to
        the others. Its callers try one after the other; here they share one attempt. It also keeps
        a connection to an address that the broker no longer has.
        """
        connection_id = (node_id, group)
        connection = self._usable(connection_id)
        if connection is not None or self._is_closed:
            return connection
        attempt = self._attempts.get(connection_id)
        if attempt is None:
            attempt = asyncio.create_task(self._attempt(connection_id), name=f"connect-{node_id}")
            self._attempts[connection_id] = attempt
            attempt.add_done_callback(lambda _: self._attempts.pop(connection_id))
        await asyncio.wait([attempt])  # it goes on if this caller is cancelled
        return None if attempt.cancelled() else attempt.result()

    async def _attempt(
        self, connection_id: tuple[Any, ConnectionGroup]
    ) -> AIOKafkaConnection | None:
        node_id, _ = connection_id
        address = self._address(node_id)
        try:
            if address is None:
                raise StaleMetadata(f"broker {node_id} is not in the metadata")
            connection = await self._connect(address, self._on_connection_closed)
        except FAILURES as error:
            self._why_unreachable[node_id] = error
            not_ready = self._not_ready(node_id)
            log.warning("%s", not_ready)
            if address is not None and _lack_of_files(error) is None:
                self._shared.faults.occurred(Fault.UNREACHABLE, str(not_ready), _name(address))
            self.force_metadata_update()
            return None
        self._why_unreachable.pop(node_id, None)
        self._shared.faults.ended(Fault.UNREACHABLE, _name(address))
        self._conns[connection_id] = connection
        return connection

    def _usable(self, connection_id: tuple[Any, ConnectionGroup]) -> AIOKafkaConnection | None:
        """Return the open connection, unless it is silent or leads to an old address.

        A question that is given up early leaves its request on the connection. So the request
        timeout of the library does not close a connection that nothing passes through any more.
        """
        connection: BrokerConnection | None = self._conns.get(connection_id)
        if connection is None:
            return None
        is_silent = connection.silent_seconds > self._request_timeout_ms / 1000
        if connection.connected() and not connection.has_moved and not is_silent:
            return connection
        del self._conns[connection_id]
        reason = CloseReason.CONNECTION_TIMEOUT if is_silent else CloseReason.SHUTDOWN
        connection.close(reason=reason)
        return None

    def _address(self, node_id: Any) -> Address | None:  # noqa: ANN401 - a number
        broker = self.cluster.broker_metadata(node_id)
        return None if broker is None else (broker.host, broker.port)

    # Requests.

    async def send(
        self,
        node_id: Any,  # noqa: ANN401 - a number
        request: Any,  # noqa: ANN401 - the library is untyped
        *,
        group: ConnectionGroup = ConnectionGroup.DEFAULT,
    ) -> Any:  # noqa: ANN401 - the same
        """Send a request to one broker, and note whether the broker answers.

        Raises:
            NodeNotReadyError: there is no connection; the message has the address, and the cause
                is the error of the connection.
            RequestTimedOutError: no answer within the request timeout; the connection is closed.
            KafkaConnectionError: the connection broke.
        """
        connection = await self._get_conn(node_id, group=group)
        if connection is None:
            raise self._not_ready(node_id)
        has_answer = not (isinstance(request, ProduceRequest) and request.required_acks == 0)
        address = (connection.host, connection.port)
        sent_at = time.monotonic()
        try:
            response = await connection.send(request, expect_response=has_answer)
        except TimeoutError as error:
            self._shared.health.failed(address)
            connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
            raise RequestTimedOutError from error
        except asyncio.CancelledError:
            if time.monotonic() - sent_at >= SILENCE_SECONDS:
                self._shared.health.failed(address)
            raise
        self._shared.health.answered(address)
        return response

    def _not_ready(self, node_id: Any) -> BrokerUnreachable:  # noqa: ANN401 - a number
        cause = self._why_unreachable.get(node_id)
        address = self._address(node_id)
        if address is None:
            error = BrokerUnreachable(f"broker {node_id} is not in the metadata of the cluster")
        else:
            error = BrokerUnreachable(
                f"broker {node_id} cannot be reached at {address[0]}:{address[1]}, its address in "
                f"advertised.listeners ({text_of(cause) if cause else 'no connection'})"
            )
        error.__cause__ = cause
        return error

    async def ask_any(self, request: Any) -> Any:  # noqa: ANN401 - the library is untyped
        """Send a request that every broker can answer; go on with the next after a short wait.

        Raises:
            NodeNotReadyError, RequestTimedOutError, KafkaConnectionError: no broker answered; it
                is the error of the last one.
        """
        error: BaseException = NodeNotReadyError("no broker is known")
        for node_id in self._preferred_nodes():
            try:
                return await self._ask_broker(node_id, request)
            except KafkaError as caught:
                error = caught
        raise error

    async def _ask_broker(self, node_id: Any, request: Any) -> Any:  # noqa: ANN401 - the same
        address = self._address(node_id)
        # A connection has a limit of its own, which is longer.
        if address is None or await self._get_conn(node_id) is None:
            raise self._not_ready(node_id)
        try:
            async with asyncio.timeout(self._shared.health.answer_seconds(address)):
                return await self.send(node_id, request)
        except TimeoutError:
            raise RequestTimedOutError(f"{_name(address)} did not answer") from None

    def get_random_node(self) -> Any:  # noqa: ANN401 - a number or None
        """Return any broker, if possible one that has not failed last."""
        return next(iter(self._preferred_nodes()), None)

    def _preferred_nodes(self) -> list[Any]:
        return self._shared.health.preferred(
            (broker.nodeId, (broker.host, broker.port)) for broker in self.cluster.brokers()
        )

    async def reach_controller(self) -> None:
        """Let the admin client use another broker if the controller cannot be reached.

        A KRaft cluster names any broker as its controller, and each broker passes the requests on
        (KIP-590). The library would try the named one until its request timeout.
        """
        controller = self.cluster.controller
        nodes = self._preferred_nodes()
        is_avoided = self._shared.health.is_avoided
        if controller is not None and not is_avoided((controller.host, controller.port)):
            nodes.insert(0, controller.nodeId)
        for node_id in nodes:
            if await self._get_conn(node_id) is not None:
                self.cluster.controller = self.cluster.broker_metadata(node_id)
                return

    async def coordinator_lookup(self, coordinator_type: int, coordinator_key: str) -> Any:  # noqa: ANN401 - a number
        """Ask for the coordinator; a broker that hangs costs a short wait only.

        Raises:
            KafkaError: the answer is an error, or no broker answered.
        """
        request = FindCoordinatorRequest(coordinator_key, coordinator_type)
        try:
            response = await self.ask_any(request)
        except KafkaConnectionError as error:
            # The callers of the library repeat after this error, but not after the other.
            raise CoordinatorNotAvailableError(str(error)) from error
        error_type = for_code(response.error_code)
        kind = COORDINATORS[int(coordinator_type)]
        if error_type is CoordinatorNotAvailableError:
            self._shared.faults.occurred(kind, error_type.__name__)
        if error_type is not NoError:
            raise error_type()
        # The topic of the coordinators exists. Later only a partition of it may have no leader.
        self._shared.faults.exclude(kind)
        return response.coordinator_id

    async def _metadata_update(self, cluster_metadata: Any, topics: Any) -> bool:  # noqa: ANN401 - the library is untyped
        """Ask for the metadata of topics: brokers and bootstrap servers, side by side if necessary.

        All brokers may have got other addresses at once (KIP-899), and nothing may answer at the
        old ones. So the bootstrap servers are asked after two brokers that do not answer.

        The request does not allow the broker to create topics: the library's own does, and brokers
        with ``auto.create.topics.enable`` would create a deleted topic again.
        """
        request = MetadataRequest(list(topics) if topics else None, allow_auto_topic_creation=False)
        questions: list[Callable[[], Awaitable[Any]]] = [
            partial(self._ask_broker, node_id, request) for node_id in self._preferred_nodes()
        ]
        questions.insert(BROKERS_BEFORE_BOOTSTRAP, partial(self._ask_bootstrap_servers, request))
        try:
            metadata = await first_success(questions, NEXT_BROKER_SECONDS)
        except FAILURES as error:
            log.warning("no broker answers a request for metadata: %s", text_of(error))
            cluster_metadata.failed_update(None)
            return False
        if not metadata.brokers:
            return False
        cluster_metadata.update_metadata(metadata)
        self._note_addresses(cluster_metadata)
        return True

    def _note_addresses(self, cluster_metadata: Any) -> None:  # noqa: ANN401 - the same
        for (node_id, _), connection in self._conns.items():
            broker = cluster_metadata.broker_metadata(node_id)
            if broker is not None:
                connection.note_address((broker.host, broker.port))


def _name(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


def _lack_of_files(error: BaseException) -> OSError | None:
    """Return the error of a process that can open no more files, if it is a cause of this one."""
    for each in (error, *causes_of(error)):
        if isinstance(each, OSError) and each.errno in NO_OPEN_FILES:
            return each
    return None


def install() -> None:
    """Let every consumer, producer and admin client of this process use ``ClusterClient``.

    They have no setting for the class. They find it by name in their own modules.
    """
    for module in (consumer_module, producer_module, admin_module):
        module.AIOKafkaClient = ClusterClient
