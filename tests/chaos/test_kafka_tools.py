"""Kafka's own tools, as the end of a run asks them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, Producer

from dev.kafka_jars import kafka_version
from tests.support.kafka_tools import KafkaTools, ToolFailedError
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.topics import Names

pytestmark = pytest.mark.usefixtures("local_brokers")

# Each tool starts a Java, which takes a second, and on a busy machine many.
SECONDS = 120.0
NOBODY = "127.0.0.1:1"


def begin_transaction(cluster: Cluster, topic: str, transactional_id: str) -> Producer:
    """Return a producer with an open transaction on a topic."""
    settings = {"transactional.id": transactional_id, "transaction.timeout.ms": 600_000}
    producer = Producer({**cluster.settings, **settings})
    producer.init_transactions(SECONDS)
    producer.begin_transaction()
    producer.produce(topic, b"value")
    producer.flush(SECONDS)
    return producer


@pytest.mark.timeout(600)
def test_an_open_transaction_is_found_until_it_ends(cluster: Cluster, names: Names) -> None:
    """A group's open transaction is listed, another group's is not, and none hangs."""
    cluster.create_topics({names.topic(): 1})
    ours = begin_transaction(cluster, names.topic(), f"{names.group()}-0")
    other = begin_transaction(cluster, names.topic(), f"{names.group('other')}-0")
    tools = KafkaTools(cluster.bootstrap_servers, kafka_version())
    found = tools.open_transactions(names.group())
    assert [tuple(one) for one in found] == [(f"{names.group()}-0", "Ongoing")]
    # Its coordinator knows it, so it is open and does not hang.
    assert not tools.hanging_transactions([names.topic()])
    ours.commit_transaction(SECONDS)
    wait_until(lambda: not tools.open_transactions(names.group()), SECONDS)
    other.abort_transaction(SECONDS)


@pytest.mark.timeout(300)
def test_it_enlarges_topics_and_deletes_groups(cluster: Cluster, names: Names) -> None:
    """Both can be repeated; a group with a member is not deleted."""
    tools = KafkaTools(cluster.bootstrap_servers, kafka_version())
    cluster.create_topics({names.topic(): 1})
    for _ in range(2):
        tools.set_partitions(names.topic(), 3)
    wait_until(lambda: cluster.partitions(names.topic()) == 3, SECONDS)
    consumer = Consumer({**cluster.settings, "group.id": names.group()})
    consumer.subscribe([names.topic()])
    wait_until(lambda: consumer.poll(0.1) or consumer.assignment(), SECONDS)
    with pytest.raises(ToolFailedError):
        tools.delete_group(names.group())
    consumer.close()
    for _ in range(2):
        tools.delete_group(names.group())


@pytest.mark.timeout(600)
def test_a_tool_that_fails_does_not_pass_for_good_news(
    cluster: Cluster, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a broker, of an unknown topic or of an unknown group a tool raises."""
    tools = KafkaTools(cluster.bootstrap_servers, kafka_version())
    with pytest.raises(ToolFailedError):
        tools.hanging_transactions([names.topic("unknown")])
    with pytest.raises(ToolFailedError):
        tools.delete_offsets(names.group(), names.topic())
    monkeypatch.setattr("tests.support.kafka_tools.TOOL_SECONDS", 10.0)
    with pytest.raises(ToolFailedError):
        KafkaTools(NOBODY, kafka_version()).open_transactions(names.group())
