"""The metrics of a running service equal what happened, and its lag is correct."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.deployment import Deployment
from tests.support.http_client import start_observed
from tests.support.records import NewRecord, checkpoint, ids_at_home, numbered_ids, scattered
from tests.support.verdicts import assert_exactly_once, wait_until_handled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.http_client import Observed
    from tests.support.topics import Names


def test_counters_equal_what_happened(cluster: Cluster, names: Names) -> None:
    """A record counts in its input topic, and a forwarded one again in the repartition topic."""
    ids = numbered_ids(60)
    with Deployment(cluster, names) as deployment:
        seen = start_observed(deployment)
        deployment.wait_until_running(3, seen.service)
        cluster.produce(deployment.input_topic, scattered(ids))
        wait_until_handled(cluster, names)
        repeats = [*scattered(ids[:20]), NewRecord(b"no json"), NewRecord(b"neither")]
        repeats.append(NewRecord(checkpoint(ids[0], step_number=7), b"conflict"))
        cluster.produce(deployment.input_topic, repeats)
        assert_exactly_once(cluster, names, ids)
        forwards = sum(cluster.end_offsets(deployment.repartition_topic).values())
        # A transaction without output is deferred for at most five seconds.
        wait_until(lambda: seen.metric("duplicates_total", kind="same") == 20)
        assert seen.metric("consumed_records_total", topic=deployment.input_topic) == 83
        forwarded = seen.metric("forwarded_records_total")
        again = seen.metric("consumed_records_total", topic=deployment.repartition_topic)
        assert forwarded == again
        assert 0 < (forwarded or 0) < forwards  # which has markers too
        assert seen.metric("published_events_total") == 60
        assert seen.metric("duplicates_total", kind="conflicting") == 1
        assert seen.metric("dead_letters_total", reason="malformed_json") == 2
        assert seen.metric("dead_letters_total", reason="conflicting_duplicate") == 1
        assert seen.metric("transactions_total", outcome="failed") == 0
        logged = len(seen.service.logged("transaction_committed"))
        assert seen.metric("transactions_total", outcome="committed") == logged
        assert seen.metric("transaction_seconds_count") == logged
        assert seen.metric("end_to_end_seconds_count") == 60
        assert seen.metric("end_to_end_seconds_bucket", le="60.0") == 60
        assert seen.metric("freshness_seconds_bucket", le="86400.0") == 0  # they are years old
        assert seen.metric("freshness_seconds_count") == 60
        assert seen.metric("rebalances_total") == 1
        assert sum(_entries(seen, shard) for shard in range(3)) == 60
        variants = [seen.metric("state_variants", shard=str(shard)) for shard in range(3)]
        assert sum(one or 0 for one in variants) == 1
        assert seen.metric("shards", state="running") == 3
        assert (seen.metric("process_resident_memory_bytes") or 0) > 1_000_000


def test_markers_at_the_end_are_no_lag(cluster: Cluster, names: Names) -> None:
    """A producer's commit writes a marker after its records; with all records handled, lag is 0."""
    with Deployment(cluster, names) as deployment:
        records = [NewRecord(checkpoint(one), b"k", 0) for one in ids_at_home(0, 3, 5)]
        cluster.produce(deployment.input_topic, records, transactional_id=f"{names.prefix}-tx")
        wait_until(lambda: cluster.end_offsets(deployment.input_topic)[0] == 6)
        seen = start_observed(deployment)
        deployment.wait_until_running(3, seen.service)
        wait_until(lambda: seen.metric("published_events_total") == 5)
        for partition in ("0", "1", "2"):
            for topic in (deployment.input_topic, deployment.repartition_topic):
                labels = {"topic": topic, "partition": partition}
                wait_until(lambda labels=labels: seen.metric("lag_records", **labels) == 0)  # type: ignore[misc]


def test_a_partition_that_is_not_read_lags(cluster: Cluster, names: Names) -> None:
    """A shard that must not run reads nothing: new records are its lag, and /readyz names it."""
    with Deployment(cluster, names) as deployment:
        with_offsets = start_observed(deployment)
        deployment.wait_until_running(3, with_offsets.service)
        cluster.produce(
            deployment.input_topic,
            [NewRecord(checkpoint(one), b"k", 1) for one in ids_at_home(1, 3, 4)],
        )
        wait_until_handled(cluster, names)
        with_offsets.service.terminate()
        # Shard 1 loses its changelog's beginning, which it must refuse.
        cluster.set_config(deployment.changelog_topic, cleanup_policy="delete")
        cluster.delete_records(deployment.changelog_topic, {1: 1})
        cluster.set_config(deployment.changelog_topic, cleanup_policy="compact")
        seen = start_observed(deployment)
        seen.service.wait_for_log("shard_refused", shard=1)
        cluster.produce(
            deployment.input_topic,
            [NewRecord(checkpoint(one), b"k", 1) for one in ids_at_home(1, 3, 7, "late")],
        )
        labels = {"topic": deployment.input_topic, "partition": "1"}
        wait_until(lambda: seen.metric("lag_records", **labels) == 7)
        assert seen.metric("shards", state="refused") == 1
        assert seen.metric("restore_progress_ratio", shard="1") is None
        assert seen.metric("restore_progress_ratio", shard="0") == 1
        assert seen.metric("shards", state="running") == 2
        ready = seen.get("/readyz")
        assert ready.status == 503
        assert "shard 1 must not run: " in ready.text
        assert seen.status("/livez") == 200
        assert seen.status("/startupz") == 200
        # The recreated topic ends before the committed offsets of the group.
        cluster.delete_topics(deployment.input_topic)
        cluster.create_topics({deployment.input_topic: 3})
        cluster.produce(
            deployment.input_topic,
            [NewRecord(checkpoint(one), b"k", 1) for one in ids_at_home(1, 3, 2, "recreated")],
        )
        wait_until(lambda: seen.metric("lag_records", **labels) == 2)


def test_a_takeover_is_counted(cluster: Cluster, names: Names) -> None:
    """A process whose shard another producer takes over counts a fence and a fenced transaction."""
    with Deployment(cluster, names) as deployment:
        seen = start_observed(deployment)
        deployment.wait_until_running(3, seen.service)
        ids = ids_at_home(0, 3, 1)
        cluster.produce(
            deployment.repartition_topic.replace(".repartition", ".changelog"),
            [],
            transactional_id=f"{deployment.group}-0",
        )
        cluster.produce(deployment.input_topic, [NewRecord(checkpoint(ids[0]), b"k", 0)])
        wait_until(lambda: seen.metric("fences_total") == 1)
        assert seen.metric("transactions_total", outcome="fenced") == 1
        assert_exactly_once(cluster, names, ids)


def _entries(seen: Observed, shard: int) -> float:
    return seen.metric("state_entries", shard=str(shard)) or 0
