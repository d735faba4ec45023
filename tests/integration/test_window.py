"""A dedup window: what lies within it is published once, what has left it is forgotten."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.integration.events import (
    assert_exactly_once,
    checkpoint,
    event_id,
    numbered_ids,
    wait_until_handled,
)
from tests.integration.new_record import NewRecord
from tests.integration.service import Deployment
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.integration.cluster import Cluster, Names

WINDOW_SECONDS = 20
BACKLOG_SECONDS = 600
PARTITIONS = 6
FORGOTTEN_SECONDS = 60.0


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
    now_ms = time.time_ns() // 1_000_000
    ids = numbered_ids(60)
    step_ms = BACKLOG_SECONDS * 1000 // len(ids)
    backlog = []
    for number, one in enumerate(ids):
        sent_ms = now_ms - BACKLOG_SECONDS * 1000 + number * step_ms
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
