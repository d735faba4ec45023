"""Processes share the shards: one joins, leaves, or is started again in place."""

from __future__ import annotations

import math
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.support.deployment import Deployment
from tests.support.figures import show
from tests.support.stream import Stream
from tests.support.verdicts import assert_exactly_once, shard_of

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.reader import Record
    from tests.support.service_process import ServiceProcess
    from tests.support.topics import Names

SHARDS = 6
SESSION_TIMEOUT_SECONDS = 10.0  # the default
STOP_SECONDS = 10.0
PAUSE_SECONDS = 2.0


def owners(*services: ServiceProcess) -> dict[int, int]:
    """Return which of the processes runs each shard."""
    return {
        shard: number
        for number, service in enumerate(services)
        for shard in service.running_shards()
    }


def gaps_seconds(records: list[Record]) -> dict[int, float]:
    """Return the longest time between two events of each shard, by the broker's clock."""
    times: dict[int, list[int]] = {}
    for record in records:
        times.setdefault(shard_of(record), []).append(record.timestamp_ms)
    return {
        shard: max(later - sooner for sooner, later in pairwise(sorted(stamps))) / 1000
        for shard, stamps in times.items()
    }


def test_a_third_process_moves_only_a_third(
    cluster: Cluster, names: Names, capsys: pytest.CaptureFixture[str]
) -> None:
    """When a third joins about a third of the shards move, and the others publish on."""
    with Deployment(cluster, names, input_partitions=SHARDS) as deployment:
        pair = deployment.start(), deployment.start()
        deployment.wait_until_running(SHARDS, *pair)
        before = owners(*pair)
        with Stream(cluster, deployment.input_topic, pause_ms=8, shards=SHARDS) as stream:
            stream.wait_for_more(100)
            lines = [len(service.lines) for service in pair]
            third = deployment.start()
            deployment.wait_until_running(SHARDS, *pair, third)
            after = owners(*pair, third)
            stream.wait_for_more(100)
        moved = {shard for shard in before if before[shard] != after[shard]}
        kept = before.keys() - moved
        assert 1 <= len(moved) <= math.ceil(SHARDS / 3) + 1
        for shard in kept:
            number = before[shard]
            assert not pair[number].logged("task_state", after=lines[number], shard=shard)
        gaps = gaps_seconds(assert_exactly_once(cluster, names, stream.ids))
        longest = {
            what: max(gaps[shard] for shard in shards)
            for what, shards in (("kept", kept), ("moved", moved))
        }
        show(capsys, f"{len(moved)} of {SHARDS} shards moved; longest pause in seconds: {longest}")
        assert longest["kept"] < PAUSE_SECONDS


@pytest.mark.parametrize("instance", ["", "pod"], ids=["dynamic", "static"])
def test_sigterm_ends_in_order_and_leaves_the_group(
    cluster: Cluster, names: Names, instance: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGTERM: exit 0 within 10 s, no member is left, and the other process takes over at once."""
    instances = [instance and f"{instance}-{number}" for number in range(2)]
    with Deployment(cluster, names) as deployment:
        leaving, staying = (deployment.start(one) for one in instances)
        with Stream(cluster, deployment.input_topic) as stream:
            deployment.wait_until_running(3, leaving, staying)
            stream.wait_for_more(20)
            began = time.monotonic()
            assert leaving.terminate(STOP_SECONDS) == 0, leaving.tail()
            stop_seconds = time.monotonic() - began
            assert len(cluster.group_members(deployment.group)) == 1
            deployment.wait_until_running(3, staying, deadline_seconds=SESSION_TIMEOUT_SECONDS / 2)
            taken_seconds = time.monotonic() - began - stop_seconds
            stream.wait_for_more(20)
        show(
            capsys, f"SIGTERM to exit {stop_seconds:.2f} s, taken over {taken_seconds:.2f} s later"
        )
        assert_exactly_once(cluster, names, stream.ids)
        assert staying.terminate(STOP_SECONDS) == 0, staying.tail()
        assert cluster.group_members(deployment.group) == []
        assert "Traceback" not in leaving.tail() + staying.tail()


def test_a_static_member_is_back_at_once_after_sigkill(
    cluster: Cluster, names: Names, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed and started again under the same GROUP_INSTANCE_ID, its shards soon publish again."""
    with (
        Deployment(cluster, names) as deployment,
        cluster.subscriber(deployment.ready_topic) as subscriber,
    ):
        killed, other = deployment.start("pod-0"), deployment.start("pod-1")
        deployment.wait_until_running(3, killed, other)
        shards = killed.running_shards()
        with Stream(cluster, deployment.input_topic, shards=3) as stream:
            killed.wait_for_log("transaction_committed")
            began = time.monotonic()
            killed.kill()
            subscriber.read_available()  # not to the end: the killed process left it open
            start = len(subscriber.records)
            # Events of the killed process can arrive late; the brokers set the times of all events.
            restarted_ms = time.time() * 1000
            again = deployment.restart(killed)
            restarted_at = time.monotonic()
            while not shards <= {
                shard_of(record)
                for record in subscriber.records[start:]
                if record.timestamp_ms > restarted_ms
            }:
                assert time.monotonic() - began < SESSION_TIMEOUT_SECONDS, again.tail()
                subscriber.read_available(0.02)
            seconds = time.monotonic() - restarted_at
        show(capsys, f"restart in place: shards publish again after {seconds:.2f} s")
        assert again.running_shards() == shards
        assert_exactly_once(cluster, names, stream.ids)
