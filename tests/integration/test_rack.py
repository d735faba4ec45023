"""CLIENT_RACK: which replica serves the fetches (KIP-392)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.chaos.effects import FETCH
from tests.integration.proxied_kafka import BESIDE, SERVICE, SHARDS, proxied_kafka
from tests.support.records import numbered_ids, scattered
from tests.support.verdicts import assert_exactly_once
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.proxied_kafka import ProxiedKafka
    from tests.support.topics import Names

RACKS = {1: "a", 2: "b", 3: "c"}
NODE, RACK = 3, "c"
SELECTOR = "org.apache.kafka.common.replica.RackAwareReplicaSelector"
MANY_FETCHES = 20


@pytest.fixture(scope="module")
def racks(local_brokers: None) -> Iterator[ProxiedKafka]:  # noqa: ARG001 - for its effect
    """Three brokers in three racks."""
    properties = {"replica.selector.class": SELECTOR}
    with proxied_kafka(3, properties=properties, racks=RACKS) as running:
        yield running


def leaders(racks: ProxiedKafka, topic: str) -> set[int]:
    """Return the nodes that lead a partition of a topic."""
    found = racks.cluster.admin.list_topics(topic, timeout=10).topics[topic].partitions
    return {partition.leader for partition in found.values()}


def elsewhere(fetches: dict[int, int]) -> int:
    """Return the number of fetches from nodes in other racks."""
    return sum(count for node, count in fetches.items() if node != NODE)


def fetches_of_librdkafka(racks: ProxiedKafka, topic: str, records: int) -> dict[int, int]:
    """Read a topic with `client.rack`; return the fetches by node after each has a replica."""
    settings = racks.cluster.settings | {
        "bootstrap.servers": racks.proxy.addresses(BESIDE),
        "client.rack": RACK,
        "group.id": "unused",
        "enable.auto.commit": False,
    }
    consumer = Consumer(settings)
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in range(SHARDS)])
        read = 0
        while read < records:
            read += len(consumer.consume(records, 0.1))
        before = racks.requests(BESIDE, FETCH)
        wait_until(lambda: consumer.consume(1, 0.1) == [] and _grew(racks, before))
        return _since(racks, BESIDE, before)
    finally:
        consumer.close()


def _grew(racks: ProxiedKafka, before: dict[int, int]) -> bool:
    return sum(_since(racks, BESIDE, before).values()) >= MANY_FETCHES


def _since(racks: ProxiedKafka, place: int, before: dict[int, int]) -> dict[int, int]:
    now = racks.requests(place, FETCH)
    return {node: count - before[node] for node, count in now.items()}


@pytest.mark.timeout(300)
def test_a_follower_in_the_own_rack_serves_all_records(racks: ProxiedKafka, names: Names) -> None:
    """With CLIENT_RACK no fetch goes to a leader in another rack; without it many do."""
    ids = numbered_ids(300)
    with racks.service(names, CLIENT_RACK=RACK) as (deployment, service):
        assert leaders(racks, deployment.input_topic) - {NODE}
        # The first fetch of a partition goes to its leader, which names the other replica.
        racks.cluster.produce(deployment.input_topic, scattered(ids[:50]))
        assert_exactly_once(racks.cluster, names, ids[:50])
        before = racks.requests(SERVICE, FETCH)
        racks.cluster.produce(deployment.input_topic, scattered(ids[50:150]))
        assert_exactly_once(racks.cluster, names, ids[:150])
        ours = _since(racks, SERVICE, before)
        theirs = fetches_of_librdkafka(racks, deployment.input_topic, 150)
        print(f"fetches by node: librdkafka {theirs}, service {ours}")  # noqa: T201 - figures
        assert ours[NODE]
        assert not elsewhere(ours)
        service.kill()
        other = deployment.start(CLIENT_RACK="")
        deployment.wait_until_running(SHARDS, other)
        before = racks.requests(SERVICE, FETCH)
        racks.cluster.produce(deployment.input_topic, scattered(ids))
        assert_exactly_once(racks.cluster, names, ids)
        assert elsewhere(_since(racks, SERVICE, before))
        assert other.terminate() == 0
