"""What a process asks of the cluster, also while a broker of it is down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumer.config import PREFIX, Settings
from consumer.kafka.client import Connection
from consumer.kafka.client.admin import KafkaAdmin
from consumer.kafka.types import TopicPartition
from tests.support.records import NewRecord

if TYPE_CHECKING:
    from dev.kafka import LocalKafka
    from tests.support.cluster import Cluster
    from tests.support.topics import Names

CALLS = 15
VICTIM = 2


async def test_topic_ids_and_leader_epochs(cluster: Cluster, names: Names) -> None:
    """A topic that is created again has another id; its latest epoch ends with its log."""
    topic = names.topic()
    settings = Settings.load({f"{PREFIX}BOOTSTRAP_SERVERS": cluster.bootstrap_servers})
    admin = KafkaAdmin(Connection.of(settings), "test")
    ids = set()
    try:
        await admin.start()
        for _ in range(2):
            cluster.create_topics({topic: 2})
            cluster.produce(topic, [NewRecord(b"x", partition=1)] * 5)
            described = (await admin.describe([topic]))[topic]
            ids.add(described.topic_id)
            epochs = {TopicPartition(topic, p): e for p, e in described.leader_epochs.items()}
            assert await admin.epoch_ends(epochs) == {(topic, 0): 0, (topic, 1): 5}
            unknown = {partition: epoch + 1000 for partition, epoch in epochs.items()}
            assert await admin.epoch_ends(unknown) == {}
            cluster.delete_topics(topic)
    finally:
        await admin.close()
    assert len(ids - {None}) == 2


async def test_a_broker_that_has_just_gone_fails_no_call(
    three_nodes: LocalKafka, three_node_cluster: Cluster, names: Names
) -> None:
    """Topics are described at every call, though the library asks the dead broker as well."""
    topic = names.topic()
    three_node_cluster.create_topics({topic: 3})
    settings = Settings.load({f"{PREFIX}BOOTSTRAP_SERVERS": three_nodes.bootstrap_servers})
    admin = KafkaAdmin(Connection.of(settings), "test")
    try:
        await admin.start()
        assert (await admin.cluster())[1] == 3
        three_nodes.kill(VICTIM)
        for _ in range(CALLS):
            assert (await admin.describe([topic]))[topic].partitions == 3
    finally:
        await admin.close()
        three_nodes.restart(VICTIM)
