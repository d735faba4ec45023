"""The supervisor: which tasks run, and the recovery after each kind of end."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from consumer.errors import ClusterError, Fenced, LoginRefused, StateCorrupted, TaskFailed
from consumer.shard.status import REFUSED, WAITING, ShardStatus, TaskState
from consumer.worker.supervisor import Supervisor

RECORDS = 7


class PlainTask:
    """A task that runs until it is stopped, or fails at once with ``ends``."""

    def __init__(
        self, ends: BaseException | None = None, state: TaskState = TaskState.RUNNING
    ) -> None:
        self.state = state
        self.closed = False
        self._ends = ends
        self._end = asyncio.Event()

    async def run(self) -> None:
        """Run until stopped, or fail at once."""
        try:
            if self._ends is not None:
                raise self._ends
            await self._end.wait()
        finally:
            self.state = TaskState.CLOSED
            await asyncio.sleep(0.01)  # the broker answers while it closes
            self.closed = True

    def stop(self) -> None:
        """End in an orderly way."""
        self._end.set()

    def status(self) -> ShardStatus:
        """Return a status with a few records of its own."""
        return ShardStatus(0, self.state.value, handled_records=RECORDS)


class Bench:
    """A supervisor over plain tasks, with a clock that the test moves."""

    def __init__(self, make: Callable[[], PlainTask]) -> None:
        self.now = 100.0
        self.made: list[PlainTask] = []
        self.changed = asyncio.Event()

        def make_task(_: int) -> Any:  # noqa: ANN401 - a fake of ShardTask
            self.made.append(make())
            return self.made[-1]

        self.supervisor = Supervisor(
            make_task,
            fenced_pause_seconds=0.3,
            on_change=self.changed.set,
            clock=lambda: self.now,
        )

    async def settle(self) -> None:
        """Let started tasks run, and ended tasks close."""
        await asyncio.sleep(0.05)


async def test_each_wanted_shard_has_a_task_and_no_other_shard_has_one() -> None:
    """The tasks follow the assignment of the group."""
    bench = Bench(PlainTask)
    bench.supervisor.reconcile({0, 1})
    bench.supervisor.reconcile({0, 1})
    assert len(bench.made) == 2
    await bench.settle()
    bench.supervisor.reconcile({1})
    await bench.settle()
    bench.supervisor.reconcile({1})
    assert [task.closed for task in bench.made] == [True, False]
    await bench.supervisor.stop_all(1)
    assert all(task.closed for task in bench.made)


async def test_a_closing_task_is_not_cancelled() -> None:
    """Tasks that end together wake the supervisor one by one; each cleans up completely."""
    bench = Bench(lambda: PlainTask(state=TaskState.RESTORING))
    bench.supervisor.reconcile({0, 1, 2})
    await asyncio.sleep(0)
    for _ in range(5):
        bench.supervisor.reconcile(set())
        await asyncio.sleep(0)
    await bench.settle()
    assert all(task.closed for task in bench.made)


@pytest.mark.parametrize(
    ("error", "least_pause"),
    [(Fenced("f"), 0.3), (TaskFailed("t"), 0.1), (LoginRefused("l"), 0.1)],
)
async def test_a_task_in_doubt_is_replaced_after_a_pause(
    error: Exception, least_pause: float
) -> None:
    """Never at once: the process that fenced it may be the rightful owner."""
    bench = Bench(lambda: PlainTask(ends=error))
    bench.supervisor.reconcile({0})
    await bench.settle()
    pause = bench.supervisor.reconcile({0})
    assert pause is not None
    assert pause >= least_pause
    assert len(bench.made) == 1
    bench.now += pause
    bench.supervisor.reconcile({0})
    assert len(bench.made) == 2
    await bench.supervisor.stop_all(1)


async def test_a_task_that_nobody_cancelled_is_a_failure() -> None:
    """A library may raise CancelledError. A new task follows after a pause, not at once."""
    bench = Bench(lambda: PlainTask(ends=asyncio.CancelledError()))
    bench.supervisor.reconcile({0})
    await bench.settle()
    with capture_logs() as lines:
        assert bench.supervisor.reconcile({0}) is not None
    assert [line["event"] for line in lines] == ["task_failed"]
    assert len(bench.made) == 1


async def test_pauses_grow_while_nothing_is_committed() -> None:
    """A shard that cannot start must not overload the broker."""
    bench = Bench(lambda: PlainTask(ends=TaskFailed("t")))
    pauses = []
    for _ in range(8):
        bench.supervisor.reconcile({0})
        await bench.settle()
        pauses.append(bench.supervisor.reconcile({0}) or 0.0)
        bench.now += pauses[-1]
    assert max(pauses[:2]) < 0.5
    assert 4.0 < pauses[-1] <= 10.0
    await bench.supervisor.stop_all(1)


async def test_a_corrupted_shard_is_refused_and_the_others_go_on() -> None:
    """It is not started again; its reason is kept."""
    ends: list[BaseException | None] = [StateCorrupted("lost"), None]
    bench = Bench(lambda: PlainTask(ends=ends.pop(0)))
    bench.supervisor.reconcile({0, 1})
    await bench.settle()
    bench.supervisor.reconcile({0, 1})
    assert bench.supervisor.refusals == {0: "lost"}
    refused, running = bench.supervisor.statuses({0, 1})
    assert (refused.state, refused.refusal) == (REFUSED, "lost")
    assert (running.state, running.attempts) == ("running", 1)
    bench.supervisor.refuse_if_nothing_runs(frozenset({0, 1}))
    with pytest.raises(StateCorrupted, match="lost"):
        bench.supervisor.refuse_if_nothing_runs(frozenset({0}))
    assert len(bench.made) == 2
    await bench.supervisor.stop_all(1)


@pytest.mark.parametrize("error", [ClusterError("acl"), ValueError("a bug")])
async def test_an_error_without_recovery_is_raised(error: Exception) -> None:
    """It ends the process."""
    bench = Bench(lambda: PlainTask(ends=error))
    bench.supervisor.reconcile({0})
    await bench.settle()
    with pytest.raises(type(error)):
        bench.supervisor.reconcile({0})


async def test_an_ended_task_is_released() -> None:
    """Otherwise every restart would keep the ids in memory once more."""
    bench = Bench(lambda: PlainTask(ends=TaskFailed("t")))
    bench.supervisor.reconcile({0})
    await bench.settle()
    bench.supervisor.reconcile({0})
    gone = weakref.ref(bench.made.pop())
    gc.collect()
    assert gone() is None
    await bench.supervisor.stop_all(1)


async def test_a_status_adds_up_what_the_tasks_of_a_shard_have_handled() -> None:
    """A restart loses no count, and between two tasks the shard is waiting."""
    bench = Bench(lambda: PlainTask(ends=TaskFailed("t")))
    assert [it.state for it in bench.supervisor.statuses({0})] == [WAITING]
    bench.supervisor.reconcile({0})
    await bench.settle()
    pause = bench.supervisor.reconcile({0})
    (waiting,) = bench.supervisor.statuses()
    assert (waiting.state, waiting.attempts, waiting.handled_records) == (WAITING, 1, RECORDS)
    bench.now += pause or 0.0
    bench.supervisor.reconcile({0})
    (status,) = bench.supervisor.statuses()
    assert (status.attempts, status.handled_records) == (2, 2 * RECORDS)
    await bench.supervisor.stop_all(1)
