"""Shards without some of their partitions: no leader, or a leader that does not answer."""

import asyncio
import json
import time
from collections.abc import Callable

import msgspec
import pytest
from structlog.testing import capture_logs

from consumer.errors import Leaderless, TaskFailed
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.open_transactions import OpenTransactionCheck
from consumer.kafka.types import TopicPartition
from consumer.pipeline.routing import home, partition_for_key
from consumer.pipeline.seen_ids import id_digest
from consumer.shard import deferred_sources, start_positions, watermark
from consumer.shard.changelog import id_key, progress_record
from consumer.shard.deferred_sources import NO_ANSWER, NO_LEADER
from consumer.shard.events import Step
from consumer.shard.progress import Progress
from consumer.shard.status import SourceStatus
from consumer.worker.open_transaction_watch import OpenTransactionWatch
from tests import builders
from tests.support.fake_cluster import Fault, Killed
from tests.support.fake_deployment import DEADLINE_SECONDS, INPUT, OUTPUT, FakeDeployment
from tests.support.fake_log import NewRecord

SHARDS = 2
PARTITIONS = 4
HEALTHY = TopicPartition(INPUT, 0)  # read by shard 0, like the other one
LOST = TopicPartition(INPUT, 2)
WINDOW_SECONDS = 10


async def deployment_with(**variables: str) -> FakeDeployment:
    """Return two shards with two input partitions each, which have run and stopped."""
    deployment = await FakeDeployment.create(
        shards=SHARDS, input_partitions=PARTITIONS, variables=variables
    )
    async with deployment.running():
        for number in range(PARTITIONS):
            deployment.produce_new(3, partition=number)
        await deployment.wait_until_handled()
    return deployment


async def wait_for(deployment: FakeDeployment, ids: list[str]) -> None:
    """Wait until these ids are published."""
    await deployment.wait_until(lambda: set(ids) <= deployment.published().keys(), f"{ids}")


def produce_on_healthy(deployment: FakeDeployment, count: int = 4) -> list[str]:
    """Produce new ids to each partition but the lost one."""
    others = [number for number in range(PARTITIONS) if number != LOST.partition]
    return [one for number in others for one in deployment.produce_new(count, partition=number)]


def saved_progress(deployment: FakeDeployment, source: TopicPartition) -> Progress | None:
    """Return the progress of a source as the changelog holds it."""
    key, _ = progress_record(*source, Progress(0, 0))
    records = deployment.cluster.read(deployment.settings.changelog_topic)
    values = [record.value for record in records if record.key == key]
    return msgspec.json.decode(values[-1] or b"", type=Progress) if values else None


def status_of(deployment: FakeDeployment, source: TopicPartition) -> SourceStatus:
    """Return the status of a source of a running shard."""
    sources = deployment.tasks[source.partition % SHARDS].status().sources
    found = (it for it in sources if (it.topic, it.partition) == source)
    return next(found, SourceStatus(*source, None, deferred="no task runs"))


async def bring_back(deployment: FakeDeployment, source: TopicPartition) -> None:
    """Give a source a leader again, and wait until it is read."""
    deployment.cluster.leaderless.discard(source)
    deployment.cluster.silent.discard(source)
    deployment.cluster.log(source).start_epoch()
    async with asyncio.timeout(DEADLINE_SECONDS):
        while status_of(deployment, source).deferred:
            await deployment.refresh_topology()
            await deployment.let_tasks_run()


async def test_a_start_leaves_out_an_input_without_a_leader() -> None:
    """Everything else is published. Later the same task reads the partition too, each id once."""
    deployment = await deployment_with()
    before = saved_progress(deployment, LOST)
    deployment.cluster.leaderless.add(LOST)
    late = [*deployment.produce_new(3, LOST.partition), deployment.ids[0]]
    deployment.produce(*late, partition=LOST.partition)
    with capture_logs() as logs:
        async with deployment.running():
            await wait_for(deployment, produce_on_healthy(deployment))
            task, status = deployment.tasks[0], deployment.tasks[0].status()
            deferred = status_of(deployment, LOST)
            assert (deferred.lag, deferred.deferred) == (None, NO_LEADER)
            assert status.lag is None
            await deployment.wait_until(lambda: not task.status().is_behind, "no pending work")
            assert LOST not in status.positions
            assert saved_progress(deployment, LOST) == before
            assert not set(late[:3]) & deployment.published().keys()
            await bring_back(deployment, LOST)
            await deployment.wait_until_handled()
            assert deployment.tasks[0] is task
            assert status_of(deployment, LOST).lag == 0
    deployment.assert_exactly_once()
    name = f"{LOST.topic}/{LOST.partition}"
    (line,) = [it for it in logs if it["event"] == "sources_deferred"]
    assert (line["shard"], line["sources"]) == (0, {name: NO_LEADER})
    added = [it["sources"] for it in logs if it["event"] == "sources_added"]
    assert added == [[name]]


async def test_a_running_shard_drops_an_input_without_a_leader() -> None:
    """It is no pending work, so the stall detector does not end the process for it."""
    deployment = await deployment_with()
    async with deployment.running():
        await deployment.wait_until_handled()
        task = deployment.tasks[0]
        deployment.cluster.leaderless.add(LOST)
        late = deployment.produce_new(5, LOST.partition)
        await deployment.refresh_topology()
        await wait_for(deployment, produce_on_healthy(deployment))
        await deployment.wait_until(lambda: not task.status().is_behind, "no pending work")
        assert status_of(deployment, LOST).deferred == NO_LEADER
        assert not set(late) & deployment.published().keys()
        await bring_back(deployment, LOST)
        await deployment.wait_until_handled()
        assert deployment.tasks[0] is task
    deployment.assert_exactly_once()


async def test_buffered_records_stay_when_a_source_goes_and_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Records that were fetched before are decided; no position moves back or forward."""
    monkeypatch.setattr("consumer.shard.commit_policy.MAX_DELAY_SECONDS", 0.2)
    deployment = await deployment_with(COMMIT_INTERVAL_MS="200")
    async with deployment.running():
        await deployment.wait_until_handled()
        for _ in range(5):
            deployment.produce_new(5, LOST.partition)
            produce_on_healthy(deployment, 5)
            await deployment.let_tasks_run()
            deployment.cluster.leaderless.add(LOST)
            await deployment.refresh_topology()
            await deployment.let_tasks_run()
            await bring_back(deployment, LOST)
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def test_a_leader_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata still name it: the start waits for a short time, and the checks wait beside."""
    monkeypatch.setattr(deferred_sources, "ANSWER_SECONDS", 0.05)
    deployment = await deployment_with()
    deployment.cluster.silent.add(LOST)
    late = deployment.produce_new(3, LOST.partition)
    async with deployment.running():
        for _ in range(3):
            await wait_for(deployment, produce_on_healthy(deployment))
            assert status_of(deployment, LOST).deferred == NO_ANSWER
            await deployment.refresh_topology()
        assert not set(late) & deployment.published().keys()
        await bring_back(deployment, LOST)
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def test_a_first_start_needs_every_input() -> None:
    """The offset at which the group begins could not be known."""
    deployment = await FakeDeployment.create(shards=1, input_partitions=2)
    deployment.cluster.leaderless.add(TopicPartition(INPUT, 1))
    with pytest.raises(Leaderless, match=f"shard 0 cannot start without {INPUT}/1: no leader"):
        await deployment.task().run()


@pytest.mark.parametrize(
    ("reset", "is_refused"), [("latest", True), ("earliest", False)], ids=["latest", "earliest"]
)
async def test_a_topic_that_is_new_in_the_inputs(reset: str, *, is_refused: bool) -> None:
    """With "latest" its present end is needed. With "earliest" it is read from its start later."""
    deployment = await deployment_with(AUTO_OFFSET_RESET=reset)
    deployment.cluster.create("more", 1, {})
    source = TopicPartition("more", 0)
    value = json.dumps(builders.checkpoint(id="late")).encode()
    deployment.cluster.produce("more", NewRecord(b"key", value), 0)
    deployment.ids.append("late")
    deployment.cluster.leaderless.add(source)
    inputs = (*deployment.settings.input_topics, "more")
    deployment.settings = msgspec.structs.replace(deployment.settings, input_topics=inputs)
    if is_refused:
        with pytest.raises(Leaderless, match="without more/0"):
            await deployment.task(0).run()
        return
    async with deployment.running():
        await deployment.wait_until_handled()
        assert "late" not in deployment.published()
        await bring_back(deployment, source)
        await deployment.wait_until_handled()
        await wait_for(deployment, ["late"])
    deployment.assert_exactly_once()


@pytest.mark.parametrize("topic", ["changelog_topic", "repartition_topic"])
async def test_a_shard_needs_its_own_partitions(topic: str) -> None:
    """Without its state, or the records that others forwarded to it, nothing can be right."""
    deployment = await deployment_with()
    own = TopicPartition(getattr(deployment.settings, topic), 1)
    deployment.cluster.leaderless.add(own)
    with pytest.raises(Leaderless, match=f"{own.topic}/1"):
        await deployment.task(1).run()


async def test_other_shards_start_without_the_partitions_of_one() -> None:
    """Each shard checks all partitions for hanging transactions, but needs only its own."""
    deployment = await deployment_with()
    settings = deployment.settings
    lost = {TopicPartition(t, 1) for t in (settings.changelog_topic, settings.repartition_topic)}
    deployment.cluster.leaderless |= lost
    mine = [one for one in (f"id_{n}" for n in range(50)) if home(one, SHARDS) == 0]
    async with deployment.running():
        deployment.produce(*mine)
        await wait_for(deployment, mine)
        deployment.cluster.leaderless -= lost
        await deployment.refresh_topology()
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def test_a_truncated_source_is_reported_when_it_comes_back() -> None:
    """It is judged exactly as at a start; ids that were published stay known."""
    deployment = await deployment_with()
    deployment.cluster.leaderless.add(LOST)
    async with deployment.running():
        await wait_for(deployment, produce_on_healthy(deployment))
        known = saved_progress(deployment, LOST)
        assert known is not None
        deployment.cluster.log(LOST).truncate(known.next_offset - 2)
        again, new = deployment.ids[:4], deployment.produce_new(4, LOST.partition)
        deployment.produce(*again, partition=LOST.partition)
        with capture_logs() as logs:
            await bring_back(deployment, LOST)
            await wait_for(deployment, new)
    events = [it["event"] for it in logs]
    assert events.index("input_truncated") < events.index("sources_added")
    deployment.assert_exactly_once()


async def test_a_check_that_is_out_of_date_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The topic was made anew after the check: the next check reads it from its start."""
    deployment = await deployment_with()
    deployment.cluster.leaderless.add(LOST)
    async with deployment.running():
        await wait_for(deployment, produce_on_healthy(deployment))
        task = deployment.tasks[0]
        examine = start_positions.examine
        checks = 0

        async def then_recreate(*given: object, **named: object) -> object:
            nonlocal checks
            checks += 1
            found = await examine(*given, **named)  # type: ignore[arg-type]  # handed through
            if checks == 1:
                deployment.cluster.log(LOST).start_epoch()
                await deployment.refresh_topology()
            return found

        monkeypatch.setattr(deferred_sources, "examine", then_recreate)
        deployment.cluster.leaderless.discard(LOST)
        deployment.cluster.log(LOST).start_epoch()
        await deployment.refresh_topology()
        await deployment.wait_until(lambda: checks >= 1, "the first check")
        await deployment.let_tasks_run()
        assert status_of(deployment, LOST).deferred
        await deployment.refresh_topology()
        await deployment.wait_until(lambda: not status_of(deployment, LOST).deferred, "the source")
        await deployment.wait_until_handled()
        assert deployment.tasks[0] is task
    assert checks >= 2
    deployment.assert_exactly_once()


@pytest.mark.parametrize("step", [Step.DECIDED, Step.SENT, Step.COMMITTING, Step.COMMITTED])
async def test_a_crash_while_deferred_and_after_it_was_added(step: Step) -> None:
    """The progress in the changelog decides, as always."""
    deployment = await deployment_with()
    deployment.cluster.leaderless.add(LOST)
    repeated = deployment.ids[:3]
    deployment.produce(*repeated, *deployment.produce_new(3, LOST.partition), partition=2)
    observer = deployment.observer
    async with deployment.running():
        await wait_for(deployment, produce_on_healthy(deployment))
        observer.kill_at(step)
        new = produce_on_healthy(deployment)
        await deployment.wait_until(lambda: observer.has_crashed, "the first crash")
        await wait_for(deployment, new)
        observer.kill_at(step)
        await bring_back(deployment, LOST)
        produce_on_healthy(deployment)
        await deployment.wait_until(lambda: observer.has_crashed, "the second crash")
        await deployment.refresh_topology()
        await deployment.wait_until_handled()
        deployment.produce(*deployment.ids, partition=LOST.partition)
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


def is_forgotten(deployment: FakeDeployment, one: str) -> bool:
    """Return whether the changelog holds a tombstone of this id."""
    records = deployment.cluster.read(deployment.settings.changelog_topic)
    return any(it.key == id_key(id_digest(one)) and it.value is None for it in records)


async def is_met_in_time(deployment: FakeDeployment, condition: Callable[[], bool]) -> bool:
    """Return whether a condition is met while shards publish and announce several times."""
    for _ in range(8):
        await wait_for(deployment, produce_on_healthy(deployment))
        await deployment.refresh_topology()
        transactions = len(deployment.observer.reports)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while len(deployment.observer.reports) < transactions + 2:
                await deployment.cluster.wait_for_change(0.05)
        if condition():
            return True
    return False


@pytest.mark.parametrize("deferred", ["while it runs", "at its start", "never"])
async def test_with_a_window_nothing_is_forgotten_that_a_deferred_source_may_repeat(
    monkeypatch: pytest.MonkeyPatch, deferred: str
) -> None:
    """No shard forgets an id while one of them does not read a source, and all do afterwards.

    Without a deferred source, the ids are forgotten in the same time.
    """
    monkeypatch.setattr(watermark, "MIN_INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(watermark, "INTERVALS_PER_WINDOW", 10_000)
    deployment = await deployment_with(DEDUP_WINDOW_SECONDS=str(WINDOW_SECONDS))
    cluster, ids = deployment.cluster, [f"repeated_{number}" for number in range(8)]
    began_ms = cluster.now_ms()

    def forgotten() -> list[str]:
        return [one for one in ids if is_forgotten(deployment, one)]

    def lose_source() -> None:
        cluster.leaderless.add(LOST)
        deployment.produce(*ids, partition=LOST.partition, timestamp_ms=began_ms + 1000)

    if deferred == "at its start":
        lose_source()
    async with deployment.running():
        deployment.produce(*ids, timestamp_ms=began_ms)
        await wait_for(deployment, ids)
        if deferred == "while it runs":
            lose_source()
            await deployment.refresh_topology()
            await deployment.wait_until(
                lambda: bool(status_of(deployment, LOST).deferred), "the source"
            )
        cluster.now_ms = lambda: wall_clock_ms() + 6 * WINDOW_SECONDS * 1000
        if deferred != "never":
            assert not await is_met_in_time(deployment, lambda: bool(forgotten()))
            await bring_back(deployment, LOST)
            await deployment.wait_until_handled()
            assert {deployment.published()[one] for one in ids} == {1}
        assert await is_met_in_time(deployment, lambda: forgotten() == ids)
    deployment.assert_exactly_once()


def job_to(partition: int, prefix: str = "job") -> str:
    """Return a job whose events are in this partition of the ready topic."""
    jobs = (f"{prefix}-{number}" for number in range(1000))
    return next(it for it in jobs if partition_for_key(it.encode(), PARTITIONS) == partition)


def produce_to_output(deployment: FakeDeployment, one: str, partition: int) -> None:
    """Produce a checkpoint, at home on shard 0, whose event is in this partition of the output."""
    value = json.dumps(builders.checkpoint(id=one, fine_tuning_job_id=job_to(partition))).encode()
    deployment.cluster.produce(INPUT, NewRecord(b"key", value), 0)
    deployment.ids.append(one)


def at_home(prefix: str, count: int) -> list[str]:
    """Return ids whose home is shard 0."""
    ids = [one for one in (f"{prefix}_{n}" for n in range(200)) if home(one, SHARDS) == 0]
    return ids[:count]


async def test_an_output_partition_without_a_leader_stops_only_what_needs_it() -> None:
    """Records before the first one that needs it are published, and the log names the partition."""
    deployment = await deployment_with()
    job = str(builders.checkpoint()["fine_tuning_job_id"])
    usual = partition_for_key(job.encode(), PARTITIONS)
    other, lost = sorted({0, 1, 2, 3} - {usual})[:2]
    deployment.cluster.leaderless.add(TopicPartition(OUTPUT, lost))
    fine, stuck = at_home("fine", 12), at_home("stuck", 2)
    with capture_logs() as logs:
        async with deployment.running():
            for one in fine:
                produce_to_output(deployment, one, other)
            for one in stuck:
                produce_to_output(deployment, one, lost)
            await wait_for(deployment, fine)
            others = [one for one in (f"o_{n}" for n in range(40)) if home(one, SHARDS) == 1]
            deployment.produce(*others, partition=1)
            await wait_for(deployment, others)
            await deployment.wait_until(
                lambda: any(it["event"] == "transaction_waits_for_leader" for it in logs), "the log"
            )
            assert not set(stuck) & deployment.published().keys()
            deployment.cluster.leaderless.clear()
            await deployment.refresh_topology()
            await deployment.wait_until_handled()
    deployment.assert_exactly_once()
    line = next(it for it in logs if it["event"] == "transaction_waits_for_leader")
    assert line["shard"] == 0
    assert f"{OUTPUT}/{lost}" in line["error"]


async def test_a_transaction_that_hangs_where_no_leader_could_be_asked() -> None:
    """The shard starts, but writes nothing there before the partition was checked."""
    deployment = await deployment_with()
    lost = TopicPartition(OUTPUT, 1)
    cluster = deployment.cluster
    one = at_home("hangs", 1)[0]
    # Its first commit is that of the restore barrier.
    cluster.inject(Fault.KILLED_BEFORE_COMMIT, deployment.settings.transactional_id(0), 2)
    produce_to_output(deployment, one, 1)
    with pytest.raises(Killed):
        await deployment.task(0).run()
    assert cluster.log(lost).open_transactions
    cluster.leaderless.add(lost)
    task = deployment.task(0)
    with capture_logs() as logs, pytest.raises(Leaderless, match=f"{OUTPUT}/1"):
        await task.run()
    assert [it["event"] for it in logs].count("transaction_waits_for_leader") == 1
    cluster.leaderless.clear()
    ((_, producer),) = cluster.log(lost).open_transactions
    with capture_logs() as logs:
        async with deployment.running():
            await deployment.wait_until(
                lambda: any(it["event"] == "transaction_hangs" for it in logs), "the check"
            )
            assert one not in deployment.published()
            cluster.log(lost).append_marker(producer, is_commit=False)  # an operator ends it
            await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def test_a_transaction_that_hangs_where_the_leader_of_dead_letters_has_just_moved() -> None:
    """The dead-letter topic is optional in the check. But what may be checked later must be."""
    deployment = await deployment_with()
    cluster = deployment.cluster
    cluster.inject(Fault.KILLED_BEFORE_COMMIT, deployment.settings.transactional_id(0), 2)
    deployment.produce_invalid(HEALTHY.partition)
    with pytest.raises(Killed):
        await deployment.task(0).run()
    topic = deployment.settings.dead_letter_topic
    (lost,) = [
        TopicPartition(topic, number)
        for number, log in enumerate(cluster.topics[topic].logs)
        if log.open_transactions
    ]
    for state in (cluster.leaderless, cluster.moving):
        state.add(lost)
        with pytest.raises(Leaderless, match=f"{topic}/{lost.partition}"):
            await deployment.task(0).run()
        state.clear()
    ((_, producer),) = cluster.log(lost).open_transactions
    with capture_logs() as logs:
        async with deployment.running():
            await deployment.wait_until(
                lambda: any(it["event"] == "transaction_hangs" for it in logs), "the check"
            )
            cluster.log(lost).append_marker(producer, is_commit=False)  # an operator ends it
            await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def test_announcements_skip_a_partition_without_a_leader() -> None:
    """Otherwise every shard of a group with a window would fail at each announcement."""
    deployment = await deployment_with(DEDUP_WINDOW_SECONDS=str(WINDOW_SECONDS))
    lost = TopicPartition(deployment.settings.repartition_topic, 1)
    deployment.cluster.leaderless.add(lost)

    def announced() -> int:
        log = deployment.cluster.topics[lost.topic].logs[0]
        return len(log.read(0, 9999, committed_only=True).records)

    before = announced()
    deployment.shards = 1  # only shard 0 runs
    async with deployment.running():
        await deployment.wait_until(lambda: announced() >= before + 2, "announcements")
    assert not deployment.observer.lost


@pytest.mark.parametrize(
    "error", [TaskFailed("the leader is gone again"), asyncio.CancelledError()], ids=type
)
async def test_a_check_that_fails_is_repeated(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader may die again between the topic check and the check of the source.

    The library may raise CancelledError, for example when it closes a reader.
    """
    deployment = await deployment_with()
    deployment.cluster.leaderless.add(LOST)
    async with deployment.running():
        await wait_for(deployment, produce_on_healthy(deployment))
        task = deployment.tasks[0]
        examine = start_positions.examine
        failures = 1

        async def failing(*given: object, **named: object) -> object:
            nonlocal failures
            if failures:
                failures -= 1
                raise error
            return await examine(*given, **named)  # type: ignore[arg-type]  # handed through

        monkeypatch.setattr(deferred_sources, "examine", failing)
        deployment.cluster.leaderless.clear()
        with capture_logs() as logs:
            await deployment.refresh_topology()
            await deployment.wait_until(
                lambda: any(it["event"] == "sources_not_checked" for it in logs), "the failure"
            )
        await bring_back(deployment, LOST)
        await deployment.wait_until_handled()
        assert deployment.tasks[0] is task
    deployment.assert_exactly_once()


async def test_a_partition_is_written_again_once_it_was_checked() -> None:
    """The check that runs every two minutes allows it, without a new task."""
    deployment = await deployment_with()
    lost = TopicPartition(OUTPUT, 1)
    deployment.cluster.leaderless.add(lost)
    async with deployment.running():
        await deployment.wait_until(
            lambda: all(it.running_writer is not None for it in deployment.tasks.values()), "tasks"
        )
        task = deployment.tasks[0]
        writer = task.running_writer
        assert writer is not None
        assert writer.unchecked == {lost}
        check = OpenTransactionCheck(deployment.kafka.admin("check"), "servers", [OUTPUT])
        watch = OpenTransactionWatch(check, deployment.tasks.values, time.monotonic)
        await watch.check()
        assert writer.unchecked == {lost}
        deployment.cluster.leaderless.clear()
        await watch.check()
        assert not writer.unchecked
        (one,) = at_home("checked", 1)
        produce_to_output(deployment, one, 1)
        await wait_for(deployment, [one])
        assert deployment.tasks[0] is task


async def test_a_deferred_partition_that_does_not_exist_any_more_is_forgotten() -> None:
    """Its topic was made anew with fewer partitions. Otherwise it would hold the watermark back."""
    deployment = await FakeDeployment.create(shards=SHARDS, input_partitions=2)
    gone = TopicPartition(INPUT, 1)
    async with deployment.running():
        await deployment.wait_until_handled()
        deployment.cluster.leaderless.add(gone)
        await deployment.refresh_topology()
        await deployment.wait_until(lambda: bool(status_of(deployment, gone).deferred), "it")
        deployment.cluster.recreate(INPUT)
        del deployment.cluster.topics[INPUT].logs[1:]
        deployment.cluster.leaderless.clear()
        task = deployment.tasks[1]
        await deployment.refresh_topology()
        await deployment.wait_until(lambda: len(task.status().sources) == 1, "the end of it")
        assert deployment.tasks[1] is task
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()
