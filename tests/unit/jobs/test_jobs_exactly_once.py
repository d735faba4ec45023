"""Replay, backfill and redrive against an in-memory Kafka: killed at any commit, and run again."""

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from consumer.jobs.backfill.file import open_content
from consumer.jobs.backfill.job import Backfill
from consumer.jobs.job import Job
from consumer.jobs.progress import ProgressReport
from consumer.jobs.ranges import parse_range
from consumer.jobs.redrive.dead_letters import DeadLetterFilter
from consumer.jobs.redrive.job import Redrive
from consumer.jobs.replay.job import Replay
from consumer.jobs.replay.plan import Plan
from consumer.jobs.replay.request import ReplayRequest, check_request
from consumer.jobs.retry import ShutdownSignal
from consumer.kafka.clock import wall_clock_ms
from consumer.pipeline.dead_letters import parse_dead_letter
from tests.support.fake_cluster import Fault, Killed
from tests.support.fake_deployment import DEAD_LETTERS, INPUT, FakeDeployment
from tests.support.records import checkpoint

SHARDS = 2
TARGET = "ready.replay"
KILLS = [Fault.KILLED_BEFORE_COMMIT, Fault.KILLED_AFTER_COMMIT]
DOUBTS = [*KILLS, Fault.COMMIT_REQUEST_LOST, Fault.COMMIT_ANSWER_LOST]
MOST_COMMITS = 50
Run = Callable[[FakeDeployment], Awaitable[object]]


@pytest.fixture
async def deployment(monkeypatch: pytest.MonkeyPatch) -> FakeDeployment:
    """Two shards; jobs find its cluster, and commit two records at a time."""
    made = await FakeDeployment.create(shards=SHARDS, variables={"MAX_TRANSACTION_RECORDS": "2"})
    monkeypatch.setattr("consumer.jobs.replay.job.TRANSACTION_EVENTS", 2)
    monkeypatch.setattr("consumer.jobs.redrive.job.TRANSACTION_DEAD_LETTERS", 2)
    monkeypatch.setattr("consumer.jobs.retry.LONGEST_PAUSE_SECONDS", 0.0)
    return made


def replay_job(deployment: FakeDeployment, max_events: int | None = None) -> Replay:
    """Return a replay of everything into another topic."""
    request = ReplayRequest(
        starts=[],
        ends=[],
        job=None,
        id=None,
        model=None,
        max_events=max_events,
        target=TARGET,
        name="all",
        rate=None,
        allow_truncated=False,
    )
    checked = check_request(deployment.settings, request, to_live=False)
    return Replay(deployment.settings, checked, ShutdownSignal(), progress("replay"))


async def replay(deployment: FakeDeployment) -> None:
    """Replay everything into another topic."""
    await run(deployment, replay_job(deployment))


async def replay_three(deployment: FakeDeployment) -> None:
    """Replay three events into another topic."""
    await run(deployment, replay_job(deployment, max_events=3))


async def redrive(deployment: FakeDeployment) -> None:
    """Put every dead letter back."""
    wanted = DeadLetterFilter(range=parse_range([], [], wall_clock_ms()))
    redrive = Redrive(deployment.settings, wanted, None, ShutdownSignal(), progress("redrive"))
    await run(deployment, redrive)


def progress(name: str) -> ProgressReport:
    """Return a report that is discarded."""
    return ProgressReport(name, "records", lambda _: None)


async def run(deployment: FakeDeployment, job: Job[Any, Any]) -> None:
    """Run a job against the cluster of the deployment."""
    job.kafka = deployment.kafka
    await job.run()


def backfill_of(path: Path) -> Run:
    """Return the backfill of a file."""

    async def backfill_once(deployment: FakeDeployment) -> None:
        with open_content(str(path)) as content:
            backfill = Backfill(
                deployment.settings,
                content,
                INPUT,
                ShutdownSignal(),
                progress("backfill"),
                report_rejected=lambda _: None,
                again=False,
            )
            await run(deployment, backfill)

    return backfill_once


async def run_in_trouble(
    job: Run, deployment: FakeDeployment, transactional_id: str, fault: Fault
) -> None:
    """Run a job to its end, though the fault comes several times.

    A process is killed at its first commit, the next one at its second, and so on until one comes
    to the end. An unknown outcome, of every fourth commit, only ends an attempt.
    """
    cluster, failed = deployment.cluster, 0
    if fault in KILLS:
        for occurrence in range(1, MOST_COMMITS):
            cluster.inject(fault, transactional_id, occurrence)
            try:
                await job(deployment)
            except Killed:
                failed += 1
            else:
                break
        cluster.clear_faults()
    else:
        before = len(deployment.kafka.writers)
        cluster.inject(fault, transactional_id, 4, repeatedly=True)
        await job(deployment)
        cluster.clear_faults()
        failed = len(deployment.kafka.writers) - before - 1
    assert failed >= 2
    await job(deployment)  # nothing is left to do


async def publish_some(deployment: FakeDeployment) -> None:
    """Let the shards publish checkpoints, with repeats and invalid records among them."""
    async with deployment.running():
        for partition in range(SHARDS):
            deployment.produce_new(5, partition)
            deployment.produce(*deployment.ids, partition=partition)
            for _ in range(8):
                deployment.produce_invalid(partition)
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


@pytest.mark.parametrize("fault", DOUBTS)
async def test_a_replay_publishes_each_event_once(fault: Fault, deployment: FakeDeployment) -> None:
    """It goes on with exactly what is left, whatever became of the last commit."""
    await publish_some(deployment)
    await run_in_trouble(replay, deployment, "group-:replay-all", fault)
    assert deployment.published(TARGET) == Counter(deployment.ids)


@pytest.mark.parametrize("fault", DOUBTS)
async def test_a_redrive_puts_each_dead_letter_back_once(
    fault: Fault, deployment: FakeDeployment
) -> None:
    """What is put back and that it is put back are one transaction."""
    await publish_some(deployment)
    before = len(deployment.cluster.read(INPUT))
    await run_in_trouble(redrive, deployment, "group-:redrive", fault)
    assert len(deployment.cluster.read(INPUT)) == before + deployment.invalid
    async with deployment.running():  # they are invalid still, and become dead letters once more
        await deployment.wait_until_handled()
    letters = [parse_dead_letter(record) for record in deployment.cluster.read(DEAD_LETTERS)]
    attempts = Counter(letter.attempts for letter in letters if letter is not None)
    assert attempts == {0: deployment.invalid, 1: deployment.invalid}


@pytest.mark.parametrize("fault", DOUBTS)
async def test_a_backfill_sends_each_element_once(
    fault: Fault, deployment: FakeDeployment, tmp_path: Path
) -> None:
    """The journal holds how many elements are sent, in the same transactions."""
    ids = [f"backfilled_{number}" for number in range(15)]
    path = tmp_path / "checkpoints.jsonl"
    path.write_bytes(b"\n".join(checkpoint(one) for one in ids))
    await run_in_trouble(backfill_of(path), deployment, "group-:backfill", fault)
    assert len(deployment.cluster.read(INPUT)) == len(ids)
    deployment.ids += ids
    async with deployment.running():
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


@pytest.mark.parametrize("fault", [*KILLS, Fault.COMMIT_REQUEST_LOST])
async def test_a_limit_of_events_counts_those_before_a_failure(
    fault: Fault, deployment: FakeDeployment
) -> None:
    """A resumed replay publishes only the rest, and reads nothing if there is no rest."""
    await publish_some(deployment)
    await run_in_trouble(replay_three, deployment, "group-:replay-all", fault)
    assert deployment.published(TARGET).total() == 3


async def test_a_plan_has_the_numbers_of_the_run_and_changes_nothing(
    deployment: FakeDeployment,
) -> None:
    """Plan and run decide by the same code; a plan creates no topic and fences no process."""
    await publish_some(deployment)
    cluster = deployment.cluster

    def facts() -> tuple[object, ...]:
        sizes = {name: len(cluster.read(name)) for name in cluster.topics}
        return sizes, len(deployment.kafka.writers)

    before = facts()
    job = replay_job(deployment)
    job.kafka = deployment.kafka
    planned = await job.plan()
    assert facts() == before
    assert isinstance(planned, Plan)
    assert planned.published == planned.distinct_ids == len(deployment.ids)
    job = replay_job(deployment)
    job.kafka = deployment.kafka
    assert (await job.run()).counts == planned.counts
