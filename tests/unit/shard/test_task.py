"""A whole shard from its start to its close, against an in-memory Kafka: no JVM, no sleeps."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from unittest.mock import AsyncMock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.errors import Fenced, StateCorrupted
from consumer.kafka.open_transactions import OpenTransactionCheck
from consumer.kafka.types import OpenTransaction, TopicPartition
from consumer.shard.changelog import ShardState
from consumer.shard.events import Step
from consumer.shard.status import TaskState
from consumer.shard.task import ShardTask
from tests.support import shard_scenarios as scenarios
from tests.support.fake_cluster import Fault
from tests.support.fake_deployment import INPUT, OUTPUT, FakeDeployment, StepObserver
from tests.support.fake_log import NewRecord

STARTING_STEPS = [Step.FENCED, Step.BARRIER_SET, Step.RESTORED]


async def test_a_shard_publishes_each_id_once() -> None:
    """Repeats, and repeats after an orderly restart, are dropped; each step comes in order."""
    deployment = await FakeDeployment.create()
    for _ in range(2):
        async with deployment.running():
            deployment.produce(*deployment.produce_new(3))
            deployment.produce(*deployment.ids)
            deployment.produce_invalid()
            await deployment.wait_until_handled()
    deployment.assert_exactly_once()
    steps = [step for _, step in deployment.observer.steps]
    transaction = [Step.DECIDED, Step.SENT, Step.COMMITTING, Step.COMMITTED]
    assert steps[:7] == [*STARTING_STEPS, *transaction]
    assert not deployment.observer.lost


@pytest.mark.parametrize("cancel", [False, True], ids=["killed", "cancelled"])
@pytest.mark.parametrize("step", list(Step))
async def test_a_crash_at_a_step_loses_and_repeats_nothing(step: Step, cancel: bool) -> None:  # noqa: FBT001 - a parameter
    """The next task restores what was committed, whatever the step."""
    deployment = await FakeDeployment.create()
    await scenarios.crash_at(deployment, step, cancel=cancel)


@pytest.mark.parametrize("step", list(scenarios.RUNNING_STEPS))
async def test_a_crash_while_shards_forward_to_each_other(step: Step) -> None:
    """Forwards are part of the transaction that a crash interrupts."""
    deployment = await FakeDeployment.create(shards=3)
    deployment.produce("everywhere", partition=1)
    deployment.produce("everywhere", partition=2)
    await scenarios.crash_at(deployment, step, occurrence=2)


async def test_a_failed_batch_takes_its_whole_transaction_with_it() -> None:
    """The commit is never sent, and the next fence aborts what was delivered."""
    await scenarios.failed_batches(await FakeDeployment.create())


async def test_an_unknown_outcome_is_settled_by_the_next_task() -> None:
    """Committed or not, the changelog says which."""
    deployment = await FakeDeployment.create()
    await scenarios.unknown_outcomes(deployment)
    assert len(deployment.observer.lost) == 3


async def test_a_takeover_fences_the_former_owner() -> None:
    """What it commits before the fence counts, and nothing after it."""
    await scenarios.takeover(await FakeDeployment.create())


async def test_a_task_ends_when_it_is_fenced_in_the_middle() -> None:
    """The broker's own timeout fences as well: the open transaction is aborted."""
    deployment = await FakeDeployment.create()
    observer = StepObserver()
    task = deployment.task(0, observer)
    running = asyncio.create_task(task.run())
    deployment.produce_new(2)
    await deployment.wait_until_handled()
    deployment.cluster.expire(scenarios.SHARD_ID)
    deployment.produce_new(2)
    with pytest.raises(Fenced):
        await running
    assert task.state is TaskState.CLOSED
    assert observer.fenced == [0]
    async with deployment.running():
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


END_OF_TASK: dict[str, Callable[[FakeDeployment, ShardTask, asyncio.Task[None]], object]] = {
    "stopped": lambda _, task, __: task.stop(),
    "cancelled": lambda _, __, running: running.cancel(),
    "hanging": lambda _, task, __: task.stop_for_hanging_transaction("it hangs"),
    "fenced": lambda deployment, _, __: deployment.cluster.expire(scenarios.SHARD_ID),
    "send failed": lambda deployment, _, __: deployment.cluster.inject(Fault.SEND_FAILED, OUTPUT),
}


@pytest.mark.parametrize("how", list(END_OF_TASK))
async def test_an_ended_task_holds_no_ids(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor keeps the task for a while, and the garbage collector seldom runs."""
    memories: list[weakref.ref[ShardState]] = []

    class Memory(ShardState):
        def __init__(self, window_ms: int) -> None:
            super().__init__(window_ms)
            memories.append(weakref.ref(self))

    monkeypatch.setattr("consumer.shard.task.ShardState", Memory)
    deployment = await FakeDeployment.create()
    observer = StepObserver()
    task = deployment.task(0, observer)
    gc.collect()
    gc.disable()
    try:
        running = asyncio.create_task(task.run())
        await deployment.wait_until_handled()
        END_OF_TASK[how](deployment, task, running)
        deployment.produce_new(2)
        await asyncio.wait([running])
        assert (running.cancelled() or running.exception() is not None) is (how != "stopped")
        assert task.state is TaskState.CLOSED
        assert task.status().has_run
        del running
        observer.reports.clear()
        observer.lost.clear()
        await deployment.let_tasks_run()
        assert memories[0]() is None
    finally:
        gc.enable()


async def test_a_restore_of_hours_and_a_wait_behind_the_fence_are_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both may last long while nothing is wrong with the process."""
    deployment = await FakeDeployment.create()
    now = [1000.0]
    deployment.clock = lambda: now[0]
    changelog = TopicPartition(deployment.settings.changelog_topic, 0)
    cluster = deployment.cluster
    former = cluster.init_producer_id(scenarios.SHARD_ID)
    found = [OpenTransaction(changelog, 0, *former)]
    monkeypatch.setattr(OpenTransactionCheck, "left_open", AsyncMock(side_effect=lambda _: found))
    monkeypatch.setattr("consumer.kafka.owned_partition.HANGING_PAUSE_SECONDS", 0.0)
    task = deployment.task(0)
    running = asyncio.create_task(task.run())

    async def beats_for_hours(state: TaskState) -> None:
        await deployment.wait_until(lambda: task.state is state, state.value)
        for _ in range(3):
            now[0] += 3600.0
            cluster.wake_readers()
            await deployment.let_tasks_run()
            assert task.last_beat == now[0]
        assert task.state is state

    await beats_for_hours(TaskState.FENCING)
    assert task.status().hanging_partitions == 1
    foreign = cluster.init_producer_id("foreign")
    cluster.add("foreign", foreign, [changelog])
    cluster.append("foreign", foreign, changelog, NewRecord(b"f:foreign", b"{}"))
    found.clear()
    await beats_for_hours(TaskState.RESTORING)
    assert not task.status().hangs
    cluster.commit("foreign", foreign)
    await beats_for_hours(TaskState.RUNNING)
    task.stop()
    cluster.wake_readers()
    await running


async def test_a_restore_waits_for_an_open_transaction_of_another_producer() -> None:
    """Committed entries after it are hidden until it ends."""
    await scenarios.open_transaction_on_the_changelog(await FakeDeployment.create())


async def test_a_refused_fetch_makes_the_loop_read_again_what_it_had_gathered() -> None:
    """Nothing is lost or decided twice by the revalidation."""
    deployment = await FakeDeployment.create()
    async with deployment.running():
        deployment.produce_new(2)
        await deployment.wait_until_handled()
        for _ in range(3):
            deployment.cluster.inject(Fault.FETCH_REFUSED, scenarios.SHARD_ID)
            deployment.produce_new(2)
            await deployment.wait_until_handled()
    deployment.assert_exactly_once()
    assert not deployment.observer.lost


async def test_a_position_does_not_move_back_while_a_task_stops() -> None:
    """Handled duplicates whose progress is not committed yet are no lag.

    The engine commits the positions to the group every second, also while a task stops.
    """
    deployment = await FakeDeployment.create()
    source = TopicPartition(INPUT, 0)
    seen: list[tuple[TaskState, int]] = []

    def watch(step: Step) -> None:
        if step is Step.DECIDED:
            task = deployment.tasks[0]
            seen.append((task.state, task.status().positions.get(source, -1)))

    async with deployment.running():
        deployment.produce_new(3)
        await deployment.wait_until_handled()
        deployment.produce(*deployment.ids)
        await deployment.let_tasks_run()
        deployment.observer.watch = watch
    end = deployment.cluster.log(source).high_watermark
    assert seen == [(TaskState.STOPPING, end)]
    assert deployment.tasks[0].status().positions[source] == end


@pytest.mark.parametrize("is_doubt", [False, True], ids=["stopped", "failed"])
async def test_an_ended_task_keeps_no_ids_without_the_garbage_collector(is_doubt: bool) -> None:  # noqa: FBT001 - a parameter
    """Its memory is free when its end is collected, while the task itself still exists."""
    deployment = await FakeDeployment.create()
    task = deployment.task()
    memory = weakref.ref(task._memory)  # noqa: SLF001 - the status shows no object
    running = asyncio.create_task(task.run())
    deployment.produce_new(2)
    await deployment.wait_until_handled()
    gc.disable()
    try:
        if is_doubt:
            deployment.cluster.inject(Fault.COMMIT_REQUEST_LOST, scenarios.SHARD_ID)
            deployment.produce_new(1)
        else:
            task.stop()
        await asyncio.wait([running])
        assert (running.exception() is not None) is is_doubt
        deployment.observer.lost.clear()  # an error refers to the frames that it passed
        del running
        await deployment.let_tasks_run()
        assert memory() is None
    finally:
        gc.enable()


async def test_a_restore_without_progress_is_still_alive() -> None:
    """It may wait for hours for another producer's transaction, and must not count as hanging."""
    deployment = await FakeDeployment.create()
    changelog = TopicPartition(deployment.settings.changelog_topic, 0)
    foreign = deployment.cluster.init_producer_id("foreign")
    deployment.cluster.add("foreign", foreign, [changelog])
    deployment.cluster.append("foreign", foreign, changelog, NewRecord(b"f:foreign", b"{}"))
    async with deployment.running():
        await deployment.wait_until(lambda: 0 in deployment.tasks, "the task")
        task = deployment.tasks[0]
        await deployment.wait_until(lambda: task.state is TaskState.RESTORING, "the restore")
        since = deployment.clock()
        await deployment.wait_until(lambda: (task.status().last_beat or 0.0) > since + 0.2, "beats")
        assert (task.state, task.status().loaded_records) == (TaskState.RESTORING, 0)
        deployment.cluster.commit("foreign", foreign)
        await deployment.wait_until_handled()


async def test_group_offsets_are_never_read_back() -> None:
    """An operator who resets them changes nothing."""
    await scenarios.wrong_group_offsets(await FakeDeployment.create())


async def test_a_recreated_input_is_read_from_its_start() -> None:
    """The next task notices another topic id; ids that were published stay known."""
    deployment = await FakeDeployment.create()
    async with deployment.running():
        before = deployment.produce_new(3)
        await deployment.wait_until_handled()
    deployment.cluster.recreate(INPUT)
    deployment.produce(before[0])
    deployment.produce_new(2)
    async with deployment.running():
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def test_a_truncated_input_is_read_on_from_the_new_end() -> None:
    """What was handled before stays published once."""
    deployment = await FakeDeployment.create()
    async with deployment.running():
        deployment.produce_new(3)
        await deployment.wait_until_handled()
    log = deployment.cluster.log(TopicPartition(INPUT, 0))
    log.truncate(log.high_watermark - 2)
    deployment.produce_new(3)
    async with deployment.running():
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


async def test_a_shard_refuses_a_changelog_that_is_gone() -> None:
    """The group has published events, so an empty changelog would publish them again."""
    deployment = await FakeDeployment.create()
    async with deployment.running():
        deployment.produce_new(2)
        await deployment.wait_until_handled()
    deployment.cluster.recreate(deployment.settings.changelog_topic)
    with pytest.raises(StateCorrupted, match="is empty for it"):
        await deployment.task().run()
    deployment.assert_exactly_once()


async def test_aborted_records_of_a_changelog_are_no_state() -> None:
    """Several owners die with an open transaction before one completes its own."""
    deployment = await FakeDeployment.create()
    async with deployment.running():
        await deployment.wait_until_handled()
        for _ in range(3):
            deployment.observer.kill_at(Step.SENT)
            deployment.produce_new(2)
            await deployment.wait_until(lambda: deployment.observer.has_crashed, "the crash")
        deployment.produce(*deployment.ids)
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()


actions = st.lists(
    st.one_of(
        st.tuples(st.just("new"), st.integers(0, 2)),
        st.tuples(st.just("repeat"), st.integers(0, 2)),
        st.tuples(st.just("invalid"), st.integers(0, 2)),
        st.tuples(st.just("kill"), st.sampled_from(list(Step))),
        st.tuples(st.just("cancel"), st.sampled_from(list(Step))),
        st.tuples(
            st.just("fault"), st.sampled_from([f for f in Fault if f is not Fault.SEND_FAILED])
        ),
        st.tuples(st.just("run"), st.integers(1, 60)),
    ),
    max_size=12,
)


@settings(max_examples=25)
@given(actions=actions, most_fetched=st.sampled_from([1, 2, 1000]))
def test_random_crashes_and_faults_in_any_order(
    actions: list[tuple[str, object]], most_fetched: int
) -> None:
    """Two shards with crashes, faults and repeats in any order publish each id once."""
    asyncio.run(_interleave(actions, most_fetched))


async def _interleave(actions: list[tuple[str, object]], most_fetched: int) -> None:
    deployment = await FakeDeployment.create(shards=2, input_partitions=3)
    deployment.cluster.most_fetched = most_fetched
    async with deployment.running():
        for action, argument in actions:
            if action == "new":
                deployment.produce_new(2, partition=int(str(argument)))
            elif action == "repeat":
                deployment.produce(*deployment.ids, partition=int(str(argument)))
            elif action == "invalid":
                deployment.produce_invalid(partition=int(str(argument)))
            elif isinstance(argument, Step):
                crash = deployment.observer.kill_at
                (crash if action == "kill" else deployment.observer.cancel_at)(argument)
            elif isinstance(argument, Fault):
                for shard in range(2):
                    deployment.cluster.inject(argument, f"group-{shard}")
            else:
                for _ in range(int(str(argument))):
                    await asyncio.sleep(0)
        await deployment.wait_until_handled()
    deployment.assert_exactly_once()
