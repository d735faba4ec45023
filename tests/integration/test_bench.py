"""The benchmarks run: with few events each measures something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.restore import measure_restore
from bench.service import BenchService
from bench.throughput import measure_throughput

if TYPE_CHECKING:
    from tests.support.cluster import Cluster

IDS, EVENTS = 2_000, 2_000


def test_a_restore_is_measured(cluster: Cluster) -> None:
    """One shard restores all ids that the benchmark wrote to its changelog."""
    figures = measure_restore(cluster.bootstrap_servers, ids=IDS)
    assert figures["ids"] == IDS


def test_throughput_is_measured(cluster: Cluster) -> None:
    """One process publishes the distinct ids of a small backlog."""
    with BenchService(cluster.bootstrap_servers, "throughput", start=False) as service:
        figures = measure_throughput(service, events=EVENTS, spread=True)
    assert figures["source_events"] == EVENTS
