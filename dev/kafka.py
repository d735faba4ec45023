"""Runs a real Apache Kafka on this machine: any number of KRaft nodes, on the loopback address.

    with LocalKafka(nodes=3) as kafka:
        kafka.kill(2)
        kafka.restart(2)

As a program: `python dev/kafka.py run | start | stop | status` (see dev/kafka_cli.py).
"""

from __future__ import annotations

import atexit
import base64
import signal
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Self

if __package__ in {None, ""}:  # run as a file: then only dev/ is on the path, not the project
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from dev import kafka_jars
from dev.free_ports import free_port, free_ports
from dev.kafka_jars import LocalKafkaError
from dev.kafka_node import (
    READY_SECONDS,
    STOP_SECONDS,
    KafkaNode,
    PortTakenError,
    remove_folder,
    wait_for_formats,
)
from dev.kafka_settings import CLIENTS, CONTROLLER, HOST, NodeAddress, server_properties

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

START_TRIES = 4


class LocalKafka:
    """A cluster of brokers that this process starts. It ends when this process ends.

    Nodes are numbered from 1. `properties` overrides any broker setting. `extra_listeners` maps the
    names of more listeners to their protocols, such as {"SASL": "SASL_PLAINTEXT"}. Then
    `listener("SASL")` returns their addresses. Their settings (`listener.name.sasl.…`) belong to
    `properties`. `advertised_ports` ({listener: {node: port}}) makes the brokers advertise other
    ports to the clients of a listener, for a test with a proxy. `java_options` are added to the
    options of every broker's Java and override them. `racks` are the racks of nodes by number.
    `class_path` are folders with more classes of the brokers, for example policies.
    `features` are levels of features (KIP-1022), such as {"transaction.version": 0}, for new data
    folders. Without them a new cluster has the default levels of its version.
    """

    def __init__(  # noqa: PLR0913 - the options of tests; all but the first are keywords
        self,
        nodes: int = 1,
        *,
        version: str | None = None,
        data_dir: Path | None = None,
        properties: Mapping[str, str] | None = None,
        extra_listeners: Mapping[str, str] | None = None,
        advertised_ports: Mapping[str, Mapping[int, int]] | None = None,
        port: int | None = None,
        java_options: Sequence[str] = (),
        racks: Mapping[int, str] | None = None,
        class_path: Sequence[Path] = (),
        features: Mapping[str, int] | None = None,
    ) -> None:
        """Prepare a cluster. `start` starts it. Without `data_dir` a stop deletes its data."""
        self.version = version or kafka_jars.kafka_version()
        self.cluster_id = ""
        self._count = nodes
        self._named_dir = data_dir
        self._port = port
        self._properties = dict(properties or {})
        self._protocols = dict(extra_listeners or {})
        self._advertised_ports = dict(advertised_ports or {})
        self._java_options = java_options
        self._racks = dict(racks or {})
        self._class_path = class_path
        self._features = dict(features or {})
        self._nodes: dict[int, KafkaNode] = {}
        self._folder: Path | None = None

    def __enter__(self) -> Self:
        """Start, as a context manager."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop, as a context manager."""
        self.stop()

    @property
    def bootstrap_servers(self) -> str:
        """The addresses of all nodes for clients without TLS or a login."""
        return self.listener(CLIENTS)

    @property
    def nodes(self) -> list[int]:
        """The numbers of the nodes, running or not."""
        return sorted(self._nodes)

    def listener(self, name: str) -> str:
        """Return the addresses of all nodes for one listener."""
        return ",".join(f"{HOST}:{node.listener(name)}" for node in self._nodes.values())

    def pid(self, node: int) -> int | None:
        """Return the process id of a node, or None if it does not run."""
        return self._nodes[node].pid

    def log(self, node: int) -> Path:
        """Return the path of a node's log. A restart appends to it."""
        return self._nodes[node].log

    def data(self, node: int) -> Path:
        """Return the folder with a node's data: one folder for each partition."""
        return self._nodes[node].data

    def start(self) -> Self:
        """Format new data folders, start every node, and wait until all nodes are ready."""
        if self._nodes:
            raise LocalKafkaError("this cluster is already started")
        jars = kafka_jars.kafka_jars(self.version)
        self._folder = self._named_dir or Path(tempfile.mkdtemp(prefix="checkpoint-ready-kafka-"))
        held = len(list(self._folder.glob("node-*")))
        if held not in {0, self._count}:
            raise LocalKafkaError(
                f"{self._folder} contains a cluster of {held} nodes, not {self._count}"
            )
        atexit.register(self.stop)
        try:
            self._start_on_free_ports(jars, self._folder.resolve())
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, node: int | None = None) -> None:
        """Stop one node, or the whole cluster. Kill nodes that do not stop in time.

        If the data are temporary, kill all nodes at once: a clean shutdown with many topics takes
        many seconds.
        """
        stopping = list(self._nodes.values()) if node is None else [self._nodes[node]]
        deadline = time.monotonic() + STOP_SECONDS
        for one in stopping:
            if node is None and self._named_dir is None:
                one.kill()
            else:
                one.terminate()
        for one in stopping:
            one.wait_until_stopped(deadline)
        if node is None:
            self._nodes = {}
            atexit.unregister(self.stop)
            if self._folder is not None and self._named_dir is None:
                remove_folder(self._folder)

    def kill(self, node: int) -> None:
        """Kill one node by SIGKILL. Its data remain."""
        self._nodes[node].kill()

    def restart(self, node: int) -> None:
        """Stop a node and start it with the same ports and data. Wait until it is ready."""
        self.stop(node)
        self._nodes[node].start()
        self._nodes[node].wait_until_ready(time.monotonic() + READY_SECONDS)

    def advertise(self, ports: Mapping[str, Mapping[int, int]]) -> None:
        """Change the advertised ports of listeners: {listener: {node: port}}.

        A node advertises them from its next start on.
        """
        self._advertised_ports.update(ports)
        for node in self._nodes.values():
            self._write_settings(node)

    def pause(self, node: int) -> None:
        """Freeze a node (SIGSTOP): its connections stay open, and it does not answer."""
        self._nodes[node].signal(signal.SIGSTOP)

    def resume(self, node: int) -> None:
        """Continue a frozen node (SIGCONT)."""
        self._nodes[node].signal(signal.SIGCONT)

    def _start_on_free_ports(self, jars: Path, folder: Path) -> None:
        """Start the nodes. Retry with other ports if another process took a port meanwhile.

        There is no retry for a port that the caller requested.
        """
        for tries_left in reversed(range(START_TRIES)):
            self._configure(jars, folder)
            try:
                self._start_nodes()
            except PortTakenError:
                for node in self._nodes.values():
                    node.kill()
                if not tries_left or self._port is not None:
                    raise
            else:
                return

    def _configure(self, jars: Path, folder: Path) -> None:
        names = [CLIENTS, CONTROLLER, *self._protocols]
        free = iter(free_ports(self._count * len(names)))
        addresses = [
            NodeAddress(number, {name: next(free) for name in names})
            for number in range(1, self._count + 1)
        ]
        if self._port is not None:
            for index, address in enumerate(addresses):
                address.ports[CLIENTS] = free_port(self._port + index)
        self._nodes = {}
        for address in addresses:
            node = KafkaNode(
                address,
                folder / f"node-{address.node}",
                jars,
                temporary=self._named_dir is None,
                java_options=self._java_options,
                class_path=self._class_path,
            )
            self._nodes[address.node] = node
        for node in self._nodes.values():
            self._write_settings(node)

    def _write_settings(self, node: KafkaNode) -> None:
        address = node.address
        node_number = address.node
        advertised = {
            name: ports[node_number]
            for name, ports in self._advertised_ports.items()
            if node_number in ports
        }
        node.configure(
            server_properties(
                address._replace(advertised_ports=advertised),
                [one.address for one in self._nodes.values()],
                node.data,
                self._protocols,
                self._properties | self._rack_of(address.node),
            )
        )

    def _rack_of(self, node: int) -> dict[str, str]:
        return {"broker.rack": self._racks[node]} if node in self._racks else {}

    def _start_nodes(self) -> None:
        nodes = list(self._nodes.values())
        self.cluster_id = _known_cluster_id(nodes) or _new_cluster_id()
        formats = [(node, node.format(self.cluster_id, self._features)) for node in nodes]
        wait_for_formats([(node, process) for node, process in formats if process is not None])
        for node in nodes:
            node.start()
        deadline = time.monotonic() + READY_SECONDS
        for node in nodes:
            node.wait_until_ready(deadline)


def _known_cluster_id(nodes: list[KafkaNode]) -> str | None:
    """Return the id in the data folders, if they were formatted before."""
    for node in nodes:
        meta = node.data / "meta.properties"
        if meta.exists():
            for line in meta.read_text().splitlines():
                key, _, value = line.partition("=")
                if key == "cluster.id":
                    return value
    return None


def _new_cluster_id() -> str:
    """Return a random id in Kafka's own spelling: 16 bytes, base64url without padding."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


if __name__ == "__main__":
    from dev.kafka_cli import main

    sys.exit(main())
