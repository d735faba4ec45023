"""The large replay of the benchmark in small: killed at random, beside a live stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.replay import measure_replay

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

RECORDS = 15_000
KILLS = 3


def test_a_replay_killed_at_random_is_exact_and_does_no_harm(cluster: Cluster) -> None:
    """Each id is in the target once and equals the live event; the live stream loses nothing.

    `python -m bench replay --events 1000000` shows the same in large.
    """
    figures = {
        str(found["measure"]): found
        for found in measure_replay(
            cluster.bootstrap_servers, records=RECORDS, kills=KILLS, alone_seconds=2.0
        )
    }
    assert figures["replay"]["kills"] == KILLS
    check = figures["replay_check"]
    assert (check["lost"], check["published_twice"], check["unlike_live"]) == (0, 0, 0)
    assert figures["live_stream"]["lost"] == 0
