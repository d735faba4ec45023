"""Traps of time: sources stamped long ago or far ahead, beside the broker's own rules for time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from confluent_kafka import Producer

from tests.integration.test_restore import log_starts
from tests.support.deployment import Deployment
from tests.support.records import NewRecord, checkpoint, numbered_ids, send
from tests.support.verdicts import assert_exactly_once, event_id
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.topics import Names

REQUEST_SECONDS = 20.0
DAY_MS = 24 * 3600 * 1000
LAST_MONTH_MS, NEXT_WEEK_MS = -30 * DAY_MS, 7 * DAY_MS
# A broker takes no time of a producer that lies more than an hour ahead, unless told to.
ANY_TIME = {"message_timestamp_after_max_ms": str(2**62)}


def now_ms() -> int:
    """Return the time of day."""
    return time.time_ns() // 1_000_000


def stamped(ids: list[str], offset_ms: int) -> list[NewRecord]:
    """Return a record of each id, stamped so far from now."""
    timestamp_ms = now_ms() + offset_ms
    return [NewRecord(checkpoint(one), b"k", 0, timestamp_ms=timestamp_ms) for one in ids]


def test_retention_does_not_take_events_for_the_age_of_their_source(
    tidying_cluster: Cluster, names: Names
) -> None:
    """Events of last month's records outlive a retention of an hour, and next week's are taken.

    A topic beside it that keeps the producers' times loses the same records at once.
    """
    cluster, began_ms = tidying_cluster, now_ms()
    old, ahead = numbered_ids(20, "old"), numbered_ids(20, "ahead")
    hourly = {"retention_ms": str(3600 * 1000), "segment_ms": "1"}
    with Deployment(cluster, names, input_partitions=1, SHARDS=1) as deployment:
        beside = names.topic("beside")
        cluster.create_topics({beside: 1})
        cluster.set_config(beside, **hourly, **ANY_TIME)
        cluster.set_config(deployment.ready_topic, **hourly)
        # The input must not lose them before they are read.
        cluster.set_config(deployment.input_topic, retention_ms="-1", **ANY_TIME)
        service = deployment.start()
        for records in (stamped(old, LAST_MONTH_MS), stamped(ahead, NEXT_WEEK_MS)):
            cluster.produce(deployment.input_topic, records)
            cluster.produce(beside, records)
        events = assert_exactly_once(cluster, names, [*old, *ahead])
        wait_until(lambda: log_starts(cluster, beside)[0] >= len(old), what="the deletion beside")
        left = {event_id(record) for record in cluster.read(deployment.ready_topic)}
        assert left == {*old, *ahead}
        assert all(began_ms <= event.timestamp_ms <= now_ms() for event in events)
        assert not service.logged("task_failed")


def test_times_ahead_do_not_run_the_window_ahead(cluster: Cluster, names: Names) -> None:
    """With a window of a day a record from next week makes nobody forget today's ids.

    Nor is an id remembered the shorter for being stamped last month.
    """
    today, old, ahead, last = (numbered_ids(5, name) for name in ("today", "old", "ahead", "last"))
    published = [*today, *old, *ahead]
    with Deployment(
        cluster, names, input_partitions=1, SHARDS=1, DEDUP_WINDOW_SECONDS=DAY_MS // 1000
    ) as deployment:
        cluster.set_config(deployment.input_topic, **ANY_TIME)
        service = deployment.start("one")
        for ids, offset_ms in ((today, 0), (old, LAST_MONTH_MS), (ahead, NEXT_WEEK_MS)):
            cluster.produce(deployment.input_topic, stamped(ids, offset_ms))
        cluster.produce(deployment.input_topic, stamped(published, 0))
        assert_exactly_once(cluster, names, published)
        service.kill()
        again = deployment.restart(service)
        for offset_ms in (NEXT_WEEK_MS, LAST_MONTH_MS, 0):
            cluster.produce(deployment.input_topic, stamped(published, offset_ms))
        cluster.produce(deployment.input_topic, stamped(last, 0))
        assert_exactly_once(cluster, names, [*published, *last])
        assert not any(line["expired"] for line in again.logged("transaction_committed"))


def test_records_that_expire_before_a_running_shard_reads_them(
    cluster: Cluster, names: Names
) -> None:
    """Gone while the process stood still: their number is logged, what is left is published."""
    before, gone, left = (numbered_ids(5, name) for name in ("before", "gone", "left"))
    with Deployment(cluster, names, input_partitions=1, SHARDS=1) as deployment:
        service = deployment.start()
        cluster.produce(deployment.input_topic, stamped(before, 0))
        assert_exactly_once(cluster, names, before)
        # Records of an open transaction are not given to the fetch that waits at the broker.
        producer = Producer({**cluster.settings, "transactional.id": names.group("source")})
        producer.init_transactions(REQUEST_SECONDS)
        service.pause()
        producer.begin_transaction()
        send(producer, deployment.input_topic, stamped([*gone, *left], 0))
        cluster.delete_records(deployment.input_topic, {0: len(before) + len(gone)})
        producer.commit_transaction(REQUEST_SECONDS)
        service.resume()
        lost = service.wait_for_log("unread_input_lost")
        assert (lost["records"], lost["level"]) == (len(gone), "error")
        assert_exactly_once(cluster, names, [*before, *left])
        assert len(service.logged("unread_input_lost")) == 1
