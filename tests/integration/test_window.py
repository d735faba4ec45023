"""A dedup window: what lies within it is published once, what has left it is forgotten."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from confluent_kafka import Producer

from tests.support.deployment import Deployment
from tests.support.records import NewRecord, checkpoint, numbered_ids
from tests.support.verdicts import assert_exactly_once, event_id, wait_until_handled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.topics import Names

WINDOW_SECONDS = 10
BACKLOG_SECONDS = 600
PARTITIONS = 6
FORGOTTEN_SECONDS = 60.0
SHORT_WINDOW_SECONDS = 5
LONGER_SECONDS = 8.0
FILLING = 3000
REQUEST_SECONDS = 30.0


def live_ids(cluster: Cluster, topic: str) -> int:
    """Return how many ids a restore of the changelog would find."""
    entries: dict[bytes, bytes | None] = {}
    for record in cluster.read(topic):
        if record.key is not None and record.key.startswith(b"i:"):
            entries[record.key] = record.value
    return sum(value is not None for value in entries.values())


def test_after_a_long_downtime_the_window_still_holds(cluster: Cluster, names: Names) -> None:
    """Copies a second apart on partitions of several shards are one event, later forgotten.

    The backlog is much longer than the window: reading one partition of it runs time far ahead of
    what another shard has yet to read and to forward.
    """
    ids = numbered_ids(60)
    step_ms = BACKLOG_SECONDS * 1000 // len(ids)
    backlog = []
    for number, one in enumerate(ids):
        sent_ms = now_ms() - BACKLOG_SECONDS * 1000 + number * step_ms
        for copy in range(3):
            partition = (number + copy) % PARTITIONS
            when_ms = sent_ms + copy * 1000
            backlog.append(NewRecord(checkpoint(one), None, partition, timestamp_ms=when_ms))
    with Deployment(
        cluster,
        names,
        input_partitions=PARTITIONS,
        SHARDS=3,
        DEDUP_WINDOW_SECONDS=WINDOW_SECONDS,
        MAX_TRANSACTION_RECORDS=7,
        DISCOVERY_INTERVAL_MS=500,  # the watermark never passes the last look at the topics
    ) as deployment:
        cluster.produce(deployment.input_topic, backlog)
        service = deployment.start()
        assert_exactly_once(cluster, names, ids)

        def is_forgotten() -> bool:
            # A decision writes the tombstones, so there must be something to decide.
            for partition in range(PARTITIONS):
                fresh = f"fresh_{time.monotonic_ns()}"
                cluster.produce(
                    deployment.input_topic, [NewRecord(checkpoint(fresh), None, partition)]
                )
                fresh_ids.append(fresh)
            wait_until_handled(cluster, names)
            return live_ids(cluster, deployment.changelog_topic) <= len(fresh_ids)

        fresh_ids: list[str] = []
        wait_until(is_forgotten, FORGOTTEN_SECONDS, what="tombstones of the whole backlog")
        assert_exactly_once(cluster, names, [*ids, *fresh_ids])
        # A window later the same id is a new event; restored, the memory says the same.
        service.kill()
        deployment.start()
        cluster.produce(deployment.input_topic, [NewRecord(checkpoint(one)) for one in ids])
        wait_until_handled(cluster, names)
        counts = Counter(map(event_id, cluster.read(deployment.ready_topic)))
        assert {counts[one] for one in ids} == {2}
        assert {counts[one] for one in fresh_ids} == {1}


def stamped(ids: list[str], when_ms: int, partition: int = 0) -> list[NewRecord]:
    """Return a record of each id with this time."""
    return [NewRecord(checkpoint(one), b"k", partition, timestamp_ms=when_ms) for one in ids]


def now_ms() -> int:
    """Return the time of day."""
    return time.time_ns() // 1_000_000


def small_steps(cluster: Cluster, names: Names, window_seconds: int) -> Deployment:
    """Return a deployment of one shard that reads a backlog in many transactions."""
    return Deployment(
        cluster,
        names,
        input_partitions=2,
        SHARDS=1,
        DEDUP_WINDOW_SECONDS=window_seconds,
        MAX_TRANSACTION_RECORDS=50,
        DISCOVERY_INTERVAL_MS=500,
    )


def test_a_freeze_longer_than_the_window(cluster: Cluster, names: Names) -> None:
    """What a frozen process knew of its inputs is old when it wakes: nothing is forgotten by it."""
    ids, filling = numbered_ids(50, "again"), numbered_ids(FILLING, "filling")
    with small_steps(cluster, names, SHORT_WINDOW_SECONDS) as deployment:
        service = deployment.start("one")
        deployment.wait_until_running(1, service)  # the window has to last for what follows
        cluster.produce(deployment.input_topic, stamped(ids, now_ms()))
        assert_exactly_once(cluster, names, ids)
        service.pause()
        frozen = time.monotonic()
        cluster.produce(deployment.input_topic, stamped(filling, now_ms()))
        cluster.produce(deployment.input_topic, stamped(ids, now_ms()))
        wait_until(lambda: time.monotonic() - frozen > LONGER_SECONDS, what="a long freeze")
        service.resume()
        assert_exactly_once(cluster, names, [*ids, *filling])


def test_one_clock_ahead_does_not_speak_for_a_backlog(cluster: Cluster, names: Names) -> None:
    """A record from the future among old ones makes nothing be forgotten that is still to come."""
    ids, filling = numbered_ids(50, "again"), numbered_ids(FILLING, "filling")
    with small_steps(cluster, names, 60) as deployment:
        began_ms = now_ms() - BACKLOG_SECONDS * 1000
        for records in (
            stamped(ids, began_ms),
            stamped(["ahead"], now_ms() + 1_800_000),
            stamped(filling, began_ms + 1000),
            stamped(ids, began_ms + 2000),
        ):
            cluster.produce(deployment.input_topic, records)
        deployment.start("one")
        assert_exactly_once(cluster, names, [*ids, "ahead", *filling])


def test_records_of_an_open_transaction_are_still_to_come(cluster: Cluster, names: Names) -> None:
    """A producer that leaves its transaction open for longer than the window holds it up."""
    ids, others = numbered_ids(50, "again"), list[str]()
    with small_steps(cluster, names, SHORT_WINDOW_SECONDS) as deployment:
        deployment.wait_until_running(1, deployment.start("one"))  # as above
        cluster.produce(deployment.input_topic, stamped(ids, now_ms()))
        assert_exactly_once(cluster, names, ids)
        producer = Producer({**cluster.settings, "transactional.id": names.group("producer")})
        producer.init_transactions(REQUEST_SECONDS)
        producer.begin_transaction()
        for record in stamped(ids, now_ms()):
            producer.produce(deployment.input_topic, record.value, record.key, 0)
        producer.flush(REQUEST_SECONDS)
        opened = time.monotonic()
        while time.monotonic() - opened < LONGER_SECONDS:
            others.append(f"other_{len(others)}")
            cluster.produce(deployment.input_topic, stamped(others[-1:], now_ms(), 1))
        producer.commit_transaction(REQUEST_SECONDS)
        assert_exactly_once(cluster, names, [*ids, *others])
