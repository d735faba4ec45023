"""What a process asks of the cluster, also while a broker of it is down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumer.config import PREFIX, Settings
from consumer.kafka.client import Connection
from consumer.kafka.client.admin import KafkaAdmin
from consumer.kafka.types import TopicPartition
from tests.support.command_line import environment
from tests.support.records import NewRecord
from tests.support.secured_kafka import Acl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dev.kafka import LocalKafka
    from tests.support.cluster import Cluster
    from tests.support.secured_kafka import SecuredKafka
    from tests.support.topics import Names

CALLS = 15
VICTIM = 2


def admin_of(variables: Mapping[str, object]) -> KafkaAdmin:
    """Return an admin client with these variables."""
    settings = Settings.load(environment(variables))
    return KafkaAdmin(Connection.of(settings), "test")


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


async def test_the_sizes_of_logs(
    cluster: Cluster, three_node_cluster: Cluster, names: Names
) -> None:
    """Each leader reports those of its partitions, one replica of each."""
    value = b"x" * 1000
    for asked, partitions in ((cluster, 2), (three_node_cluster, 6)):
        topic = names.topic(str(partitions))
        asked.create_topics({topic: partitions})
        records = [NewRecord(value, partition=p) for p in range(partitions) for _ in range(p)]
        asked.produce(topic, records)
        admin = admin_of({"BOOTSTRAP_SERVERS": asked.bootstrap_servers})
        try:
            await admin.start()
            wanted = [TopicPartition(topic, p) for p in range(partitions)]
            sizes = await admin.log_sizes(wanted)
        finally:
            await admin.close()
        assert sizes is not None
        assert sizes.keys() == set(wanted)
        for partition, size in sizes.items():
            least = partition.partition * len(value)
            assert least <= size < least + 1000


async def test_the_sizes_of_logs_need_a_right(secured_kafka: SecuredKafka, names: Names) -> None:
    """Describe on the cluster; without it there is no size, and no error."""
    topic = names.topic()
    secured_kafka.cluster().create_topics({topic: 1})
    read = Acl("TOPIC", topic, "READ")
    view = Acl("CLUSTER", "kafka-cluster", "DESCRIBE")
    for user, acls in (("reader", [read]), ("viewer", [read, view])):
        secured_kafka.add_user(f"{names.prefix}-{user}", acls)
        admin = admin_of(secured_kafka.login(f"{names.prefix}-{user}"))
        try:
            await admin.start()
            sizes = await admin.log_sizes([TopicPartition(topic, 0)])
        finally:
            await admin.close()
        assert sizes == ({(topic, 0): 0} if user == "viewer" else None)


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
