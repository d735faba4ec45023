"""What a process asks of the cluster while a broker of it is down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumer.config import PREFIX, Settings
from consumer.engine.kafka import ClusterAdmin, Connection

if TYPE_CHECKING:
    from dev.kafka import LocalKafka
    from tests.integration.cluster import Cluster, Names

CALLS = 15
VICTIM = 2


async def test_a_broker_that_has_just_gone_fails_no_call(
    three_nodes: LocalKafka, three_node_cluster: Cluster, names: Names
) -> None:
    """Topics are described at every call, though the library asks the dead broker as well."""
    topic = names.topic()
    three_node_cluster.create_topics({topic: 3})
    settings = Settings.load({f"{PREFIX}BOOTSTRAP_SERVERS": three_nodes.bootstrap_servers})
    admin = ClusterAdmin(Connection.of(settings), "test")
    try:
        await admin.start()
        assert (await admin.cluster())[1] == 3
        three_nodes.kill(VICTIM)
        for _ in range(CALLS):
            assert (await admin.describe([topic]))[topic].partitions == 3
    finally:
        await admin.close()
        three_nodes.restart(VICTIM)
