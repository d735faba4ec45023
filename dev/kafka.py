"""A real Apache Kafka on this machine: one node or three, KRaft, loopback only.

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

if __package__ in {None, ""}:  # run as a file: only dev/ is on the path then, not the project
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
    from collections.abc import Mapping

START_TRIES = 4


class LocalKafka:
    """A cluster of brokers that this process started and that ends with it.

    Nodes are numbered from 1. `properties` overrides any broker setting. `extra_listeners` maps the
    names of more listeners to their protocols, {"SASL": "SASL_PLAINTEXT"}; `listener("SASL")` gives
    their addresses, and their settings (`listener.name.sasl.…`) go into `properties`.
    `advertised_ports`, {listener: {node: port}}, sends clients of a listener elsewhere: to a proxy.
    """

    def __init__(  # noqa: PLR0913 - each one is a choice of a test, all are keywords but the first
        self,
        nodes: int = 1,
        *,
        version: str | None = None,
        data_dir: Path | None = None,
        properties: Mapping[str, str] | None = None,
        extra_listeners: Mapping[str, str] | None = None,
        advertised_ports: Mapping[str, Mapping[int, int]] | None = None,
        port: int | None = None,
    ) -> None:
        """Describe a cluster; `start` starts it. Without `data_dir` its data end with it."""
        self.version = version or kafka_jars.kafka_version()
        self.cluster_id = ""
        self._count = nodes
        self._named_dir = data_dir
        self._port = port
        self._properties = dict(properties or {})
        self._protocols = dict(extra_listeners or {})
        self._advertised_ports = dict(advertised_ports or {})
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
        """Return the process id of a node, None when it does not run."""
        return self._nodes[node].pid

    def log(self, node: int) -> Path:
        """Return the path of a node's log, which grows over its restarts."""
        return self._nodes[node].log

    def start(self) -> Self:
        """Format (the first time), start every node and return when the cluster serves."""
        if self._nodes:
            raise LocalKafkaError("this cluster is started already")
        jars = kafka_jars.kafka_jars(self.version)
        self._folder = self._named_dir or Path(tempfile.mkdtemp(prefix="checkpoint-ready-kafka-"))
        held = len(list(self._folder.glob("node-*")))
        if held not in {0, self._count}:
            raise LocalKafkaError(f"{self._folder} holds a cluster of {held}, not {self._count}")
        atexit.register(self.stop)
        try:
            self._start_onfree_ports(jars, self._folder.resolve())
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, node: int | None = None) -> None:
        """Stop one node, or all of them at once and for good; what does not stop is killed.

        Nor is a clean end waited for, many seconds where there are many topics, when the data go
        with the nodes.
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
        """End one node by SIGKILL; its data stay."""
        self._nodes[node].kill()

    def restart(self, node: int) -> None:
        """Stop a node if it runs, start it on the same ports and data, and wait until it serves."""
        self.stop(node)
        self._nodes[node].start()
        self._nodes[node].wait_until_ready(time.monotonic() + READY_SECONDS)

    def pause(self, node: int) -> None:
        """Freeze a node (SIGSTOP): its connections stay open and nothing answers."""
        self._nodes[node].signal(signal.SIGSTOP)

    def resume(self, node: int) -> None:
        """Let a frozen node go on (SIGCONT)."""
        self._nodes[node].signal(signal.SIGCONT)

    def _start_onfree_ports(self, jars: Path, folder: Path) -> None:
        """Try again on other ports when one was taken in the meantime (never a port asked for)."""
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
            )
            advertised = {
                name: ports[address.node] for name, ports in self._advertised_ports.items()
            }
            node.configure(
                server_properties(
                    address._replace(advertised_ports=advertised),
                    addresses,
                    node.data,
                    self._protocols,
                    self._properties,
                )
            )
            self._nodes[address.node] = node

    def _start_nodes(self) -> None:
        nodes = list(self._nodes.values())
        self.cluster_id = _known_cluster_id(nodes) or _new_cluster_id()
        formats = [(node, node.format(self.cluster_id)) for node in nodes]
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
