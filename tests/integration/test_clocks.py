"""A process whose clock is wrong: no shard stops for it, and no id is forgotten too early."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

import pytest

from consumer.shard.changelog import read_id_entry
from consumer.shard.watermark import NOTHING_KNOWN_MS, is_announcement
from tests.integration.skewed_service import skewed
from tests.support.deployment import Deployment
from tests.support.records import NewRecord, checkpoint, ids_at_home
from tests.support.verdicts import assert_exactly_once, wait_until_handled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.topics import Names

DAY_SECONDS = 24 * 3600
WINDOW_SECONDS = 40  # every two seconds an announcement, and a grace of four
SHARDS = 2
ANNOUNCEMENT = struct.Struct(">iq")
ROUNDS = 2
# Of two clocks that are right: how far a loaded machine may be late.
MARGIN_MS = 60_000


def announcements(cluster: Cluster, deployment: Deployment, since: int) -> dict[int, list[int]]:
    """Return what each shard has announced in partition 0 from this offset on, in milliseconds."""
    found: dict[int, list[int]] = {shard: [] for shard in range(SHARDS)}
    for record in cluster.read(deployment.repartition_topic):
        if record.partition == 0 and record.offset >= since and is_announcement(record.headers):
            shard, watermark_ms = ANNOUNCEMENT.unpack(record.headers[-1][1] or b"")
            if watermark_ms != NOTHING_KNOWN_MS:
                found[shard].append(watermark_ms)
    return found


def entered_at_ms(cluster: Cluster, deployment: Deployment) -> dict[str, int]:
    """Return the stream time of every id that a restore of the changelog would find."""
    entries: dict[bytes, bytes | None] = {}
    for record in cluster.read(deployment.changelog_topic):
        if record.key is not None and record.key.startswith(b"i:"):
            entries[record.key] = record.value
    found = [read_id_entry(value) for value in entries.values() if value is not None]
    return {entry.id: entry.stream_time_ms for entry in found}


@pytest.mark.parametrize(
    "clock",
    [(DAY_SECONDS,), (-DAY_SECONDS,), (0, DAY_SECONDS, 3.0)],
    ids=["ahead", "behind", "jumps"],
)
def test_a_wrong_clock_of_one_process_changes_nothing(
    cluster: Cluster, names: Names, clock: tuple[int, ...]
) -> None:
    """Ids stay remembered for the window by the brokers' time, also when that process has gone.

    Brokers refuse records from the future (KIP-937): what the service writes never is one.
    """
    ids = [one for shard in range(SHARDS) for one in ids_at_home(shard, SHARDS, 20)]
    records = [NewRecord(checkpoint(one)) for one in ids]
    with Deployment(
        cluster, names, input_partitions=2, SHARDS=SHARDS, DEDUP_WINDOW_SECONDS=WINDOW_SECONDS
    ) as deployment:
        right = deployment.start("right")
        wrong = deployment.start("wrong", command=skewed(*clock))
        deployment.wait_until_running(SHARDS, right, wrong)
        cluster.produce(deployment.input_topic, records)
        assert_exactly_once(cluster, names, ids)

        def settle(fresh: list[str]) -> None:
            """Wait until every shard has announced twice more, and decided after that."""
            begin = cluster.end_offsets(deployment.repartition_topic)[0]
            wait_until(
                lambda: all(
                    len(each) >= ROUNDS
                    for each in announcements(cluster, deployment, begin).values()
                ),
                what="two announcements of every shard",
            )
            ids.extend(fresh)
            cluster.produce(deployment.input_topic, [NewRecord(checkpoint(one)) for one in fresh])
            wait_until_handled(cluster, names)

        settle([one for shard in range(SHARDS) for one in ids_at_home(shard, SHARDS, 1, "later")])
        assert wrong.terminate() == 0
        deployment.wait_until_running(SHARDS, right)
        settle([one for shard in range(SHARDS) for one in ids_at_home(shard, SHARDS, 1, "last")])
        now_ms = time.time_ns() // 1_000_000
        for announced in announcements(cluster, deployment, 0).values():
            assert now_ms - MARGIN_MS < min(announced)
            assert max(announced) < now_ms
        entered = entered_at_ms(cluster, deployment)
        assert set(entered) == set(ids)
        assert all(abs(now_ms - entered_ms) < MARGIN_MS for entered_ms in entered.values())
        cluster.produce(deployment.input_topic, records)
        assert_exactly_once(cluster, names, ids)
        assert not wrong.logged("task_failed")
