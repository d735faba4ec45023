"""How a tool lives through trouble, and how it is stopped."""

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
from consumer.jobs.retry import ShutdownSignal, run_with_retries


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "LONGEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(retry, "STOP_SECONDS", 0.05)


class Work:
    """Attempts that end as they are told to, one after the other, and what they got done."""

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

    async def run(self, stop: ShutdownSignal | None = None) -> str:
        """Go on until one succeeds."""
        return await run_with_retries(self.attempt, lambda: self.done, stop or ShutdownSignal())


async def test_it_goes_on_after_trouble() -> None:
    """A failed attempt is followed by another one."""
    work = Work(TaskFailed("a"), TaskFailed("b"), None)
    assert await work.run() == "done"
    assert work.attempts == 3


async def test_it_gives_up_without_progress() -> None:
    """The same trouble again and again ends it, with that trouble's own message."""
    work = Work(*(TaskFailed(f"no {n}") for n in range(retry.TRIES_WITHOUT_PROGRESS)))
    with pytest.raises(TaskFailed, match=f"no {retry.TRIES_WITHOUT_PROGRESS - 1}"):
        await work.run()


async def test_progress_makes_patient() -> None:
    """As long as each attempt gets something done, trouble never ends it."""
    troubles = [TaskFailed("again")] * (3 * retry.TRIES_WITHOUT_PROGRESS)
    assert await Work(*troubles, None, progress=True).run() == "done"


async def test_a_wrong_address_ends_it_at_once() -> None:
    """Nobody there at the very start is a mistake; later it is an outage."""
    with pytest.raises(Unreachable):
        await Work(Unreachable("nobody"), None).run()
    for trouble in (TaskFailed("x"), TransientError("x")):
        assert await Work(trouble, Unreachable("nobody"), None).run() == "done"
    committed = Work(Unreachable("gone"), Unreachable("nobody"), None, progress=True)
    assert await committed.run() == "done"


async def test_another_process_goes_on() -> None:
    """A takeover is no trouble to fight against."""
    with pytest.raises(CheckpointReadyError, match="another process has started the same"):
        await Work(Fenced("taken")).run()


async def test_a_wait_for_the_cluster_is_cut_short() -> None:
    """An attempt that does not come to an end is cancelled some time after the stop."""
    stop, is_cancelled = ShutdownSignal(), asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            is_cancelled.set()

    asyncio.get_running_loop().call_soon(stop.request, signal.SIGTERM)
    with pytest.raises(Interrupted) as interrupted:
        await run_with_retries(hang, lambda: 0, stop)
    assert interrupted.value.exit_code == 128 + signal.SIGTERM
    assert is_cancelled.is_set()


async def test_trouble_after_a_stop_is_a_stop() -> None:
    """Whatever the attempt ends with then, the command was stopped and says how to go on."""
    stop = ShutdownSignal()
    stop.request(signal.SIGINT)
    with pytest.raises(Interrupted, match="the same command goes on"):
        await Work(TaskFailed("did not answer")).run(stop)
