"""A transaction that the brokers left open in one partition: nothing goes on over it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import TopicPartition
from structlog.testing import capture_logs

from consumer.config import PREFIX, Settings
from consumer.kafka.client import Connection, describe_producers
from consumer.kafka.client.admin import KafkaAdmin
from consumer.kafka.client.transaction_batches import TransactionBatches
from consumer.kafka.client.writer import KafkaWriter
from consumer.kafka.open_transactions import OpenTransactionCheck, of_earlier_owners
from dev.free_ports import free_ports
from dev.kafka import LocalKafka
from dev.kafka_jars import kafka_version
from tests.integration.hanging_transaction import FORGED, abort_as_logged, leave_open
from tests.integration.open_transaction import open_transaction
from tests.integration.tuned_service import tuned
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.http_client import Observed
from tests.support.kafka_tools import KafkaTools
from tests.support.records import NewRecord, checkpoint, numbered_ids, scattered
from tests.support.verdicts import assert_exactly_once, wait_until_handled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.service_process import ServiceProcess
    from tests.support.topics import Names


@pytest.fixture(scope="module")
def unverified(local_brokers: None) -> Iterator[Cluster]:  # noqa: ARG001 - for its effect
    """Start a broker that takes records of a transaction unasked, as all did before KIP-890."""
    properties = {"transaction.partition.verification.enable": "false"}
    with LocalKafka(properties=properties) as kafka:
        yield Cluster(kafka.bootstrap_servers)


def producer_of(cluster: Cluster, deployment: Deployment, shard: int) -> tuple[int, int]:
    """Return producer id and epoch of a running shard; its fence record is in the changelog."""
    tools = KafkaTools(cluster.bootstrap_servers, kafka_version())
    ((producer_id, epoch),) = tools.producers(deployment.changelog_topic, shard)
    return producer_id, epoch


@pytest.mark.parametrize("topic", ["ready", "dead-letters", "group.changelog", "group.repartition"])
def test_a_shard_waits_until_it_is_ended(unverified: Cluster, names: Names, topic: str) -> None:
    """The marker of its next transaction would make it visible; the other shards go on.

    The command of the log line ends it, and the shard then runs without a restart.
    """
    old, new = numbered_ids(20, "old"), numbered_ids(20, "new")
    with Deployment(unverified, names) as deployment:
        service = deployment.start()
        unverified.produce(deployment.input_topic, scattered(old))
        assert_exactly_once(unverified, names, old)
        assert service.terminate() == 0
        place = TopicPartition(names.topic(topic), 0)
        transactional_id = deployment.configuration.transactional_id(0)
        asyncio.run(leave_open(unverified, transactional_id, place))

        waiting = deployment.restart(service)
        hanging = waiting.wait_for_log("transaction_hangs", shard=0)
        assert f"hangs in {place.topic}/0 from offset " in hanging["error"]
        for shard in (1, 2):
            waiting.wait_for_log("task_state", shard=shard, state="running")
        assert waiting.running_shards() == {1, 2}

        abort_as_logged(unverified.bootstrap_servers, kafka_version(), hanging["error"])
        waiting.wait_for_log("hanging_transaction_ended", shard=0)
        waiting.wait_for_log("task_state", shard=0, state="running")
        unverified.produce(deployment.input_topic, scattered(new))
        assert_exactly_once(unverified, names, [*old, *new])
        assert FORGED not in {record.value for record in unverified.read(place.topic)}
        assert waiting.logged("task_failed") == []


def test_a_running_shard_stops_over_it(unverified: Cluster, names: Names) -> None:
    """It is noticed within an interval, shown everywhere, and outlasts the watchdog's limit."""
    ids = numbered_ids(20)
    command = tuned(
        worker__open_transaction_watch__INTERVAL_SECONDS=0.5, shard__task__HANGING_LOG_SECONDS=1.0
    )
    with Deployment(unverified, names, TRANSACTION_TIMEOUT_MS=1000, WATCHDOG_SECONDS=20) as own:
        assert wait_until_all_run(own, own.start()).terminate() == 0
        port = free_ports(1)[0]
        seen = Observed(own.start(command=command, HTTP_PORT=port), port)
        service = wait_until_all_run(own, seen.service)
        producer_id, epoch = producer_of(unverified, own, 0)
        place = TopicPartition(own.ready_topic, 0)
        as_former_owner = (producer_id, epoch - 1)
        asyncio.run(leave_open(unverified, names.group("forger"), place, as_former_owner))

        hanging = service.wait_for_log("transaction_hangs", shard=0, deadline_seconds=15)
        assert f"hangs in {place.topic}/0 from offset 0 on" in hanging["error"]
        assert service.running_shards() == {1, 2}
        assert seen.metric("hanging_transactions", shard="0") == 1
        assert seen.metric("hanging_transactions", shard="1") == 0
        ready = seen.get("/readyz")
        assert ready.status == 503
        assert f"shard 0 waits: {hanging['error']}" in ready.text
        assert "kafka-transactions.sh" in seen.get("/").text
        unverified.produce(own.input_topic, scattered(ids))
        before = len(service.lines)
        service.wait_for_log("transaction_hangs", shard=0, after=before, deadline_seconds=15)
        assert seen.status("/livez") == 200

        abort_as_logged(unverified.bootstrap_servers, kafka_version(), hanging["error"])
        service.wait_for_log("task_state", shard=0, state="running", after=before)
        assert_exactly_once(unverified, names, ids)
        assert FORGED not in {record.value for record in unverified.read(place.topic)}
        wait_until(lambda: seen.status("/readyz") == 200)
        assert seen.metric("hanging_transactions", shard="0") == 0


def test_a_running_shard_completes_its_own(unverified: Cluster, names: Names) -> None:
    """What hangs under its own epoch was committed, so the shard writes the missing marker."""
    ids = numbered_ids(20)
    with Deployment(unverified, names) as deployment:
        service = deployment.start(
            command=tuned(worker__open_transaction_watch__INTERVAL_SECONDS=0.5)
        )
        wait_until_all_run(deployment, service)
        place = TopicPartition(deployment.ready_topic, 0)
        own = producer_of(unverified, deployment, 0)
        asyncio.run(leave_open(unverified, names.group("forger"), place, own))
        service.wait_for_log("missing_marker_written", shard=0, deadline_seconds=15)
        (found,) = unverified.read(deployment.ready_topic)  # waits until nothing is open
        assert found.value == FORGED
        unverified.produce(deployment.input_topic, scattered(ids))
        wait_until_handled(unverified, names)
        events = {record.key for record in unverified.read(deployment.ready_topic)}
        assert len(events - {FORGED}) > 0
        assert service.logged("task_failed") == service.logged("task_fenced") == []
        assert service.running_shards() == {0, 1, 2}


def test_a_foreign_transaction_in_the_ready_topic_is_shown(cluster: Cluster, names: Names) -> None:
    """Subscribers wait behind it, whoever wrote it; the gauge and one log line say so."""
    command = tuned(
        worker__open_transaction_watch__INTERVAL_SECONDS=0.2,
        worker__open_transaction_watch__REPORT_AFTER_SECONDS=1.0,
    )
    with Deployment(cluster, names) as deployment:
        port = free_ports(1)[0]
        seen = Observed(deployment.start(command=command, HTTP_PORT=port), port)
        wait_until_all_run(deployment, seen.service)
        labels = {"topic": deployment.ready_topic}
        assert seen.metric("open_transaction_seconds", **labels) == 0
        with open_transaction(cluster, names.group("foreign"), deployment.ready_topic, [b"{}"]):
            line = seen.service.wait_for_log("output_held_back")
            assert (line["topic"], line["partition"]) == (deployment.ready_topic, 0)
            assert "kafka-transactions.sh" in line["hint"]
            assert (seen.metric("open_transaction_seconds", **labels) or 0) >= 1
            assert seen.status("/readyz") == 200
        wait_until(lambda: seen.metric("open_transaction_seconds", **labels) == 0)
        assert len(seen.service.logged("output_held_back")) == 1


async def test_a_later_owner_is_at_work(admin_at: KafkaAdmin, cluster: Cluster, names: Names) -> None:  # fmt: skip  # noqa: E501 - one line reads better
    """A zombie that looks sees the transactions of its successor, which do not hang."""
    topic = names.topic()
    cluster.create_topics({topic: 1})
    connection = connection_to(cluster)
    zombie, owner = (KafkaWriter(connection, names.group("txn"), 15_000) for _ in range(2))
    try:
        await zombie.fence()
        await owner.fence()
        transaction_batches = TransactionBatches({topic: 1_000_000})
        transaction_batches.to(topic, 0).append(None, b"the successor's")
        await owner.send(transaction_batches)
        producer_id, epoch = zombie.producer_id_and_epoch
        assert owner.producer_id_and_epoch == (producer_id, epoch + 1)
        found = (await admin_at.open_transactions([topic])).found
        assert [(it.partition, it.start_offset) for it in found] == [((topic, 0), 0)]
        assert of_earlier_owners(found, producer_id, epoch) == ()
        assert of_earlier_owners(found, producer_id, epoch + 2) == found
        assert of_earlier_owners(found, producer_id + 1, epoch + 2) == ()
        await owner.commit()
    finally:
        await asyncio.gather(zombie.close(), owner.close())


async def test_brokers_that_cannot_be_asked_are_named_once(
    admin_at: KafkaAdmin, cluster: Cluster, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Kafka 2.8 a broker does not know the request: that is logged, and no shard waits."""
    topic = names.topic()
    cluster.create_topics({topic: 1})
    monkeypatch.setattr(
        describe_producers.DescribeProducersRequest, "API_KEY", 999
    )  # no broker knows it
    check = OpenTransactionCheck(admin_at, cluster.bootstrap_servers, [topic])
    with capture_logs() as lines:
        assert (await check.query()).found == ()
        assert (await check.query()).found == ()
    (line,) = lines
    assert line["event"] == "hanging_check_incomplete"
    assert "Kafka 2.8" in line["reason"]


def test_a_tool_refuses_until_it_is_ended(unverified: Cluster, names: Names) -> None:
    """The same for a redrive, in its journal and in the input that it writes."""
    with Deployment(unverified, names) as deployment:
        service = deployment.start()
        unverified.produce(deployment.input_topic, [NewRecord(b"{"), NewRecord(checkpoint("one"))])
        assert_exactly_once(unverified, names, ["one"])
        assert service.terminate() == 0
        redrive = ("dead-letters", "redrive", "--execute")
        assert deployment.run(*redrive).exit_code == 0
        for topic in (f"{deployment.group}.jobs", deployment.input_topic):
            place = TopicPartition(topic, 0)
            asyncio.run(leave_open(unverified, f"{deployment.group}-:redrive", place))
            refused = deployment.run(*redrive)
            assert refused.exit_code == 1
            assert f"hangs in {place.topic}/0 from offset " in refused.complaint
            abort_as_logged(unverified.bootstrap_servers, kafka_version(), refused.complaint)
            assert deployment.run(*redrive).exit_code == 0


def wait_until_all_run(deployment: Deployment, service: ServiceProcess) -> ServiceProcess:
    """Wait until all three shards run in this process, and return it."""
    deployment.wait_until_running(3, service)
    return service


def connection_to(cluster: Cluster) -> Connection:
    """Return how our own clients connect."""
    return Connection.of(Settings.load({f"{PREFIX}BOOTSTRAP_SERVERS": cluster.bootstrap_servers}))


@pytest.fixture
async def admin_at(cluster: Cluster) -> AsyncIterator[KafkaAdmin]:
    """Our own admin client."""
    admin = KafkaAdmin(connection_to(cluster), "test")
    await admin.start()
    yield admin
    await admin.close()
