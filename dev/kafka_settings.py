"""Builds the settings of a local broker: the `server.properties` of a node of a KRaft cluster."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HOST = "127.0.0.1"
CLIENTS = "PLAINTEXT"
CONTROLLER = "CONTROLLER"


class NodeAddress(NamedTuple):
    """The ports of one node by listener, including the listener of the controller.

    `advertised_ports` has the listeners whose clients must connect to another port.
    """

    node: int
    ports: dict[str, int]
    advertised_ports: Mapping[str, int] = MappingProxyType({})

    def listeners(self) -> str:
        """Return the value of the setting `listeners`."""
        return ",".join(f"{name}://{HOST}:{port}" for name, port in self.ports.items())

    def advertised_listeners(self) -> str:
        """Return the addresses that the broker gives to clients."""
        ports = {**self.ports, **self.advertised_ports}
        return ",".join(
            f"{name}://{HOST}:{port}" for name, port in ports.items() if name != CONTROLLER
        )


def cluster_properties(nodes: int) -> dict[str, str]:
    """Return the settings that all nodes share: replication for their number, and short delays."""
    replicas = str(nodes)
    min_in_sync = str(2 if nodes > 1 else 1)
    return {
        "process.roles": "broker,controller",
        "controller.listener.names": CONTROLLER,
        "inter.broker.listener.name": CLIENTS,
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": min_in_sync,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": min_in_sync,
        "transaction.state.log.num.partitions": "4",
        # With the default values a test waits 3 s for the first member of a group, up to 10 s for
        # the abort of a timed-out transaction, and 9 s until the partitions of a dead broker get
        # another leader.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "broker.heartbeat.interval.ms": "500",
        "broker.session.timeout.ms": "4000",
        # For a small machine: less memory and fewer threads.
        "log.cleaner.dedupe.buffer.size": "16777216",
        "num.network.threads": "2",
        "num.io.threads": "4",
    }


def server_properties(
    address: NodeAddress,
    cluster: list[NodeAddress],
    data: Path,
    protocols: Mapping[str, str],
    properties: Mapping[str, str],
) -> str:
    """Return the `server.properties` of one node. `properties` overrides any default.

    The file names the voters (`controller.quorum.voters`), and the formatted data do not. So a
    cluster can start again with the same data on other ports. Kafka 3.9 and 4.x both accept this.
    """
    merged = {
        "node.id": str(address.node),
        "log.dirs": str(data),
        "listeners": address.listeners(),
        "advertised.listeners": address.advertised_listeners(),
        "listener.security.protocol.map": ",".join(
            f"{name}:{protocols.get(name, 'PLAINTEXT')}" for name in address.ports
        ),
        "controller.quorum.voters": ",".join(
            f"{voter.node}@{HOST}:{voter.ports[CONTROLLER]}" for voter in cluster
        ),
        **cluster_properties(len(cluster)),
        **properties,
    }
    return "".join(f"{key}={_escape(value)}\n" for key, value in merged.items())


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")
