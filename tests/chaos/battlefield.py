"""The parts of a run: three brokers, a proxy before them, topics, and the services."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from dev.kafka import LocalKafka
from tests.chaos.brokers import Brokers
from tests.chaos.effects import Link
from tests.chaos.fleet import PLACES, SETTINGS, Fleet
from tests.chaos.proxy import Proxy
from tests.chaos.sasl import Login
from tests.chaos.sessions import SHOW_ENDED_SESSIONS
from tests.support.cluster import Cluster
from tests.support.command_line import environment, run_command
from tests.support.kafka_tools import KafkaTools
from tests.support.topics import Names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.chaos.run_history import History
    from tests.chaos.sasl import LoginOrder
    from tests.support.token_server import TokenServer
    from tests.support.topics import Topics

NODES = (1, 2, 3)
INPUT_PARTITIONS = SHARDS = 6
CREATE_SECONDS = 120.0
ADDRESSES = (0, 1)
NAMES = Names("chaos")
TOPICS = NAMES.topics()._replace(shards=SHARDS)


class Battlefield(NamedTuple):
    """Everything that the nemesis can break."""

    topics: Topics
    cluster: Cluster
    brokers: Brokers
    fleet: Fleet
    proxy: Proxy
    tools: KafkaTools
    history: History
    tokens: TokenServer | None
    """The identity provider, if the services log in by tokens."""


@contextmanager
def battlefield(folder: Path, history: History, login_order: LoginOrder) -> Iterator[Battlefield]:
    """Start all but the services, and stop all at the end; the folder keeps the logs."""
    links = [Link(place, node, one) for place in PLACES for node in NODES for one in ADDRESSES]
    with Proxy(links) as proxy, Login(login_order) as login:
        listeners = [_listener(place) for place in PLACES]
        kafka = LocalKafka(
            len(NODES),
            data_dir=folder / "kafka",
            properties=login.broker_settings(listeners),
            extra_listeners=dict.fromkeys(listeners, "SASL_PLAINTEXT"),
            advertised_ports=advertised(proxy, ADDRESSES[0]),
            java_options=[SHOW_ENDED_SESSIONS, *login.java_options()],
        )
        with kafka:
            proxy.start(_broker_ports(kafka))
            # The bootstrap addresses stay when the advertised ones change.
            environments = {
                place: environment(
                    _settings(kafka.listener(_listener(place))) | login.service_settings()
                )
                for place in PLACES
            }
            cluster = Cluster(kafka.bootstrap_servers)
            cluster.create_topics({TOPICS.input: INPUT_PARTITIONS})
            _create_topics(kafka.bootstrap_servers)
            tools = KafkaTools(kafka.bootstrap_servers, kafka.version)
            brokers = Brokers(kafka, cluster, tools)
            brokers.wait_until_whole()
            with Fleet(environments, folder / "services", history) as fleet:
                yield Battlefield(
                    TOPICS, cluster, brokers, fleet, proxy, tools, history, login.tokens
                )


def advertised(proxy: Proxy, address: int) -> dict[str, dict[int, int]]:
    """Return the ports by which services reach the brokers at one of their addresses."""
    return {
        _listener(place): {node: proxy.port(Link(place, node, address)) for node in NODES}
        for place in PLACES
    }


def _listener(place: int) -> str:
    return f"PLACE{place}"


def _broker_ports(kafka: LocalKafka) -> dict[Link, int]:
    return {
        Link(place, node, address): int(server.rpartition(":")[2])
        for place in PLACES
        for node, server in zip(NODES, kafka.listener(_listener(place)).split(","), strict=True)
        for address in ADDRESSES
    }


def _settings(servers: str) -> dict[str, Any]:
    return {**TOPICS.settings(servers), **SETTINGS}


def _create_topics(servers: str) -> None:
    """Create the other topics with the command of the service."""
    done = run_command("topics", "create", deadline_seconds=CREATE_SECONDS, **_settings(servers))
    assert done.exit_code == 0, done.stderr
