"""Two producers under one transactional id: only one of them writes, and the shard goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from confluent_kafka import Producer

from tests.support.deployment import Deployment
from tests.support.figures import show
from tests.support.records import NewRecord, checkpoint, ids_at_home
from tests.support.stream import Stream
from tests.support.verdicts import assert_exactly_once, shard_of
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    import pytest

    from tests.support.cluster import Cluster
    from tests.support.topics import Names

SHARDS = 3
SESSION_TIMEOUT_MS = 2000
FENCED_SECONDS = 10.0


def test_a_zombie_writes_nothing_visible(cluster: Cluster, names: Names) -> None:
    """A process frozen beyond its session loses its shards; awake it is fenced and rejoins."""
    with Deployment(cluster, names, SESSION_TIMEOUT_MS=SESSION_TIMEOUT_MS) as deployment:
        with Stream(cluster, deployment.input_topic, pause_ms=4) as stream:
            zombie, heir = deployment.start(), deployment.start()
            deployment.wait_until_running(SHARDS, zombie, heir)
            stream.wait_for_more(50)
            zombie.pause()
            wait_until(lambda: len(heir.running_shards()) == SHARDS, what="the heir's shards")
            stream.wait_for_more(50)
            lines = len(zombie.lines)
            zombie.resume()
            zombie.wait_for_log("task_fenced", after=lines)
            deployment.wait_until_running(SHARDS, zombie, heir)
            stream.wait_for_more(50)
        assert_exactly_once(cluster, names, stream.ids)


def test_a_foreign_producer_fences_a_shard_only_for_a_moment(
    cluster: Cluster, names: Names, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shard whose transactional id is taken over starts anew by itself and publishes on."""
    shard = 1
    with Deployment(cluster, names) as deployment:
        service = deployment.start()
        deployment.wait_until_running(SHARDS, service)
        with Stream(cluster, deployment.input_topic, shards=SHARDS) as stream:
            service.wait_for_log("transaction_committed", shard=shard)
            lines = len(service.lines)
            fenced_at = time.monotonic()
            transactional_id = f"{deployment.group}-{shard}"
            Producer({**cluster.settings, "transactional.id": transactional_id}).init_transactions(
                20
            )
            service.wait_for_log("task_fenced", after=lines, shard=shard)
            lines = len(service.lines)
            service.wait_for_log("transaction_committed", FENCED_SECONDS, after=lines, shard=shard)
            seconds = time.monotonic() - fenced_at
            show(capsys, f"fenced by a foreign producer, publishes again after {seconds:.2f} s")
        assert_exactly_once(cluster, names, stream.ids)
        assert service.running_shards() == frozenset(range(SHARDS))


def test_a_fenced_shard_at_rest_handles_the_next_record(cluster: Cluster, names: Names) -> None:
    """Fenced while idle, it notices with the next record, and that record is not lost."""
    shard = 0
    with Deployment(cluster, names) as deployment:
        service = deployment.start()
        deployment.wait_until_running(SHARDS, service)
        foreign = {**cluster.settings, "transactional.id": f"{deployment.group}-{shard}"}
        Producer(foreign).init_transactions(20)
        one = ids_at_home(shard, SHARDS, 1)[0]
        cluster.produce(deployment.input_topic, [NewRecord(checkpoint(one), None, shard)])
        service.wait_for_log("task_fenced", shard=shard)
        records = assert_exactly_once(cluster, names, [one])
        assert [shard_of(record) for record in records] == [shard]


def test_twins_under_one_instance_id_are_named(cluster: Cluster, names: Names) -> None:
    """Two processes that share a GROUP_INSTANCE_ID by mistake end with a line; no id suffers."""
    with Deployment(cluster, names) as deployment:
        with Stream(cluster, deployment.input_topic) as stream:
            first = deployment.start("twin")
            deployment.wait_until_running(SHARDS, first)
            stream.wait_for_more(20)
            second = deployment.start("twin")
            wait_until(lambda: first.has_ended or second.has_ended, 30, what="the end of a twin")
            ended = first if first.has_ended else second
            assert "the same CHECKPOINT_READY_GROUP_INSTANCE_ID (twin)" in ended.tail()
            second.kill()
            first.kill()
            stream.wait_for_more(20)
            deployment.start("twin")
            stream.wait_for_more(20)
        assert_exactly_once(cluster, names, stream.ids)
