"""What the watch measures of the repartition topic, against an in-memory Kafka."""

from collections.abc import Iterable, Sequence

import pytest
import structlog

from consumer.errors import TaskFailed
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.topic_settings import DAY_MS, MIN_REPARTITION_RETENTION_MS
from consumer.kafka.topics import check_topics
from consumer.kafka.types import TopicPartition
from consumer.shard.status import REFUSED, ShardStatus, TaskState
from consumer.worker.repartition_watch import RepartitionState, RepartitionWatch
from tests.support.fake_clients import FakeReader
from tests.support.fake_deployment import FakeDeployment
from tests.support.fake_kafka import FakeKafka
from tests.support.fake_log import NewRecord

SHARDS = 2
FORWARDS = 5
HANDLED = 3


async def watch_of(
    deployment: FakeDeployment, statuses: Sequence[ShardStatus], retention_ms: int | None
) -> RepartitionWatch:
    """Return a watch that has measured once, on a topic with this retention."""
    admin = deployment.kafka.admin("watch")
    topology = await check_topics(admin, deployment.settings)
    set_retention(deployment, retention_ms)
    watch = RepartitionWatch(
        deployment.kafka, admin, deployment.settings, lambda: topology, lambda: statuses
    )
    await watch.measure()
    return watch


def running(deployment: FakeDeployment, shard: int, position: int) -> ShardStatus:
    """Return the status of a running shard that has read its forwards up to `position`."""
    place = TopicPartition(deployment.settings.repartition_topic, shard)
    return ShardStatus(shard, TaskState.RUNNING.value, positions={place: position})


def set_retention(deployment: FakeDeployment, retention_ms: int | None) -> None:
    """Change the retention of the repartition topic."""
    topic = deployment.cluster.topics[deployment.settings.repartition_topic]
    topic.configs["retention.ms"] = "-1" if retention_ms is None else str(retention_ms)


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
    assert watch.states == {
        0: RepartitionState(HANDLED - 1, size_bytes=FORWARDS - 1),
        1: RepartitionState(0, size_bytes=0),
    }
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
    assert watch.states[0] == RepartitionState(FORWARDS, 0.0, FORWARDS)


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


class TestShortenedRetention:
    """The retention is shortened while the service runs."""

    async def test_it_is_seen_at_the_next_measurement(self) -> None:
        """The log says at once what is in danger, and then not again for the same retention."""
        deployment = await forwarded(DAY_MS)
        statuses = [running(deployment, 0, HANDLED), running(deployment, 1, 0)]
        watch = await watch_of(deployment, statuses, MIN_REPARTITION_RETENTION_MS)
        assert watch.retention_seconds == MIN_REPARTITION_RETENTION_MS / 1000
        set_retention(deployment, DAY_MS + 1)
        with structlog.testing.capture_logs() as logged:
            await watch.measure()
            await watch.measure()
        (short,) = [one for one in logged if one["event"] == "repartition_retention_too_short"]
        assert short["log_level"] == "error"
        assert short["retention_seconds"] == (DAY_MS + 1) / 1000
        assert set(short["unread_seconds"]) == {0}
        assert "a shard that starts refuses this retention" in short["hint"]
        (old,) = [one for one in logged if one["event"] == "forwards_may_expire"]
        assert set(old["unread_seconds"]) == {0}
        assert watch.retention_seconds == (DAY_MS + 1) / 1000

    async def test_each_shorter_one_is_said(self) -> None:
        """Also after it was long enough in between."""
        deployment = await forwarded(0)
        watch = await watch_of(deployment, [running(deployment, 0, FORWARDS)], None)
        with structlog.testing.capture_logs() as logged:
            for retention_ms in (DAY_MS, DAY_MS // 2, None, DAY_MS // 2):
                set_retention(deployment, retention_ms)
                await watch.measure()
        assert [one["retention_seconds"] for one in logged] == [86_400.0, 43_200.0, 43_200.0]


class HalfSilentKafka(FakeKafka):
    """The leader of one partition answers no query for offsets."""

    def reader(self, client_id: str, **_: object) -> FakeReader:
        """Return a reader that waits in vain for the partition of shard 1."""
        return HalfSilentReader(self.cluster, client_id, committed_only=False)


class HalfSilentReader(FakeReader):
    """Gets no answer for the partition of shard 1."""

    async def beginning_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Fail if the silent leader is asked."""
        wanted = list(partitions)
        if any(partition.partition == 1 for partition in wanted):
            raise TaskFailed("no answer")
        return await super().beginning_offsets(wanted)


async def test_a_partition_without_an_answer_does_not_hide_the_others() -> None:
    """The log names its shard once."""
    deployment = await FakeDeployment.create(shards=SHARDS, kafka=HalfSilentKafka())
    deployment.cluster.produce(deployment.settings.repartition_topic, NewRecord(b"key", b"value"))
    statuses = [running(deployment, 0, 1), running(deployment, 1, 0)]
    with structlog.testing.capture_logs() as logged:
        watch = await watch_of(deployment, statuses, MIN_REPARTITION_RETENTION_MS)
        await watch.measure()
    assert watch.states == {0: RepartitionState(1, 0.0, 1)}
    (unknown,) = [one for one in logged if one["event"] == "repartition_state_unknown"]
    assert unknown["shards"] == [1]
