"""Traps of coordinators that load, move or die, and of an end while no broker answers."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from confluent_kafka import KafkaException

from consumer.errors import TaskFailed
from consumer.kafka.client import Connection
from consumer.kafka.client.admin import KafkaAdmin
from consumer.kafka.client.private_client import BootstrapServers
from dev.kafka import LocalKafka
from dev.kafka_jars import kafka_version
from tests.integration.open_transaction import NO_TIMED_OUT_TRANSACTIONS
from tests.integration.tampered_service import striking
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.figures import show
from tests.support.kafka_tools import KafkaTools
from tests.support.records import numbered_ids, scattered
from tests.support.stream import Stream
from tests.support.verdicts import assert_exactly_once
from tests.support.waiting import wait_until, wait_until_async

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.service_process import ServiceProcess
    from tests.support.topics import Names

# Brokers are killed and started again here; on a busy machine that takes its time.
pytestmark = pytest.mark.timeout(300)

SHARDS = 3
MOVED_SECONDS = 60.0  # until another broker leads what a dead or frozen one led
STOP_SECONDS = 12.0  # the engine's bound for an orderly end, and the process's own
GROUPS, TRANSACTIONS = "__consumer_offsets", "__transaction_state"
COMPLAINTS = ("Traceback", "Unclosed", "never retrieved", "never awaited", "ResourceWarning")


@pytest.fixture
def nodes(three_nodes: LocalKafka) -> Iterator[LocalKafka]:
    """Lend the cluster of three, and mend it afterwards whatever has happened."""
    yield three_nodes
    for node in three_nodes.nodes:
        if three_nodes.pid(node) is None:
            three_nodes.restart(node)
        else:
            three_nodes.resume(node)


def fresh(nodes: LocalKafka) -> Cluster:
    """Return clients that have asked no coordinator yet.

    librdkafka ends the process (an assertion) when a coordinator dies that it has asked before.
    """
    return Cluster(nodes.bootstrap_servers)


def java_hash(text: str) -> int:
    """Return Java's `String.hashCode` without its sign bit, as Kafka takes it."""
    number = 0
    for character in text:
        number = (31 * number + ord(character)) % 2**32
    return number & 0x7FFFFFFF


def coordinator(cluster: Cluster, topic: str, name: str) -> int:
    """Return the broker that coordinates a group or a transactional id now."""

    def leader() -> int:
        try:
            found = cluster.admin.list_topics(timeout=5).topics.get(topic)
        except KafkaException:  # asked a broker that is gone
            return 0
        if found is None or not found.partitions:
            return 0
        return max(0, int(found.partitions[java_hash(name) % len(found.partitions)].leader))

    return wait_until(leader, MOVED_SECONDS, what=f"a coordinator for {name}")


def group_coordinator(cluster: Cluster, group: str) -> int:
    """Return the broker that coordinates a group; asking makes the topic of group offsets."""

    def is_answered() -> bool:
        try:
            return cluster.group_members(group) is not None
        except KafkaException:  # it loads
            return False

    wait_until(is_answered, MOVED_SECONDS, what=f"the group {group}")
    return coordinator(cluster, GROUPS, group)


def is_struck(pid: int) -> bool:
    """Tell whether a process is dead or stopped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] in "TZX"


def test_starts_while_the_group_coordinator_moves(nodes: LocalKafka, names: Names) -> None:
    """The first start and a restart, each with the coordinator just killed: no position jumps."""
    cluster = fresh(nodes)
    first, second = numbered_ids(150, "first"), numbered_ids(60, "second")
    with Deployment(cluster, names) as deployment:
        cluster.produce(deployment.input_topic, scattered(first))
        struck = group_coordinator(fresh(nodes), deployment.group)
        nodes.kill(struck)
        service = deployment.start("one")
        service.wait_for_log("transaction_committed", MOVED_SECONDS)
        nodes.restart(struck)
        assert_exactly_once(fresh(nodes), names, first)

        cluster.produce(deployment.input_topic, scattered([*first[:30], *second]))
        struck = group_coordinator(fresh(nodes), deployment.group)
        service.kill()
        nodes.kill(struck)
        again = deployment.restart(service)
        again.wait_for_log("transaction_committed", MOVED_SECONDS)
        nodes.restart(struck)
        assert_exactly_once(fresh(nodes), names, [*first, *second])
        # Nothing that was handled before was read again, as it would be from committed() None.
        lines = again.logged("transaction_committed")
        assert sum(line["consumed"] - line["forwarded"] for line in lines) <= 30 + len(second)


def test_a_group_that_cannot_be_asked_is_no_group_without_offsets(
    nodes: LocalKafka, names: Names
) -> None:
    """The library answers nothing for an error; the guard against lost state needs the error."""
    cluster, group = fresh(nodes), names.group()
    group_coordinator(cluster, group)
    connection = Connection(
        BootstrapServers(cluster.bootstrap_servers.split(",")), {"security_protocol": "PLAINTEXT"}
    )

    async def is_refused(admin: KafkaAdmin, node: int) -> bool:
        led_astray = mock.AsyncMock(return_value=node)
        try:
            with mock.patch.object(admin._client, "find_coordinator", led_astray):  # noqa: SLF001 - to be led astray
                await admin.group_offsets(group)
        except TaskFailed as error:
            return "NotCoordinatorForGroup" in str(error)
        return False

    async def ask() -> None:
        admin = KafkaAdmin(connection, "test")

        async def both_others() -> list[int]:
            # After what other tests did to the nodes the coordinator may be about to move.
            refusing = [node for node in nodes.nodes if await is_refused(admin, node)]
            return refusing if len(refusing) == 2 else []

        try:
            await admin.start()
            others: list[int] = await wait_until_async(both_others, MOVED_SECONDS)
            for node in others:
                assert await admin._client.list_consumer_group_offsets(group, node) == {}  # noqa: SLF001 - what it makes of that
            assert await admin.group_offsets(group) == {}
        finally:
            await admin.close()

    asyncio.run(ask())


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_the_transaction_coordinator_moves_under_a_commit(
    nodes: LocalKafka, names: Names, sign: signal.Signals
) -> None:
    """With a shard's EndTxn on its way its coordinator dies, or comes back as a former one."""
    cluster, shard = fresh(nodes), 1
    with Deployment(cluster, names) as deployment:
        # Somebody has to make the topic of transactions before its leaders can be asked for.
        cluster.produce(deployment.input_topic, [], transactional_id=names.group("first"))
        transactional_id = f"{deployment.group}-{shard}"
        struck = coordinator(cluster, TRANSACTIONS, transactional_id)
        pid = nodes.pid(struck)
        assert pid is not None
        with Stream(cluster, deployment.input_topic, pause_ms=6, shards=SHARDS) as stream:
            service = deployment.start("one", command=striking(sign, pid, shard))
            wait_until(lambda: is_struck(pid), MOVED_SECONDS, what="the strike")
            lines = len(service.lines)
            wait_until(
                lambda: coordinator(cluster, TRANSACTIONS, transactional_id) != struck,
                MOVED_SECONDS,
                what="another coordinator",
            )
            service.wait_for_log("transaction_committed", MOVED_SECONDS, after=lines, shard=shard)
            if sign == signal.SIGSTOP:
                nodes.resume(struck)
            else:
                nodes.restart(struck)
            stream.wait_for_more(50)
        assert_exactly_once(fresh(nodes), names, stream.ids)
        assert not service.has_ended


@pytest.fixture(scope="module")
def lone_kafka(local_brokers: None) -> Iterator[LocalKafka]:  # noqa: ARG001 - for its effect
    """Start a broker that can be taken away; its tests give it back."""
    with LocalKafka(properties=NO_TIMED_OUT_TRANSACTIONS) as local:
        yield local


def kill_between_markers(kafka: LocalKafka, service: ServiceProcess, group: str) -> None:
    """Kill the only broker while no transaction waits for its markers; some may be open.

    A lone broker that starts with such a transaction looks for the leaders of its partitions before
    there are any, and never writes these markers (docs/protocol.md). The service would
    then wait for an operator, as it must, and not end this test.
    """
    tools = KafkaTools(kafka.bootstrap_servers, kafka_version())
    service.pause()

    def nothing_is_prepared() -> bool:
        return all(one.state == "Ongoing" for one in tools.open_transactions(group))

    wait_until(nothing_is_prepared, MOVED_SECONDS, what="the markers of ended transactions")
    kafka.kill(1)
    service.resume()


@pytest.mark.parametrize("fate", ["frozen", "dead"])
def test_an_end_while_no_broker_answers(
    lone_kafka: LocalKafka,
    names: Names,
    fate: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """SIGTERM in mid-stream without any broker: exit 0 within the bound, nothing left open."""
    monkeypatch.setenv("PYTHONWARNINGS", "always::ResourceWarning")
    cluster = Cluster(lone_kafka.bootstrap_servers)
    with Deployment(cluster, names) as deployment:
        with Stream(cluster, deployment.input_topic, pause_ms=5) as stream:
            service = deployment.start()
            service.wait_for_log("transaction_committed")
            stream.wait_for_more(50)
            if fate == "frozen":
                lone_kafka.pause(1)
            else:
                kill_between_markers(lone_kafka, service, deployment.group)
            try:
                stream.wait_for_more(20)
                began = time.monotonic()
                code = service.terminate(STOP_SECONDS)
                seconds = time.monotonic() - began
            finally:
                (lone_kafka.resume if fate == "frozen" else lone_kafka.restart)(1)
            show(capsys, f"SIGTERM while the only broker is {fate}: exit after {seconds:.1f} s")
            assert code == 0, service.tail()
            said = "\n".join(str(line) for line in service.lines)
            assert not [complaint for complaint in COMPLAINTS if complaint in said]
            deployment.start().wait_for_log("transaction_committed", MOVED_SECONDS)
        assert_exactly_once(cluster, names, stream.ids)
