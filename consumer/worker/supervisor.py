"""Which shards run here: starts, stops and restarts their tasks until they match what is wanted."""

import asyncio
import random
from collections.abc import Callable, Hashable, Iterable
from typing import Final

import msgspec
import structlog
from msgspec.structs import replace

from consumer.errors import (
    Fenced,
    HangingTransaction,
    StateCorrupted,
    TaskFailed,
    TransientError,
)
from consumer.shard.status import REFUSED, WAITING, ShardView, TaskState
from consumer.shard.task import ShardTask
from consumer.worker.stall_detector import ProgressSample

FIRST_BACKOFF_SECONDS: Final = 0.2
MAX_BACKOFF_SECONDS: Final = 10.0
STARTED_STATES: Final = (TaskState.RUNNING, TaskState.STOPPING)
log = structlog.get_logger(__name__)


class Slot(msgspec.Struct):
    """One shard's slot on this process."""

    task: ShardTask | None = None
    running: asyncio.Task[None] | None = None
    tries: int = 0
    handled_records: int = 0  # of the tasks that have ended
    failures: int = 0
    not_before: float = 0.0
    is_cancelled: bool = False
    refused: str | None = None  # why this shard must not run
    has_run: bool = False  # since it was given to this process


class Supervisor:
    """Keeps one task per wanted shard. A task that ends in doubt is replaced, never revived."""

    def __init__(
        self,
        make_task: Callable[[int], ShardTask],
        *,
        fenced_pause_seconds: float,
        on_change: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._make_task = make_task
        self._fenced_pause_seconds = fenced_pause_seconds
        self._on_change = on_change
        self._clock = clock
        self._slots: dict[int, Slot] = {}
        self._random = random.Random()  # noqa: S311 - jitter

    @property
    def tasks(self) -> list[ShardTask]:
        """The tasks that exist now."""
        return [slot.task for slot in self._slots.values() if slot.task is not None]

    @property
    def refusals(self) -> dict[int, str]:
        """The shards that must not run, and why."""
        return {s: slot.refused for s, slot in self._slots.items() if slot.refused is not None}

    def progress_samples(
        self, wanted: Iterable[int], stuck_seconds: float
    ) -> dict[str, ProgressSample]:
        """Return what the watchdog sees of every shard that should run or has not ended yet."""
        wanted, now = frozenset(wanted), self._clock()
        progress_samples = {}
        for shard in wanted | self._slots.keys():
            slot = self._slots.get(shard, Slot())
            if slot.refused is not None:
                continue
            task = slot.task
            if task is not None and task.hangs:  # only an operator can help, and a restart cannot
                continue
            if task is None:
                progress_samples[f"shard {shard}"] = ProgressSample(
                    is_behind=True, state="between two tries", task=slot.tries
                )
                continue
            handled: dict[Hashable, int] = {"records": slot.handled_records + task.handled_records}
            handled.update(task.input_positions)
            is_behind = task.is_behind or now - task.last_sign_of_life > stuck_seconds
            progress_samples[f"shard {shard}"] = ProgressSample(
                # One that is to end has nothing else to do.
                is_behind=is_behind or shard not in wanted,
                state=task.state.value,
                handled=handled,
                task=slot.tries,
                loaded=task.loaded,
            )
        return progress_samples

    def views(self, wanted: Iterable[int]) -> tuple[ShardView, ...]:
        """Return what can be seen of every shard that should run or has not ended yet."""
        shards = sorted(frozenset(wanted) | self._slots.keys())
        return tuple(_view(shard, self._slots.get(shard, Slot())) for shard in shards)

    def reconcile(self, wanted: Iterable[int]) -> float | None:
        """Start and stop tasks; return the seconds until it should be called again, if any.

        Raises:
            BaseException: what ended a task and is not a task's own affair (ClusterError, a bug).
        """
        wanted = set(wanted)
        for shard, slot in list(self._slots.items()):
            self._collect(shard, slot)
            if shard not in wanted:
                self._let_go(shard, slot)
        now = self._clock()
        waits = []
        for shard in wanted:
            slot = self._slots.setdefault(shard, Slot())
            if slot.running is not None or slot.refused is not None:
                continue
            if slot.not_before > now:
                waits.append(slot.not_before - now)
                continue
            slot.tries += 1
            slot.task = self._make_task(shard)
            slot.running = asyncio.create_task(slot.task.run(), name=f"shard-{shard}")
            slot.running.add_done_callback(lambda _: self._on_change())
        return min(waits, default=None)

    async def stop_all(self, seconds: float) -> None:
        """Stop every task after its current transaction; cancel what does not end in time."""
        for shard, slot in list(self._slots.items()):
            self._let_go(shard, slot)
        running = [slot.running for slot in self._slots.values() if slot.running is not None]
        if running:
            _, late = await asyncio.wait(running, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=seconds)
            for task in running:
                if task.done() and not task.cancelled():
                    task.exception()  # looked at, or asyncio reports it as forgotten

    def _let_go(self, shard: int, slot: Slot) -> None:
        if slot.running is None or slot.task is None:
            del self._slots[shard]
        elif slot.task.state in STARTED_STATES:
            slot.task.stop()
        elif slot.task.state is not TaskState.CLOSED and not slot.is_cancelled:
            # Nothing was written yet but the mark. Once only, and never while it closes: its
            # clean-up would be cut short and leave sockets behind.
            slot.is_cancelled = True
            slot.running.cancel()

    def _collect(self, shard: int, slot: Slot) -> None:
        """Take note of a task that has ended, by the recovery that its error asks for."""
        if slot.running is None or not slot.running.done() or slot.task is None:
            return
        task, ended = slot.task, slot.running
        slot.task = slot.running = None
        slot.is_cancelled = False
        slot.handled_records += task.handled_records
        slot.has_run = slot.has_run or task.has_run
        if task.transactions:
            slot.failures = 0
        error = None if ended.cancelled() else ended.exception()
        if error is None:
            return
        if isinstance(error, Fenced):
            # Whoever fenced us may be the rightful owner: the next heartbeat tells.
            pause = self._fenced_pause_seconds * self._random.uniform(1, 2)
            slot.not_before = self._clock() + pause
            log.warning("task_fenced", shard=shard, error=str(error), pause_seconds=round(pause, 3))
        elif isinstance(error, TaskFailed | TransientError | HangingTransaction):
            ceiling = min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2**slot.failures)
            pause = ceiling * self._random.uniform(0.5, 1)
            slot.failures = min(slot.failures + 1, 10)
            slot.not_before = self._clock() + pause
            log.warning("task_failed", shard=shard, error=str(error), pause_seconds=round(pause, 3))
        elif isinstance(error, StateCorrupted):
            slot.refused = str(error)
            log.error("shard_refused", shard=shard, error=str(error))
        else:
            raise error


def _view(shard: int, slot: Slot) -> ShardView:
    if slot.refused is not None:
        return ShardView(shard, REFUSED, refusal=slot.refused, has_run=slot.has_run)
    if slot.task is None:
        return ShardView(shard, WAITING, has_run=slot.has_run)
    has_run = slot.has_run or slot.task.has_run
    return replace(slot.task.view, has_run=has_run)
