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
from consumer.worker.stall_detector import Sight

FIRST_BACKOFF_SECONDS: Final = 0.2
MAX_BACKOFF_SECONDS: Final = 10.0
STARTED_STATES: Final = (TaskState.RUNNING, TaskState.STOPPING)
log = structlog.get_logger(__name__)


class Place(msgspec.Struct):
    """One shard's place on this process."""

    task: ShardTask | None = None
    running: asyncio.Task[None] | None = None
    tries: int = 0
    handled_records: int = 0  # of the tasks that have ended
    failures: int = 0
    not_before: float = 0.0
    is_cancelled: bool = False
    refused: str | None = None  # why this shard must not run
    has_run: bool = False  # since it was given to this process


class Roster:
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
        self._places: dict[int, Place] = {}
        self._random = random.Random()  # noqa: S311 - jitter

    @property
    def tasks(self) -> list[ShardTask]:
        """The tasks that exist now."""
        return [place.task for place in self._places.values() if place.task is not None]

    @property
    def refusals(self) -> dict[int, str]:
        """The shards that must not run, and why."""
        return {s: place.refused for s, place in self._places.items() if place.refused is not None}

    def sights(self, wanted: Iterable[int], stuck_seconds: float) -> dict[str, Sight]:
        """Return what the watchdog sees of every shard that should run or has not ended yet."""
        wanted, now = frozenset(wanted), self._clock()
        sights = {}
        for shard in wanted | self._places.keys():
            place = self._places.get(shard, Place())
            if place.refused is not None:
                continue
            task = place.task
            if task is not None and task.hangs:  # only an operator can help, and a restart cannot
                continue
            if task is None:
                sights[f"shard {shard}"] = Sight(
                    is_behind=True, state="between two tries", task=place.tries
                )
                continue
            handled: dict[Hashable, int] = {"records": place.handled_records + task.handled_records}
            handled.update(task.input_positions)
            is_behind = task.is_behind or now - task.last_sign_of_life > stuck_seconds
            sights[f"shard {shard}"] = Sight(
                # One that is to end has nothing else to do.
                is_behind=is_behind or shard not in wanted,
                state=task.state.value,
                handled=handled,
                task=place.tries,
                loaded=task.loaded,
            )
        return sights

    def views(self, wanted: Iterable[int]) -> tuple[ShardView, ...]:
        """Return what can be seen of every shard that should run or has not ended yet."""
        shards = sorted(frozenset(wanted) | self._places.keys())
        return tuple(_view(shard, self._places.get(shard, Place())) for shard in shards)

    def reconcile(self, wanted: Iterable[int]) -> float | None:
        """Start and stop tasks; return the seconds until it should be called again, if any.

        Raises:
            BaseException: what ended a task and is not a task's own affair (ClusterError, a bug).
        """
        wanted = set(wanted)
        for shard, place in list(self._places.items()):
            self._collect(shard, place)
            if shard not in wanted:
                self._let_go(shard, place)
        now = self._clock()
        waits = []
        for shard in wanted:
            place = self._places.setdefault(shard, Place())
            if place.running is not None or place.refused is not None:
                continue
            if place.not_before > now:
                waits.append(place.not_before - now)
                continue
            place.tries += 1
            place.task = self._make_task(shard)
            place.running = asyncio.create_task(place.task.run(), name=f"shard-{shard}")
            place.running.add_done_callback(lambda _: self._on_change())
        return min(waits, default=None)

    async def stop_all(self, seconds: float) -> None:
        """Stop every task after its current transaction; cancel what does not end in time."""
        for shard, place in list(self._places.items()):
            self._let_go(shard, place)
        running = [place.running for place in self._places.values() if place.running is not None]
        if running:
            _, late = await asyncio.wait(running, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=seconds)
            for task in running:
                if task.done() and not task.cancelled():
                    task.exception()  # looked at, or asyncio reports it as forgotten

    def _let_go(self, shard: int, place: Place) -> None:
        if place.running is None or place.task is None:
            del self._places[shard]
        elif place.task.state in STARTED_STATES:
            place.task.stop()
        elif place.task.state is not TaskState.CLOSED and not place.is_cancelled:
            # Nothing was written yet but the mark. Once only, and never while it closes: its
            # clean-up would be cut short and leave sockets behind.
            place.is_cancelled = True
            place.running.cancel()

    def _collect(self, shard: int, place: Place) -> None:
        """Take note of a task that has ended, by the recovery that its error asks for."""
        if place.running is None or not place.running.done() or place.task is None:
            return
        task, ended = place.task, place.running
        place.task = place.running = None
        place.is_cancelled = False
        place.handled_records += task.handled_records
        place.has_run = place.has_run or task.has_run
        if task.transactions:
            place.failures = 0
        error = None if ended.cancelled() else ended.exception()
        if error is None:
            return
        if isinstance(error, Fenced):
            # Whoever fenced us may be the rightful owner: the next heartbeat tells.
            pause = self._fenced_pause_seconds * self._random.uniform(1, 2)
            place.not_before = self._clock() + pause
            log.warning("task_fenced", shard=shard, error=str(error), pause_seconds=round(pause, 3))
        elif isinstance(error, TaskFailed | TransientError | HangingTransaction):
            ceiling = min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2**place.failures)
            pause = ceiling * self._random.uniform(0.5, 1)
            place.failures = min(place.failures + 1, 10)
            place.not_before = self._clock() + pause
            log.warning("task_failed", shard=shard, error=str(error), pause_seconds=round(pause, 3))
        elif isinstance(error, StateCorrupted):
            place.refused = str(error)
            log.error("shard_refused", shard=shard, error=str(error))
        else:
            raise error


def _view(shard: int, place: Place) -> ShardView:
    if place.refused is not None:
        return ShardView(shard, REFUSED, refusal=place.refused, has_run=place.has_run)
    if place.task is None:
        return ShardView(shard, WAITING, has_run=place.has_run)
    has_run = place.has_run or place.task.has_run
    return replace(place.task.view, has_run=has_run)
