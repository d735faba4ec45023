"""A start goes on from the changelog, whatever happened to offsets, topics and partitions."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from confluent_kafka import IsolationLevel, Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec

from consumer.config import PREFIX, Settings
from consumer.kafka.client import AioKafka
from consumer.kafka.types import TopicPartition as Partition
from tests.support.deployment import Deployment
from tests.support.records import NewRecord, checkpoint, numbered_ids, scattered, send
from tests.support.verdicts import assert_exactly_once, event_id, shard_of, wait_until_handled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.support.cluster import Cluster
    from tests.support.topics import Names

SHARDS = 3
READ_SECONDS = 20.0


def log_starts(cluster: Cluster, topic: str) -> dict[int, int]:
    """Return the first offset of each partition that still exists."""
    asked = {
        TopicPartition(topic, partition): OffsetSpec.earliest()
        for partition in range(cluster.partitions(topic))
    }
    answers = cluster.admin.list_offsets(asked, isolation_level=IsolationLevel.READ_UNCOMMITTED)
    return {at.partition: future.result(30).offset for at, future in answers.items()}


def unhandled_records(cluster: Cluster, deployment: Deployment) -> int:
    """Count the records behind the group's committed offsets, as a lag tool does."""
    committed = cluster.group_offsets(deployment.group)
    return sum(
        record.offset >= committed.get((topic, record.partition), 0)
        for topic in (deployment.input_topic, deployment.repartition_topic)
        for record in cluster.read(topic)
    )


def open_transaction(deployment: Deployment, shard: int, role: str = "foreign") -> Producer:
    """Let a foreign producer open a transaction on a shard's changelog, and return it."""
    settings = deployment.cluster.settings
    foreign = Producer({**settings, "transactional.id": deployment.names.group(role)})
    foreign.init_transactions(20)
    foreign.begin_transaction()
    mark = json.dumps({"version": 1, "owner": "foreign"}).encode()
    send(foreign, deployment.changelog_topic, [NewRecord(mark, b"f:", shard)])
    return foreign


def on_partitions(partitions: Iterable[int], ids: Iterable[str]) -> list[NewRecord]:
    """Return a record of each id for each partition."""
    return [NewRecord(checkpoint(one), None, partition) for partition in partitions for one in ids]


def test_a_restart_needs_no_group_offsets(cluster: Cluster, names: Names) -> None:
    """With the group's offsets deleted a restart still knows every id and its place."""
    first, second = numbered_ids(150, "first"), numbered_ids(50, "second")
    with Deployment(cluster, names) as deployment:
        service = deployment.start()
        cluster.produce(deployment.input_topic, scattered(first))
        assert_exactly_once(cluster, names, first)
        assert service.terminate() == 0, service.tail()
        cluster.delete_group(deployment.group)
        assert cluster.group_offsets(deployment.group) == {}
        cluster.produce(deployment.input_topic, scattered([*first, *second]))
        again = deployment.restart(service)
        assert_exactly_once(cluster, names, [*first, *second])
        # It did not read the input again either: that would have cost nothing but time.
        lines = again.logged("transaction_committed")
        consumed = sum(line["consumed"] - line["forwarded"] for line in lines)
        assert consumed <= len(first) + len(second)


def test_group_offsets_stand_at_the_end_of_what_is_handled(cluster: Cluster, names: Names) -> None:
    """A lag tool counts no record soon after the last one was handled, and none after the end."""
    ids = numbered_ids(200)
    with Deployment(cluster, names) as deployment:
        service = deployment.start()
        cluster.produce(deployment.input_topic, scattered(ids))
        cluster.produce(deployment.input_topic, scattered(ids[:50]))  # duplicates count as well
        wait_until_handled(cluster, names)
        assert_exactly_once(cluster, names, ids)
        committed = cluster.group_offsets(deployment.group)
        for partition, end in cluster.end_offsets(deployment.input_topic).items():
            assert committed[deployment.input_topic, partition] == end
        assert unhandled_records(cluster, deployment) == 0
        assert service.terminate() == 0, service.tail()
        assert unhandled_records(cluster, deployment) == 0


def test_a_restore_waits_behind_a_foreign_open_transaction(cluster: Cluster, names: Names) -> None:
    """While a transaction hides committed ids a shard says so and waits; then it misses none."""
    shard = 1
    first, hidden, new = (numbered_ids(90, name) for name in ("first", "hidden", "new"))
    with Deployment(cluster, names) as deployment:
        service = deployment.start("one")
        cluster.produce(deployment.input_topic, scattered(first))
        assert_exactly_once(cluster, names, first)
        foreign = open_transaction(deployment, shard)
        cluster.produce(deployment.input_topic, scattered(hidden))
        assert_exactly_once(cluster, names, [*first, *hidden])
        service.kill()

        cluster.produce(deployment.input_topic, scattered([*first, *hidden, *new]))
        again = deployment.restart(service)
        line = again.wait_for_log("restore_waiting", shard=shard)
        assert line["position"] <= line["barrier_offset"]
        wait_until(lambda: again.running_shards() == {0, 2}, what="the other shards")
        visible = [r for r in cluster.read(deployment.ready_topic) if event_id(r) in new]
        assert shard not in {shard_of(record) for record in visible}

        foreign.commit_transaction(20)
        again.wait_for_log("task_state", shard=shard, state="running")
        records = assert_exactly_once(cluster, names, [*first, *hidden, *new])
        assert shard in {shard_of(record) for record in records if event_id(record) in new}


def test_a_shard_that_starts_after_its_siblings_published(cluster: Cluster, names: Names) -> None:
    """The very first start of a shard is not refused because the others have events already."""
    late, ids = 1, numbered_ids(90)
    with Deployment(cluster, names) as deployment:
        foreign = open_transaction(deployment, late)
        service = deployment.start()
        cluster.produce(deployment.input_topic, scattered(ids))
        for shard in (0, 2):
            service.wait_for_log("checkpoint_ready", shard=shard)
        assert service.running_shards() == {0, 2}
        foreign.commit_transaction(20)
        service.wait_for_log("task_state", shard=late, state="running")
        assert_exactly_once(cluster, names, ids)


def test_new_input_partitions_are_read_from_their_beginning(cluster: Cluster, names: Names) -> None:
    """Partitions added while it runs or is down are read whole, also under `latest`."""
    first, second, third = (numbered_ids(60, name) for name in ("first", "second", "third"))
    with Deployment(
        cluster, names, DISCOVERY_INTERVAL_MS=200, AUTO_OFFSET_RESET="latest"
    ) as deployment:
        service = deployment.start("one")
        deployment.wait_until_running(SHARDS, service)
        cluster.produce(deployment.input_topic, scattered(first))
        assert_exactly_once(cluster, names, first)
        service.pause()  # so that it cannot see the partitions before their records
        cluster.add_partitions(deployment.input_topic, 6)
        cluster.produce(deployment.input_topic, on_partitions(range(3, 6), [*first, *second]))
        service.resume()
        assert_exactly_once(cluster, names, [*first, *second])
        service.kill()
        cluster.add_partitions(deployment.input_topic, 8)
        cluster.produce(deployment.input_topic, on_partitions(range(6, 8), [*second, *third]))
        deployment.restart(service)
        assert_exactly_once(cluster, names, [*first, *second, *third])


def test_latest_skips_only_what_is_older_than_the_first_start(
    cluster: Cluster, names: Names
) -> None:
    """`latest` picks where a group begins; later starts go on where the changelog says."""
    old, new, meanwhile = (numbered_ids(40, name) for name in ("old", "new", "meanwhile"))
    with Deployment(cluster, names, AUTO_OFFSET_RESET="latest") as deployment:
        cluster.produce(deployment.input_topic, scattered(old))
        service = deployment.start()
        deployment.wait_until_running(SHARDS, service)
        cluster.produce(deployment.input_topic, scattered(new))
        assert_exactly_once(cluster, names, new)
        assert service.terminate() == 0, service.tail()
        cluster.produce(deployment.input_topic, scattered(meanwhile))
        deployment.restart(service)
        assert_exactly_once(cluster, names, [*new, *meanwhile])


async def batch_starts(cluster: Cluster, last: Mapping[int, int], topic: str) -> dict[int, int]:
    """Return the first offset of the batch that holds each of these last offsets."""
    variables = {f"{PREFIX}BOOTSTRAP_SERVERS": cluster.bootstrap_servers}
    kafka = AioKafka.of(Settings.load(variables))
    reader = kafka.reader("batch-starts", topics=[topic], max_message_bytes=2**20)
    starts: dict[int, int] = {}
    try:
        await reader.start()
        reader.assign({Partition(topic, partition): offset for partition, offset in last.items()})
        deadline = time.monotonic() + READ_SECONDS
        while starts.keys() != last.keys():
            assert time.monotonic() < deadline, f"read {starts} only"
            for place, records in (await reader.fetch(100, 1000)).items():
                starts[place.partition] = records.batch_start
    finally:
        await reader.close()
    return starts


def test_handled_forwards_are_trimmed_and_a_restart_finds_its_place(
    cluster: Cluster, names: Names
) -> None:
    """The repartition topic keeps only the batch of its last record, and a restart goes on.

    A log start within a batch would let a returning replica fail for ever.
    """
    first, second = numbered_ids(150, "first"), numbered_ids(50, "second")
    with Deployment(cluster, names, TRIM_INTERVAL_MS=200) as deployment:
        service = deployment.start("one")
        cluster.produce(deployment.input_topic, scattered(first))
        assert_exactly_once(cluster, names, first)
        last = {r.partition: r.offset for r in cluster.read(deployment.repartition_topic)}
        kept = asyncio.run(batch_starts(cluster, last, deployment.repartition_topic))
        assert len(kept) == SHARDS
        assert kept != last, "each last batch has a single record: the test shows nothing"
        wait_until(
            lambda: log_starts(cluster, deployment.repartition_topic) == kept,
            what=f"log starts at {kept}",
        )
        service.kill()
        cluster.produce(deployment.input_topic, scattered([*first, *second]))
        deployment.restart(service)
        assert_exactly_once(cluster, names, [*first, *second])


def test_a_ready_topic_that_grows_is_taken_over(cluster: Cluster, names: Names) -> None:
    """New output partitions are used as soon as they are noticed, and no task fails for it."""
    with Deployment(cluster, names) as deployment:
        service = deployment.start(DISCOVERY_INTERVAL_MS=100)
        deployment.wait_until_running(SHARDS, service)
        before = cluster.partitions(deployment.ready_topic)
        cluster.add_partitions(deployment.ready_topic, before + 20)
        ids: list[str] = []

        def is_spread() -> bool:
            wave = numbered_ids(12, f"wave{len(ids)}")
            ids.extend(wave)
            records = [
                NewRecord(checkpoint(one, job=f"ftjob-{one}"), b"k", number % SHARDS)
                for number, one in enumerate(wave)
            ]
            cluster.produce(deployment.input_topic, records)
            wait_until_handled(cluster, names)
            used = {record.partition for record in cluster.read(deployment.ready_topic)}
            return max(used) >= before

        wait_until(is_spread, what="events on the new partitions")
        assert_exactly_once(cluster, names, ids)
        assert not service.logged("task_failed")
