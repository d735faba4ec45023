"""What a run needs: three brokers behind a proxy, topics, and the services that share them."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from consumer.config import PREFIX
from dev.kafka import LocalKafka
from tests.chaos.brokers import Brokers
from tests.chaos.effects import Link
from tests.chaos.fleet import PLACES, SETTINGS, Fleet
from tests.chaos.kafka_tools import KafkaTools
from tests.chaos.proxy import Proxy
from tests.chaos.topics import Topics
from tests.integration.cluster import Cluster, Names
from tests.integration.process import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.chaos.run_history import History

NODES = (1, 2, 3)
INPUT_PARTITIONS = SHARDS = 6
CREATE_SECONDS = 120.0
NAMES = Names("chaos")
TOPICS = Topics(
    group=NAMES.group(),
    input=NAMES.topic(),
    ready=NAMES.topic("ready"),
    dead_letter=NAMES.topic("dead-letters"),
    changelog=f"{NAMES.group()}.changelog",
    repartition=f"{NAMES.group()}.repartition",
    shards=SHARDS,
)


class Battlefield(NamedTuple):
    """All that a nemesis has in its hands."""

    topics: Topics
    cluster: Cluster
    brokers: Brokers
    fleet: Fleet
    proxy: Proxy
    tools: KafkaTools
    history: History


@contextmanager
def battlefield(folder: Path, history: History) -> Iterator[Battlefield]:
    """Start all but the services; at the end everything is ended. The folder keeps the logs."""
    with Proxy(Link(place, node) for place in PLACES for node in NODES) as proxy:
        kafka = LocalKafka(
            len(NODES),
            data_dir=folder / "kafka",
            extra_listeners={_listener(place): "PLAINTEXT" for place in PLACES},
            advertised_ports={
                _listener(place): {node: proxy.port(Link(place, node)) for node in NODES}
                for place in PLACES
            },
        )
        with kafka:
            proxy.start(_broker_ports(kafka))
            environments = {place: _environment(proxy.addresses(place)) for place in PLACES}
            _create_topics(_environment(kafka.bootstrap_servers))
            cluster = Cluster(kafka.bootstrap_servers)
            brokers = Brokers(kafka, cluster)
            brokers.wait_until_whole()
            tools = KafkaTools(kafka.bootstrap_servers, kafka.version)
            with Fleet(environments, folder / "services", history) as fleet:
                yield Battlefield(TOPICS, cluster, brokers, fleet, proxy, tools, history)


def _listener(place: int) -> str:
    return f"PLACE{place}"


def _broker_ports(kafka: LocalKafka) -> dict[Link, int]:
    return {
        Link(place, node): int(address.rpartition(":")[2])
        for place in PLACES
        for node, address in zip(NODES, kafka.listener(_listener(place)).split(","), strict=True)
    }


def _environment(servers: str) -> dict[str, str]:
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(PREFIX)}
    ours = {
        "BOOTSTRAP_SERVERS": servers,
        "GROUP_ID": TOPICS.group,
        "INPUT_TOPICS": TOPICS.input,
        "OUTPUT_TOPIC": TOPICS.ready,
        "DEAD_LETTER_TOPIC": TOPICS.dead_letter,
        **SETTINGS,
    }
    return {**inherited, **{f"{PREFIX}{name}": str(value) for name, value in ours.items()}}


def _create_topics(environment: dict[str, str]) -> None:
    """Create them as a user does."""
    command = ["topics", "create", "--input-partitions", str(INPUT_PARTITIONS)]
    subprocess.run(
        [sys.executable, "-m", "consumer", *command],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=CREATE_SECONDS,
        check=True,
    )
