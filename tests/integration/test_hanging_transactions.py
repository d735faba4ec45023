"""A transaction that the brokers left open in one partition: nothing goes on over it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from consumer.config import PREFIX, Settings
from consumer.engine.kafka import ClusterAdmin, Connection, Outbox, ShardWriter
from dev.kafka import LocalKafka
from tests.integration.cluster import Cluster
from tests.integration.events import assert_exactly_once, checkpoint, numbered_ids, scattered
from tests.integration.new_record import NewRecord
from tests.integration.service import Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.cluster import Names

FORGED = b"never to be seen"


@pytest.fixture(scope="module")
def unverified(local_brokers: None) -> Iterator[Cluster]:  # noqa: ARG001 - for its effect
    """Start a broker that takes records of a transaction unasked, as all did before KIP-890."""
    properties = {"transaction.partition.verification.enable": "false"}
    with LocalKafka(properties=properties) as kafka:
        yield Cluster(kafka.bootstrap_servers)


async def leave_open(cluster: Cluster, transactional_id: str, place: TopicPartition) -> None:
    """Write a record of a transaction that the coordinator does not know, so nobody ends it."""
    producer = AIOKafkaProducer(
        bootstrap_servers=cluster.bootstrap_servers, transactional_id=transactional_id
    )
    await producer.start()
    await producer.begin_transaction()
    producer._txn_manager._txn_partitions.add(place)  # noqa: SLF001 - so that it asks nobody
    await producer.send_and_wait(place.topic, FORGED, FORGED, place.partition)
    with pytest.raises(KafkaError):  # as it should: the coordinator knows nothing of it
        await producer.commit_transaction()
    await producer.stop()


async def end(cluster: Cluster, transactional_id: str, place: TopicPartition) -> None:
    """Abort it, by the marker of another transaction of the same producer."""
    producer = AIOKafkaProducer(
        bootstrap_servers=cluster.bootstrap_servers, transactional_id=transactional_id
    )
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(place.topic, FORGED, FORGED, place.partition)
    await producer.abort_transaction()
    await producer.stop()


@pytest.mark.parametrize("topic", ["ready", "group.changelog", "group.repartition"])
def test_a_shard_refuses_until_it_is_ended(unverified: Cluster, names: Names, topic: str) -> None:
    """The marker of its next transaction would make it visible; the other shards go on."""
    old, new = numbered_ids(20, "old"), numbered_ids(20, "new")
    with Deployment(unverified, names) as deployment:
        service = deployment.start()
        unverified.produce(deployment.input_topic, scattered(old))
        assert_exactly_once(unverified, names, old)
        assert service.terminate() == 0
        place = TopicPartition(names.topic(topic), 0)
        transactional_id = deployment.configuration.transactional_id(0)
        asyncio.run(leave_open(unverified, transactional_id, place))

        refusing = deployment.restart(service)
        refused = refusing.wait_for_log("shard_refused", shard=0)
        assert f"hangs in {place.topic}/0 from offset " in refused["error"]
        for shard in (1, 2):
            refusing.wait_for_log("task_state", shard=shard, state="running")
        assert refusing.terminate() == 0

        asyncio.run(end(unverified, transactional_id, place))
        deployment.restart(refusing)
        unverified.produce(deployment.input_topic, scattered(new))
        assert_exactly_once(unverified, names, [*old, *new])
        assert FORGED not in {record.value for record in unverified.read(place.topic)}


async def test_a_later_owner_is_at_work(cluster: Cluster, names: Names) -> None:
    """A zombie that looks sees the transactions of its successor, which do not hang."""
    topic = names.topic()
    cluster.create_topics({topic: 1})
    settings = Settings.load({f"{PREFIX}BOOTSTRAP_SERVERS": cluster.bootstrap_servers})
    connection = Connection.of(settings)
    admin = ClusterAdmin(connection, "test")
    zombie, owner = (ShardWriter(connection, names.group("txn"), 15_000) for _ in range(2))
    try:
        await admin.start()
        await zombie.fence()
        await owner.fence()
        outbox = Outbox({topic: 1_000_000})
        outbox.to(topic, 0).append(None, b"the successor's")
        await owner.send(outbox)
        producer_id, epoch = zombie.producer_id_and_epoch
        assert owner.producer_id_and_epoch == (producer_id, epoch + 1)
        assert await admin.open_transactions(producer_id, epoch, [topic]) == {}
        assert await admin.open_transactions(producer_id, epoch + 2, [topic]) == {(topic, 0): 0}
        assert await admin.open_transactions(producer_id + 1, epoch + 2, [topic]) == {}
        await owner.commit()
    finally:
        await asyncio.gather(admin.close(), zombie.close(), owner.close())


def test_a_tool_refuses_until_it_is_ended(unverified: Cluster, names: Names) -> None:
    """The same for a redrive, whose ledger would say that it has sent what nobody can see."""
    with Deployment(unverified, names) as deployment:
        service = deployment.start()
        unverified.produce(deployment.input_topic, [NewRecord(b"{"), NewRecord(checkpoint("one"))])
        assert_exactly_once(unverified, names, ["one"])
        assert service.terminate() == 0
        redrive = ("dead-letters", "redrive", "--execute")
        assert deployment.run(*redrive).exit_code == 0
        place = TopicPartition(f"{deployment.group}.replays", 0)
        transactional_id = f"{deployment.group}-:redrive"
        asyncio.run(leave_open(unverified, transactional_id, place))
        refused = deployment.run(*redrive)
        assert refused.exit_code == 1
        assert f"hangs in {place.topic}/0 from offset " in refused.complaint
        asyncio.run(end(unverified, transactional_id, place))
        assert deployment.run(*redrive).exit_code == 0
