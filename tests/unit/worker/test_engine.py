"""One process against an in-memory Kafka: what the group decides, and what follows from errors."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from consumer.errors import StateCorrupted
from consumer.kafka.types import TopicPartition
from consumer.pipeline.routing import home, partition_for_key
from consumer.service.health import is_ready
from consumer.shard.events import Step
from consumer.shard.status import REFUSED, TaskState
from consumer.worker import topic_maintenance
from consumer.worker.engine import STUCK_SECONDS, Engine
from consumer.worker.stall_detector import sample_shards
from tests import builders
from tests.support.fake_admin import FakeMember
from tests.support.fake_clients import FakeWriter
from tests.support.fake_cluster import Fault
from tests.support.fake_deployment import INPUT, OUTPUT, FakeDeployment
from tests.support.fake_log import NewRecord

SHARDS = 3
ALL = {0, 1, 2}
POLL_SECONDS = 0.2
FAST = {"TRIM_INTERVAL_MS": "100", "DISCOVERY_INTERVAL_MS": "100", "HEARTBEAT_INTERVAL_MS": "100"}


@asynccontextmanager
async def running(
    deployment: FakeDeployment, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[tuple[Engine, FakeMember]]:
    """Run an engine that is a member of the group, and stop it as SIGTERM does."""
    engine = Engine(deployment.settings, deployment.observer, clock=clock, kafka=deployment.kafka)
    member = deployment.kafka.members[-1]
    run = asyncio.create_task(engine.run())
    try:
        yield engine, member
    finally:
        engine.stop()
        await run
    assert member.has_left


def states(engine: Engine) -> list[str]:
    """Return the state of each shard that is wanted here."""
    return [shard.state for shard in engine.status().shards]


async def wait_until_running(deployment: FakeDeployment, engine: Engine, shards: int) -> None:
    """Wait until exactly this number of shards is wanted here, and all of them run."""
    expected = [TaskState.RUNNING.value] * shards
    await deployment.wait_until(lambda: states(engine) == expected, f"{shards} running shards")


async def test_three_shards_forward_and_publish_each_id_once() -> None:
    """Every id comes on every partition; two of three times its home is another shard."""
    deployment = await FakeDeployment.create(shards=SHARDS)
    async with running(deployment) as (engine, member):
        assert not engine.status().is_member
        member.decide(ALL)
        for number in range(9):
            for partition in range(SHARDS):
                deployment.produce(f"everywhere_{number}", partition=partition)
        deployment.produce_invalid(partition=2)
        await deployment.wait_until_handled()
        assert states(engine) == [TaskState.RUNNING.value] * SHARDS
    deployment.assert_exactly_once()
    assert {home(one, SHARDS) for one in deployment.ids} == ALL
    committed = deployment.cluster.group_offsets[deployment.settings.group_id]
    for partition, log in enumerate(deployment.cluster.topics[INPUT].logs):
        assert committed[TopicPartition(INPUT, partition)] == log.high_watermark


async def test_shards_move_between_two_engines() -> None:
    """Tasks start and stop as the group decides; during a rebalance they stay as they are."""
    deployment = await FakeDeployment.create(shards=SHARDS)
    async with running(deployment) as (one, first), running(deployment) as (two, second):
        for mine, others in ((ALL, set[int]()), ({0}, {1, 2}), ({1, 2}, {0}), (set[int](), ALL)):
            for partition in range(SHARDS):
                deployment.produce_new(2, partition)
                deployment.produce(*deployment.ids, partition=partition)
            first.decide(mine)
            second.decide(others)
            await wait_until_running(deployment, one, len(mine))
            await wait_until_running(deployment, two, len(others))
            first.decide(None)
            second.decide(None)
            await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def test_both_engines_believe_that_a_shard_is_theirs() -> None:
    """The fence decides; the fenced one pauses, and what it does later is fenced as well."""
    deployment = await FakeDeployment.create(shards=SHARDS, variables=FAST)
    async with running(deployment) as (one, first), running(deployment) as (_, second):
        first.decide(ALL)
        deployment.produce_new(3)
        await wait_until_running(deployment, one, SHARDS)
        await deployment.wait_until_handled()
        second.decide(ALL)
        for _ in range(3):
            deployment.produce_new(2)
            deployment.produce(*deployment.ids)
            await deployment.wait_until_handled()
    assert deployment.observer.fenced
    deployment.assert_exactly_once()


@pytest.mark.parametrize("step", [Step.FENCED, Step.RESTORED, Step.SENT, Step.COMMITTED])
async def test_a_failed_task_is_replaced_after_a_pause(step: Step) -> None:
    """The supervisor starts a new task after a cancelled one, too."""
    deployment = await FakeDeployment.create(shards=SHARDS)
    async with running(deployment) as (engine, member):
        member.decide(ALL)
        await deployment.wait_until_handled()
        deployment.observer.cancel_at(step)
        if step in {Step.FENCED, Step.RESTORED}:
            for shard in range(SHARDS):
                deployment.cluster.inject(Fault.COMMIT_ANSWER_LOST, f"group-{shard}")
        deployment.produce_new(3)
        await deployment.wait_until_handled()
        await deployment.wait_until(lambda: deployment.observer.has_crashed, "the crash")
        await wait_until_running(deployment, engine, SHARDS)
        deployment.produce(*deployment.ids)
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def test_a_hanging_task_ends_the_polls_of_the_membership(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So the group gives its shards to others. The polls continue after the next heartbeat."""
    deployment = await FakeDeployment.create(shards=SHARDS)
    jumped, polls = [0.0], []
    held = asyncio.Event()
    commit, poll = FakeWriter.commit, FakeMember.poll

    async def slow_commit(writer: FakeWriter) -> None:
        await held.wait()
        await commit(writer)

    async def counted_poll(member: FakeMember) -> None:
        polls.append(jumped[0])
        await poll(member)

    monkeypatch.setattr(FakeMember, "poll", counted_poll)
    monkeypatch.setattr("consumer.worker.engine.RETRY_SECONDS", POLL_SECONDS)
    clock = lambda: time.monotonic() + jumped[0]  # noqa: E731 - it is shorter
    async with running(deployment, clock) as (engine, member):
        member.decide(ALL)
        held.set()
        await wait_until_running(deployment, engine, SHARDS)
        held.clear()
        monkeypatch.setattr(FakeWriter, "commit", slow_commit)
        deployment.produce_new(3)
        await asyncio.sleep(4 * POLL_SECONDS)
        assert polls.count(0.0) > 1
        jumped[0] = STUCK_SECONDS + 1
        await asyncio.sleep(4 * POLL_SECONDS)
        assert polls.count(jumped[0]) <= 1  # one may have begun before the jump
        before = len(polls)
        held.set()
        await deployment.wait_until(lambda: len(polls) > before, "a poll")
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def test_a_corrupted_shard_is_refused_while_the_others_run() -> None:
    """Its reason is in the view; when every shard is refused the engine ends."""
    deployment = await FakeDeployment.create(shards=SHARDS)
    async with running(deployment) as (engine, member):
        member.decide(ALL)
        await deployment.wait_until_handled()
    changelog = deployment.settings.changelog_topic
    deployment.cluster.produce(changelog, NewRecord(b"unknown", b""), partition=0)
    async with running(deployment) as (engine, member):
        member.decide(ALL)
        expected = [REFUSED, TaskState.RUNNING.value, TaskState.RUNNING.value]
        await deployment.wait_until(lambda: states(engine) == expected, "two running shards")
        assert "key b'unknown'" in engine.status().shards[0].refusal
    last = Engine(deployment.settings, deployment.observer, kafka=deployment.kafka)
    deployment.kafka.members[-1].decide({0})
    with pytest.raises(StateCorrupted, match="key b'unknown'"):
        await last.run()


async def test_handled_forwards_are_deleted() -> None:
    """Nothing else ever deletes them; the last one stays, for the comparison at a start."""
    deployment = await FakeDeployment.create(shards=SHARDS, variables=FAST)
    forwards = deployment.cluster.topics[deployment.settings.repartition_topic]
    async with running(deployment) as (_, member):
        member.decide(ALL)
        for _ in range(2):
            await deployment.wait_until_handled()
        await deployment.wait_until(
            lambda: all(log.log_start > 0 for log in forwards.logs), "the deletion"
        )
    async with running(deployment) as (_, member):
        member.decide(ALL)
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def test_new_input_partitions_are_discovered() -> None:
    """Their shard reads them from their start."""
    deployment = await FakeDeployment.create(shards=SHARDS, variables=FAST)
    async with running(deployment) as (_, member):
        member.decide(ALL)
        await deployment.wait_until_handled()
        deployment.cluster.topics[INPUT].grow(5)
        deployment.produce_new(2, partition=3)
        deployment.produce_new(2, partition=4)
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def test_a_deferred_source_is_looked_for_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its leader may be back long before the next regular check of the topics."""
    monkeypatch.setattr(topic_maintenance, "DEFERRED_SECONDS", 0.05)
    deployment = await FakeDeployment.create(
        shards=SHARDS, variables={"DISCOVERY_INTERVAL_MS": "3600000"}
    )
    lost = TopicPartition(INPUT, 1)
    async with running(deployment) as (engine, member):
        member.decide(ALL)
        deployment.produce_new(3, partition=1)
        await deployment.wait_until_handled()
    deployment.cluster.leaderless.add(lost)
    async with running(deployment) as (engine, member):
        member.decide(ALL)
        await wait_until_running(deployment, engine, SHARDS)
        deployment.produce_new(3, partition=1)
        assert [it.deferred for it in engine.status().shards[1].sources if it.partition == 1][:1]
        answer = is_ready(engine.status())
        assert answer.is_ok  # not for the first seconds, like a leader that does not answer
        deployment.cluster.leaderless.clear()
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def test_a_shard_that_waits_for_a_leader_is_no_stall() -> None:
    """A new process would wait too. The probe and the page name the partition."""
    deployment = await FakeDeployment.create(shards=SHARDS, variables=FAST)
    job = str(builders.checkpoint()["fine_tuning_job_id"])
    lost = TopicPartition(OUTPUT, partition_for_key(job.encode(), SHARDS))
    async with running(deployment) as (engine, member):
        member.decide(ALL)
        await deployment.wait_until_handled()
    deployment.cluster.leaderless.add(lost)
    async with running(deployment) as (engine, member):
        member.decide(ALL)
        await wait_until_running(deployment, engine, SHARDS)
        (one,) = deployment.produce_new()
        shard = home(one, SHARDS)
        await deployment.wait_until(
            lambda: bool(engine.status().shards[shard].leaderless), "the wait"
        )
        view = engine.status().shards[shard]
        assert f"{OUTPUT}/{lost.partition}" in view.leaderless
        samples = sample_shards(
            [view], wanted=ALL, now=time.monotonic(), stuck_seconds=60, repartition_topic=""
        )
        assert not samples
        lines = is_ready(engine.status()).lines
        assert any(f"shard {shard} waits: " in line for line in lines)
        deployment.cluster.leaderless.clear()
        await deployment.wait_until_handled()
        assert not engine.status().shards[shard].leaderless
    deployment.assert_exactly_once()
