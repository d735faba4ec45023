"""What lag by offsets remains after a subscriber has read everything: the numbers that KEDA sees.

A transaction ends with a marker, which has an offset of its own. A subscriber that commits the
offset after its last record leaves the marker unread. One that commits its position does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import yaml
from aiokafka import AIOKafkaConsumer
from confluent_kafka import Consumer

from tests.integration.open_transaction import open_transaction
from tests.support.records import NewRecord
from tests.support.waiting import wait_until, wait_until_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from confluent_kafka import TopicPartition

    from tests.support.cluster import Cluster
    from tests.support.topics import Names

SCALED_OBJECT = Path(__file__).parents[2] / "examples/platforms/keda/scaled-object.yaml"
(TRIGGER,) = yaml.safe_load(SCALED_OBJECT.read_text())["spec"]["triggers"]
THRESHOLD = int(TRIGGER["metadata"]["activationLagThreshold"])
PARTITIONS = THRESHOLD
ONE_EACH = [NewRecord(b"event", partition=number) for number in range(PARTITIONS)]
EVENT_AND_MARKER = 2


def _topic_with_events(cluster: Cluster, names: Names) -> str:
    """Write two committed transactions with an event on each partition."""
    topic = names.topic("ready")
    cluster.create_topics({topic: PARTITIONS})
    for number in range(2):
        cluster.produce(topic, ONE_EACH, transactional_id=names.group(f"producer-{number}"))
    return topic


def _lags(cluster: Cluster, topic: str, group: str) -> list[int]:
    """Return end offset minus committed offset of each partition, as KEDA computes it."""
    ends, committed = cluster.end_offsets(topic), cluster.group_offsets(group)
    return [end - committed[(topic, number)] for number, end in sorted(ends.items())]


def _wait_for_lags(cluster: Cluster, topic: str, group: str, expected: list[int]) -> None:
    """Wait for these lags: the marker is written after the producer's call has returned."""
    wait_until(lambda: _lags(cluster, topic, group) == expected, what=f"the lags {expected}")


def _is_active(lags: list[int]) -> bool:
    """Return whether KEDA scales from 0 to 1 or stays at 1: `totalLag > activationLagThreshold`."""
    return sum(lags) > THRESHOLD


class Librdkafka:
    """A subscriber with confluent-kafka."""

    def __init__(
        self, cluster: Cluster, topic: str, group: str, *, auto_commit: bool = False
    ) -> None:
        settings = {
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": auto_commit,
            "auto.commit.interval.ms": 100,
        }
        self._consumer = Consumer({**cluster.settings, **settings})
        self._consumer.subscribe([topic])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def read(self, count: int, *, commit: bool = True) -> None:
        """Handle this number of events and commit the offset after each."""
        for _ in range(count):
            message = wait_until(lambda: self._consumer.poll(1.0), what="an event")
            assert message.error() is None
            if commit:
                self._consumer.commit(message=message, asynchronous=False)

    def poll_until(self, is_reached: Callable[[], bool]) -> None:
        """Poll without new events."""

        def poll() -> bool:
            assert self._consumer.poll(0.1) is None
            return is_reached()

        wait_until(poll, what="the position after the markers")

    def commit_positions_until(self, is_reached: Callable[[], bool]) -> None:
        """Poll without new events, and commit the positions."""

        def commit() -> bool:
            assert self._consumer.poll(0.1) is None
            positions: list[TopicPartition] = self._consumer.position(self._consumer.assignment())
            self._consumer.commit(offsets=positions, asynchronous=False)
            return is_reached()

        wait_until(commit, what="the position after the markers")


def _aborted(cluster: Cluster, names: Names, topic: str) -> Iterator[AbstractContextManager[None]]:
    for number in range(PARTITIONS):
        yield open_transaction(cluster, names.group("aborting"), topic, [b"event"], number)


def test_who_commits_the_offset_after_the_last_record_leaves_one_on_each_partition(
    cluster: Cluster, names: Names
) -> None:
    """KEDA without the threshold never scales to zero; with it the next event starts a pod."""
    topic, group = _topic_with_events(cluster, names), names.group()
    with Librdkafka(cluster, topic, group) as subscriber:
        subscriber.read(2 * PARTITIONS)
        idle = _lags(cluster, topic, group)
        cluster.produce(topic, ONE_EACH[:1], transactional_id=names.group("next"))
        woken = [1 + EVENT_AND_MARKER, *idle[1:]]
        _wait_for_lags(cluster, topic, group, woken)
    assert idle == [1] * PARTITIONS
    assert not _is_active(idle)
    assert _is_active(woken)


def test_an_aborted_transaction_adds_its_records_and_its_marker(
    cluster: Cluster, names: Names
) -> None:
    """Such a lag, as by `subscribers check`, keeps a pod until the next event of the partition."""
    topic, group = _topic_with_events(cluster, names), names.group()
    with Librdkafka(cluster, topic, group) as subscriber:
        subscriber.read(2 * PARTITIONS)
        for aborted in _aborted(cluster, names, topic):
            with aborted:
                pass
        lags = [1 + EVENT_AND_MARKER] * PARTITIONS
        _wait_for_lags(cluster, topic, group, lags)
        assert _is_active(lags)
        cluster.produce(topic, ONE_EACH, transactional_id=names.group("next"))
        subscriber.read(PARTITIONS)
        assert _lags(cluster, topic, group) == [1] * PARTITIONS


def test_with_librdkafka_positions_can_be_committed_instead(cluster: Cluster, names: Names) -> None:
    """Then no lag remains, also after an aborted transaction."""
    topic, group = _topic_with_events(cluster, names), names.group()
    with Librdkafka(cluster, topic, group) as subscriber:
        subscriber.read(2 * PARTITIONS)
        for aborted in _aborted(cluster, names, topic):
            with aborted:
                pass
        subscriber.commit_positions_until(lambda: not any(_lags(cluster, topic, group)))


def test_auto_commit_of_librdkafka_leaves_no_lag(cluster: Cluster, names: Names) -> None:
    """It commits the position after the markers, also after an aborted transaction."""
    topic, group = _topic_with_events(cluster, names), names.group()
    with Librdkafka(cluster, topic, group, auto_commit=True) as subscriber:
        subscriber.read(2 * PARTITIONS, commit=False)
        for aborted in _aborted(cluster, names, topic):
            with aborted:
                pass
        subscriber.poll_until(lambda: len(cluster.group_offsets(group)) == PARTITIONS)
        subscriber.poll_until(lambda: not any(_lags(cluster, topic, group)))


async def test_aiokafka_commits_its_position(cluster: Cluster, names: Names) -> None:
    """`commit()` without offsets leaves no lag; with the offset after the last record one."""
    topic, group = _topic_with_events(cluster, names), names.group()
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=cluster.bootstrap_servers,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    last: dict[object, int] = {}

    async def has_read_all() -> bool:
        # By partition: the service's modules, if they are loaded, give records without a topic.
        found = await consumer.getmany(timeout_ms=50)
        last.update({partition: records[-1].offset + 1 for partition, records in found.items()})
        ends = cluster.end_offsets(topic)
        return last == {it: ends[it.partition] - 1 for it in consumer.assignment()} != {}

    async with consumer:
        all_read: bool = await wait_until_async(has_read_all, what="the last events")
        assert all_read
        await consumer.commit(last)
        assert _lags(cluster, topic, group) == [1] * PARTITIONS

        async def has_no_lag() -> bool:
            await consumer.getmany(timeout_ms=50)
            await consumer.commit()
            return not any(_lags(cluster, topic, group))

        reached: bool = await wait_until_async(has_no_lag, what="the position after the markers")
        assert reached
