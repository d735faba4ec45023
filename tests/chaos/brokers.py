"""The three brokers: who coordinates and leads what, one of them down, all of them back."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException

from tests.support.kafka_tools import ToolFailedError
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from confluent_kafka.admin import ClusterMetadata

    from dev.kafka import LocalKafka
    from tests.support.cluster import Cluster
    from tests.support.kafka_tools import KafkaTools

TRANSACTIONS = "__transaction_state"
GROUPS = "__consumer_offsets"
METADATA_SECONDS = 10.0
LEADER_SECONDS = 60.0
WHOLE_SECONDS = 150.0


class Brokers:
    """The cluster seen from the nemesis; services reach it only through the proxy."""

    def __init__(self, kafka: LocalKafka, cluster: Cluster, tools: KafkaTools) -> None:
        """Take a cluster that runs."""
        self._kafka = kafka
        self._cluster = cluster
        self._tools = tools
        self._is_abandoned = False

    @property
    def nodes(self) -> list[int]:
        """The numbers of the nodes, running or not."""
        return self._kafka.nodes

    def logs(self) -> dict[int, Path]:
        """Return the log of each node, which has the lines of all its processes."""
        return {node: self._kafka.log(node) for node in self._kafka.nodes}

    def transaction_coordinator(self, transactional_id: str) -> int:
        """Return the node that coordinates a producer's transactions."""
        return self._leader_by_hash(TRANSACTIONS, transactional_id)

    def group_coordinator(self, group: str) -> int:
        """Return the node that coordinates a group."""
        return self._leader_by_hash(GROUPS, group)

    def leader(self, topic: str, partition: int) -> int:
        """Return the node that leads a partition."""
        what = f"a leader for {topic}/{partition}"
        leaders = wait_until(lambda: self._leaders(topic), LEADER_SECONDS, what=what)
        return leaders[partition]

    @contextmanager
    def down(self, node: int, *, killed: bool) -> Iterator[None]:
        """Kill or stop a node, and at the end start it and wait until the cluster is whole."""
        try:
            if killed:
                self._kafka.kill(node)
            else:
                self._kafka.stop(node)
            yield
        finally:
            self.bring_back(node)

    @contextmanager
    def frozen(self, node: int) -> Iterator[None]:
        """Freeze a node, and at the end continue it and wait until the cluster is whole."""
        self._kafka.pause(node)
        try:
            yield
        finally:
            self._kafka.resume(node)
            self.wait_until_whole()

    def change_addresses(self, ports: Mapping[str, Mapping[int, int]]) -> None:
        """Restart one node after the other with other ports: {listener: {node: port}}."""
        self._kafka.advertise(ports)
        for node in self._kafka.nodes:
            if not self._is_abandoned:
                self._kafka.restart(node)
                self.wait_until_whole()

    def bring_back(self, node: int) -> None:
        """Start a node that is down, and wait until every replica is in sync."""
        if self._is_abandoned:
            return
        if self._kafka.pid(node) is None:
            self._kafka.restart(node)
        self.wait_until_whole()

    def bring_all_back(self) -> None:
        """Start every node that is down, and wait until every replica is in sync."""
        for node in self._kafka.nodes:
            if self._kafka.pid(node) is None:
                self._kafka.restart(node)
        self.wait_until_whole()

    def add_partitions(self, topic: str, total: int) -> None:
        """Enlarge a topic; the cluster refuses while a broker that is to hold a replica is down."""

        def is_added() -> bool:
            try:
                self._tools.set_partitions(topic, total)
            except ToolFailedError:
                return self._is_abandoned or self._cluster.partitions(topic) == total
            return True

        wait_until(is_added, WHOLE_SECONDS, what=f"{total} partitions of {topic}", poll_seconds=0.5)

    def abandon(self) -> None:
        """Wait no more for a whole cluster: the run ends before its time."""
        self._is_abandoned = True

    def wait_until_whole(self) -> None:
        """Wait until every node serves and every partition has all its replicas in sync."""
        wait_until(self._is_whole, WHOLE_SECONDS, what="a whole cluster", poll_seconds=0.3)

    def _is_whole(self) -> bool:
        if self._is_abandoned:
            return True
        found = self._metadata()
        return (
            found is not None
            and len(found.brokers) == len(self._kafka.nodes)
            and all(
                partition.leader >= 0 and len(partition.isrs) == len(partition.replicas)
                for topic in found.topics.values()
                for partition in topic.partitions.values()
            )
        )

    def _leader_by_hash(self, topic: str, name: str) -> int:
        leaders = wait_until(lambda: self._leaders(topic), LEADER_SECONDS, what=f"topic {topic}")
        return leaders[abs(java_hash(name)) % len(leaders)]

    def _leaders(self, topic: str) -> dict[int, int]:
        found = self._metadata()
        if found is None or topic not in found.topics:
            return {}
        partitions = found.topics[topic].partitions
        leaders = {number: partition.leader for number, partition in partitions.items()}
        return leaders if min(leaders.values(), default=-1) >= 0 else {}

    def _metadata(self) -> ClusterMetadata | None:
        try:
            return self._cluster.admin.list_topics(timeout=METADATA_SECONDS)
        except KafkaException:
            return None  # asked again: a broker is down


def java_hash(text: str) -> int:
    """Return Java's String.hashCode of an ASCII text, by which brokers choose a coordinator."""
    value = 0
    for code in text.encode("ascii"):
        value = (31 * value + code) & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value
