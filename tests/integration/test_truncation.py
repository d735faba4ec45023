"""Partitions that lose their last records in a power cut: nothing is lost or published twice."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from confluent_kafka import KafkaException, Producer

from dev.kafka import LocalKafka
from dev.kafka_jars import kafka_version
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.records import NewRecord, checkpoint, ids_at_home, numbered_ids, send
from tests.support.verdicts import assert_exactly_once
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.topics import Names

SHARDS = 3
INVALID = 4
WINDOW_SECONDS = 20
HOUR_MS = 3_600_000
BATCH_HEAD = struct.Struct(">qi")  # base offset, length of what follows


class Fragile(NamedTuple):
    """A broker of this module alone, whose files may be cut while it is down."""

    kafka: LocalKafka
    cluster: Cluster

    def cut(self, topic: str, partition: int, end_offset: int) -> None:
        """Kill the broker, remove the records from an offset on, and start it again."""
        self.kafka.kill(1)
        data = self.kafka.log(1).parent / "data"
        segments = sorted((data / f"{topic}-{partition}").glob("*.log"))
        assert len(segments) == 1, segments
        content = segments[0].read_bytes()
        position = 0
        while position < len(content):
            base_offset, length = BATCH_HEAD.unpack_from(content, position)
            if base_offset >= end_offset:
                break
            position += BATCH_HEAD.size + length
        assert position < len(content), "there is nothing to cut"
        segments[0].write_bytes(content[:position])
        self.kafka.restart(1)

        def is_cut() -> bool:
            try:
                return self.cluster.end_offsets(topic)[partition] == end_offset
            except KafkaException:  # its leader is on its way
                return False

        wait_until(is_cut, what=f"{topic}/{partition} without its end")


@pytest.fixture(scope="module")
def fragile(local_brokers: None) -> Iterator[Fragile]:  # noqa: ARG001 - for its effect
    """Start a broker that this module may kill."""
    with LocalKafka() as kafka:
        yield Fragile(kafka, Cluster(kafka.bootstrap_servers))


def produce(cluster: Cluster, topic: str, ids: list[str], timestamp_ms: int = 0) -> None:
    """Produce checkpoints to partition 0, a batch each, so that a cut can lie anywhere."""
    producer = Producer({**cluster.settings, "enable.idempotence": True})
    for one in ids:
        record = NewRecord(checkpoint(one), one.encode(), 0, timestamp_ms=timestamp_ms)
        send(producer, topic, [record])


def produce_invalid(cluster: Cluster, topic: str) -> None:
    """Produce records to partition 0 that become dead letters."""
    records = [NewRecord(b"no JSON %d" % number, b"key", 0) for number in range(INVALID)]
    cluster.produce(topic, records)


@pytest.mark.xfail(
    kafka_version().startswith("3."),
    reason="a broker of Kafka 3.9 that restarts alone keeps its leader epoch",
    strict=True,
)
@pytest.mark.parametrize("new_records", [2, 20])
def test_an_input_that_was_truncated_while_nothing_ran(
    fragile: Fragile, names: Names, new_records: int
) -> None:
    """Left short, grown a little or past the old end: what is new is read, and nothing else."""
    cluster = fragile.cluster
    old, new = numbered_ids(8, "old"), numbered_ids(new_records, "new")
    with Deployment(cluster, names) as deployment:
        topic = deployment.input_topic
        produce_invalid(cluster, topic)
        produce(cluster, topic, old)
        service = deployment.start()
        assert_exactly_once(cluster, names, old)
        assert service.terminate() == 0
        end = cluster.end_offsets(topic)[0]
        fragile.cut(topic, 0, end - 3)
        produce(cluster, topic, new)

        again = deployment.restart(service)
        truncated = again.wait_for_log("input_truncated")
        assert (truncated["topic"], truncated["partition"]) == (topic, 0)
        assert (truncated["next_offset"], truncated["resume_at"]) == (end, end - 3)
        assert (truncated["records"], truncated["level"]) == (3, "error")
        assert_exactly_once(cluster, names, [*old, *new])
        assert len(cluster.read(deployment.dead_letter_topic)) == INVALID
        assert again.logged("input_recreated") == []
        assert again.terminate() == 0
        # It is said once: the next start finds what it has stored.
        last = deployment.restart(again)
        deployment.wait_until_running(SHARDS, last)
        assert last.logged("input_truncated") == []


def test_ids_that_have_left_their_window_are_not_published_again(
    fragile: Fragile, names: Names
) -> None:
    """Read from its start, a truncated input would publish every id that is forgotten."""
    cluster = fragile.cluster
    old = numbered_ids(102, "old")
    hour_ago_ms = time.time_ns() // 1_000_000 - HOUR_MS
    with Deployment(cluster, names, DEDUP_WINDOW_SECONDS=WINDOW_SECONDS) as deployment:
        topic = deployment.input_topic
        produce(cluster, topic, old, hour_ago_ms)
        service = deployment.start()
        assert_exactly_once(cluster, names, old)

        def forgotten() -> int:
            return sum(line["expired"] for line in service.logged("transaction_committed"))

        wait_until(lambda: forgotten() == len(old), 60, what="tombstones of all ids")
        assert service.terminate() == 0
        fragile.cut(topic, 0, len(old) - 3)
        again = deployment.restart(service)
        again.wait_for_log("input_truncated")
        deployment.wait_until_running(SHARDS, again)
        produce(cluster, topic, ["new"])
        assert_exactly_once(cluster, names, [*old, "new"])


def test_an_input_that_is_truncated_while_it_is_read(fragile: Fragile, names: Names) -> None:
    """A broker that comes back without its last records, and grows past them, is noticed."""
    cluster = fragile.cluster
    old, new = numbered_ids(8, "old"), numbered_ids(20, "new")
    with Deployment(cluster, names) as deployment:
        topic = deployment.input_topic
        produce_invalid(cluster, topic)
        service = deployment.start()
        produce(cluster, topic, old)
        assert_exactly_once(cluster, names, old)
        fragile.cut(topic, 0, cluster.end_offsets(topic)[0] - 3)
        cluster.produce(topic, [NewRecord(checkpoint(one), one.encode(), 0) for one in new])
        service.wait_for_log("input_truncated", topic=topic, partition=0)
        assert_exactly_once(cluster, names, [*old, *new])
        assert len(cluster.read(deployment.dead_letter_topic)) == INVALID


def test_a_repartition_topic_that_was_truncated(fragile: Fragile, names: Names) -> None:
    """All that was lost was handled: its shard goes on, and says so."""
    cluster = fragile.cluster
    kept, lost, new = (ids_at_home(1, SHARDS, 4, prefix) for prefix in ("kept", "lost", "new"))
    with Deployment(cluster, names) as deployment:
        forwards = deployment.repartition_topic
        service = deployment.start()
        produce(cluster, deployment.input_topic, kept)  # partition 0: all are forwarded to shard 1
        assert_exactly_once(cluster, names, kept)
        end = cluster.end_offsets(forwards)[1]
        produce(cluster, deployment.input_topic, lost)
        assert_exactly_once(cluster, names, [*kept, *lost])
        assert service.terminate() == 0
        fragile.cut(forwards, 1, end)
        again = deployment.restart(service)
        truncated = again.wait_for_log("input_truncated", topic=forwards, partition=1)
        assert truncated["resume_at"] == end
        assert "forwarded" in truncated["hint"]
        deployment.wait_until_running(SHARDS, again)
        produce(cluster, deployment.input_topic, new)
        assert_exactly_once(cluster, names, [*kept, *lost, *new])
        assert again.logged("shard_refused") == []
