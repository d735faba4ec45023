"""Retries of a job, and its shutdown."""

import asyncio
import signal

import pytest

from consumer.errors import (
    CheckpointReadyError,
    Fenced,
    Interrupted,
    TaskFailed,
    TransientError,
    Unreachable,
)
from consumer.jobs import retry
from consumer.jobs.job import TAKEN_OVER
from consumer.jobs.retry import ShutdownSignal, run_with_retries


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "LONGEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(retry, "STOP_SECONDS", 0.05)


class Work:
    """Attempts with given results, one after the other, and their progress."""

    def __init__(self, *ends: Exception | None, progress: bool = False) -> None:
        self.attempts = 0
        self.done = 0
        self._ends = list(ends)
        self._progress = progress

    async def attempt(self) -> str:
        """Make one attempt."""
        self.attempts += 1
        self.done += self._progress
        end = self._ends.pop(0)
        if end is not None:
            raise end
        return "done"

    async def run(self, shutdown: ShutdownSignal | None = None) -> str:
        """Run with retries."""
        return await run_with_retries(
            self.attempt, lambda: self.done, shutdown or ShutdownSignal(), TAKEN_OVER
        )


async def test_a_failed_attempt_is_retried() -> None:
    """Another attempt follows a failed one."""
    work = Work(TaskFailed("a"), TaskFailed("b"), None)
    assert await work.run() == "done"
    assert work.attempts == 3


async def test_it_gives_up_without_progress() -> None:
    """Several failures in a row without progress end the run with the last error."""
    work = Work(*(TaskFailed(f"no {n}") for n in range(retry.TRIES_WITHOUT_PROGRESS)))
    with pytest.raises(TaskFailed, match=f"no {retry.TRIES_WITHOUT_PROGRESS - 1}"):
        await work.run()


async def test_progress_resets_the_number_of_tries() -> None:
    """While each attempt commits something, failures never end the run."""
    failures = [TaskFailed("again")] * (3 * retry.TRIES_WITHOUT_PROGRESS)
    assert await Work(*failures, None, progress=True).run() == "done"


async def test_a_wrong_address_ends_the_run_at_once() -> None:
    """No reachable broker at the start is a wrong address; later it is an outage."""
    with pytest.raises(Unreachable):
        await Work(Unreachable("no broker"), None).run()
    for failure in (TaskFailed("x"), TransientError("x")):
        assert await Work(failure, Unreachable("no broker"), None).run() == "done"
    committed = Work(Unreachable("gone"), Unreachable("no broker"), None, progress=True)
    assert await committed.run() == "done"


async def test_a_takeover_is_not_retried() -> None:
    """The process that was fenced ends, and the other one continues."""
    with pytest.raises(CheckpointReadyError, match=TAKEN_OVER):
        await Work(Fenced("taken")).run()


async def test_a_hanging_attempt_is_cancelled_after_a_shutdown_request() -> None:
    """An attempt that does not end is cancelled some seconds after the request."""
    shutdown, is_cancelled = ShutdownSignal(), asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            is_cancelled.set()

    asyncio.get_running_loop().call_soon(shutdown.request, signal.SIGTERM)
    with pytest.raises(Interrupted) as interrupted:
        await run_with_retries(hang, lambda: 0, shutdown, TAKEN_OVER)
    assert interrupted.value.exit_code == 128 + signal.SIGTERM
    assert is_cancelled.is_set()


async def test_a_failure_after_a_shutdown_request_is_an_interruption() -> None:
    """The run was interrupted, whatever the attempt fails with, and says how to resume."""
    shutdown = ShutdownSignal()
    shutdown.request(signal.SIGINT)
    with pytest.raises(Interrupted, match=retry.RESUME_HINT):
        await Work(TaskFailed("did not answer")).run(shutdown)
