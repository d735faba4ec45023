"""What the watch measures of the repartition topic, against an in-memory Kafka."""

from collections.abc import Sequence

import pytest
import structlog
from msgspec.structs import replace

from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.topic_settings import DAY_MS, MIN_REPARTITION_RETENTION_MS
from consumer.kafka.topics import check_topics
from consumer.kafka.types import TopicPartition
from consumer.shard.status import REFUSED, ShardStatus, TaskState
from consumer.worker.repartition_watch import RepartitionState, RepartitionWatch
from tests.support.fake_deployment import FakeDeployment
from tests.support.fake_log import NewRecord

SHARDS = 2
FORWARDS = 5
HANDLED = 3


async def watch_of(
    deployment: FakeDeployment, statuses: Sequence[ShardStatus], retention_ms: int | None
) -> RepartitionWatch:
    """Return a watch that has measured once."""
    admin = deployment.kafka.admin("watch")
    topology = replace(
        await check_topics(admin, deployment.settings), repartition_retention_ms=retention_ms
    )
    watch = RepartitionWatch(
        deployment.kafka, admin, deployment.settings, lambda: topology, lambda: statuses
    )
    await watch.measure()
    return watch


def running(deployment: FakeDeployment, shard: int, position: int) -> ShardStatus:
    """Return the status of a running shard that has read its forwards up to `position`."""
    place = TopicPartition(deployment.settings.repartition_topic, shard)
    return ShardStatus(shard, TaskState.RUNNING.value, positions={place: position})


async def forwarded(age_ms: int) -> FakeDeployment:
    """Return a deployment with forwards of this age in the partition of shard 0."""
    deployment = await FakeDeployment.create(shards=SHARDS)
    cluster = deployment.cluster
    cluster.now_ms = lambda: wall_clock_ms() - age_ms
    for _ in range(FORWARDS):
        cluster.produce(deployment.settings.repartition_topic, NewRecord(b"key", b"value"))
    return deployment


async def test_handled_forwards_are_counted_from_the_log_start() -> None:
    """Trimmed ones are not stored; without a retention limit no age is measured."""
    deployment = await forwarded(DAY_MS)
    place = TopicPartition(deployment.settings.repartition_topic, 0)
    await deployment.kafka.admin("trim").delete_records({place: 1})
    watch = await watch_of(
        deployment, [running(deployment, 0, HANDLED), running(deployment, 1, 0)], None
    )
    assert watch.states == {0: RepartitionState(HANDLED - 1), 1: RepartitionState(0)}
    assert watch.retention_seconds is None


async def test_the_age_is_that_of_the_oldest_unread_forward() -> None:
    """A shard that has read everything has the age 0."""
    deployment = await forwarded(DAY_MS)
    statuses = [running(deployment, 0, HANDLED), running(deployment, 1, 0)]
    watch = await watch_of(deployment, statuses, MIN_REPARTITION_RETENTION_MS)
    assert watch.states[0].unread_seconds == pytest.approx(DAY_MS / 1000, abs=60)
    assert watch.states[1].unread_seconds == 0.0
    statuses[0] = running(deployment, 0, FORWARDS)
    await watch.measure()
    assert watch.states[0].unread_seconds == 0.0


async def test_a_shard_that_does_not_run_is_measured_from_its_group_offset() -> None:
    """Its forwards get old, too; without a group offset it has read nothing."""
    deployment = await forwarded(DAY_MS)
    statuses = [ShardStatus(0, REFUSED)]
    watch = await watch_of(deployment, statuses, MIN_REPARTITION_RETENTION_MS)
    assert watch.states[0].unread_seconds == pytest.approx(DAY_MS / 1000, abs=60)
    place = TopicPartition(deployment.settings.repartition_topic, 0)
    deployment.cluster.group_offsets[deployment.settings.group_id] = {place: FORWARDS}
    await watch.measure()
    assert watch.states[0] == RepartitionState(FORWARDS, 0.0)


@pytest.mark.parametrize(("age_days", "is_said"), [(6, False), (8, True)])
async def test_half_of_the_retention_is_said_once(age_days: int, *, is_said: bool) -> None:
    """The log names the shard and the fix; the next measurement does not repeat it."""
    deployment = await forwarded(age_days * DAY_MS)
    with structlog.testing.capture_logs() as logged:
        statuses = [running(deployment, 0, 0)]
        watch = await watch_of(deployment, statuses, MIN_REPARTITION_RETENTION_MS)
        await watch.measure()
    events = [line for line in logged if line["event"] == "forwards_may_expire"]
    assert len(events) == int(is_said)
    if is_said:
        assert events[0]["log_level"] == "error"
        assert set(events[0]["unread_seconds"]) == {0}
        assert "retention.ms" in events[0]["hint"]
