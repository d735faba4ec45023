"""Scenarios of failures and repeats. Each ends with a check of exactly-once.

Tests of the shard run the scenarios, and the check must pass. ``test_planted_orders`` runs them
with a shard that does its steps in a wrong order, and the check must fail.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from consumer.errors import Fenced
from consumer.kafka.types import TopicPartition
from consumer.shard.events import Step
from tests.support.fake_cluster import Fault
from tests.support.fake_deployment import (
    DEAD_LETTERS,
    INPUT,
    OUTPUT,
    FakeDeployment,
    StepObserver,
)
from tests.support.fake_log import NewRecord

Scenario = Callable[[FakeDeployment], Awaitable[None]]
RUNNING_STEPS: Final = (Step.DECIDED, Step.SENT, Step.COMMITTING, Step.COMMITTED)
SHARD_ID: Final = "group-0"


async def crash_at(
    deployment: FakeDeployment, step: Step, occurrence: int = 1, *, cancel: bool = False
) -> None:
    """End a task at a step, and run new tasks. Repeat ids before and after the crash."""
    async with deployment.running():
        before = deployment.produce_new(3)
        deployment.produce_invalid()
        await deployment.wait_until_handled()
        observer = deployment.observer
        crash = observer.cancel_at if cancel else observer.kill_at
        if step in RUNNING_STEPS:
            crash(step, occurrence)
    if step not in RUNNING_STEPS:
        crash(step)
    async with deployment.running():
        while not observer.has_crashed:
            deployment.produce_invalid()
            new = deployment.produce_new(3)
            deployment.produce(*before, *new)
            await deployment.wait_until_handled()
    async with deployment.running():
        deployment.produce(*deployment.ids)
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def crashes(deployment: FakeDeployment) -> None:
    """End tasks at the first and second occurrence of every step of a transaction."""
    for step in RUNNING_STEPS:
        for occurrence in (1, 2):
            await crash_at(deployment, step, occurrence)


async def failed_batches(deployment: FakeDeployment) -> None:
    """Let one batch of a transaction fail, while the others are delivered."""
    topics = (OUTPUT, DEAD_LETTERS, deployment.settings.changelog_topic)
    for topic in topics:
        async with deployment.running():
            deployment.produce(*deployment.produce_new(2))
            deployment.produce_invalid()
            await deployment.wait_until_handled()
            deployment.cluster.inject(Fault.SEND_FAILED, topic)
            deployment.produce_invalid()
            deployment.produce_new(2)
            await deployment.wait_until_handled()
        async with deployment.running():
            deployment.produce(*deployment.ids)
            await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def unknown_outcomes(deployment: FakeDeployment) -> None:
    """Let commits fail: some of these transactions are committed, and others are not."""
    async with deployment.running():
        await deployment.wait_until_handled()
        for fault in (Fault.COMMIT_REQUEST_LOST, Fault.COMMIT_ANSWER_LOST, Fault.SEND_TIMED_OUT):
            deployment.cluster.inject(fault, SHARD_ID)
            new = deployment.produce_new(2)
            deployment.produce_invalid()
            await deployment.wait_until_handled()
            deployment.produce(*new)
            await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def takeover(deployment: FakeDeployment) -> None:
    """Let a second task take over the shard, while the first task commits until it is fenced."""
    # One record for each fetch, so that no fetch of the restore reads beyond the restore barrier.
    deployment.cluster.most_fetched = 1
    before = StepObserver()
    owner = asyncio.create_task(deployment.task(0, before).run())

    async def commit_once_more() -> None:
        new = deployment.produce_new()
        await deployment.wait_until(lambda: new[0] in deployment.published(), "its event")

    try:
        deployment.produce_new(2)
        await deployment.wait_until_handled()
        deployment.cluster.before_fence(SHARD_ID, commit_once_more)
        async with deployment.running():
            await deployment.wait_until_handled()
            deployment.produce(*deployment.ids)
            await deployment.wait_until_handled()
            await deployment.let_tasks_run()
    finally:
        owner.cancel()
        with contextlib.suppress(asyncio.CancelledError, Fenced):
            await owner
    deployment.assert_exactly_once()


async def open_transaction_on_the_changelog(deployment: FakeDeployment) -> None:
    """Restore while another producer's transaction hides committed entries."""
    changelog = TopicPartition(deployment.settings.changelog_topic, 0)
    async with deployment.running():
        deployment.produce_new(2)
        await deployment.wait_until_handled()
        foreign = deployment.cluster.init_producer_id("foreign")
        deployment.cluster.add("foreign", foreign, [changelog])
        deployment.cluster.append("foreign", foreign, changelog, NewRecord(b"f:foreign", b"{}"))
        deployment.produce_new(3)
        await deployment.wait_until_handled()
        deployment.observer.kill_at(Step.DECIDED)
        deployment.produce_new()
        await deployment.wait_until(lambda: deployment.observer.has_crashed, "the crash")
        await deployment.let_tasks_run()
        deployment.cluster.commit("foreign", foreign)
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def repeats_in_a_row(deployment: FakeDeployment) -> None:
    """Repeat each id immediately, with a transaction for each record."""
    deployment.most_records = 1
    async with deployment.running():
        for _ in range(5):
            deployment.produce(*deployment.produce_new())
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def repeats_on_all_partitions(deployment: FakeDeployment) -> None:
    """Produce each id to every partition, so that other shards read it first."""
    async with deployment.running():
        for number in range(5):
            for partition in range(deployment.input_partitions):
                deployment.produce(f"everywhere_{number}", partition=partition)
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def wrong_group_offsets(deployment: FakeDeployment) -> None:
    """Start a shard whose group offsets were moved to the end of its input."""
    async with deployment.running():
        deployment.produce_new(2)
        await deployment.wait_until_handled()
    deployment.produce_new(3)
    source = TopicPartition(INPUT, 0)
    end = deployment.cluster.log(source).high_watermark
    deployment.cluster.group_offsets[deployment.settings.group_id] = {source: end}
    async with deployment.running():
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()
