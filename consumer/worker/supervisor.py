"""The supervisor: starts, stops and restarts tasks until they match the assigned shards."""

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
import structlog
from msgspec.structs import replace

from consumer.errors import (
    Fenced,
    HangingTransaction,
    Leaderless,
    LoginRefused,
    StateCorrupted,
    TaskFailed,
    TransactionUnanswered,
    TransientError,
)
from consumer.shard.status import REFUSED, WAITING, ShardStatus, TaskState
from consumer.shard.task import ShardTask

# With half of the default transaction timeout before it, this is more than the 9 s after which the
# brokers replace a leader that hangs (broker.session.timeout.ms).
UNANSWERED_PAUSE_SECONDS: Final = (3.5, 4.0)
FIRST_BACKOFF_SECONDS: Final = 0.2
MAX_BACKOFF_SECONDS: Final = 10.0
STARTED_STATES: Final = (TaskState.RUNNING, TaskState.STOPPING)
log = structlog.get_logger(__name__)


class Slot(msgspec.Struct):
    """The record of one shard in this process. It outlives the tasks of the shard."""

    shard: int
    task: ShardTask | None = None
    running: asyncio.Task[None] | None = None
    attempts: int = 0
    handled_records: int = 0  # of the tasks that have ended
    failures: int = 0
    not_before: float = 0.0
    is_cancelled: bool = False
    refusal: str | None = None  # why this shard must not run
    leaderless: str = ""  # the partitions without a leader for which the last task ended
    has_run: bool = False  # since it was assigned to this process

    def status(self) -> ShardStatus:
        """Return the status of the shard: that of its task, plus the figures of earlier tasks."""
        if self.refusal is not None:
            status = ShardStatus(self.shard, REFUSED, refusal=self.refusal)
        elif self.task is None:
            status = ShardStatus(self.shard, WAITING)
        else:
            status = self.task.status()
        return replace(
            status,
            has_run=self.has_run or status.has_run,
            attempts=self.attempts,
            leaderless="" if status.state == TaskState.RUNNING.value else self.leaderless,
            handled_records=self.handled_records + status.handled_records,
        )


class Supervisor:
    """Runs one task per assigned shard. After a recoverable error, a new task follows."""

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
        return {s: slot.refusal for s, slot in self._slots.items() if slot.refusal is not None}

    def refuse_if_nothing_runs(self, wanted: frozenset[int]) -> None:
        """Check that at least one assigned shard may run.

        Raises:
            StateCorrupted: every assigned shard is refused; the message has the reasons.
        """
        refusals = self.refusals
        if wanted and wanted <= refusals.keys():
            raise StateCorrupted("\n".join(sorted(set(refusals.values()))))

    def statuses(self, wanted: Iterable[int] = ()) -> tuple[ShardStatus, ...]:
        """Return the status of each wanted shard, and of each other shard that still has a slot."""
        shards = sorted(frozenset(wanted) | self._slots.keys())
        return tuple(self._slots.get(shard, Slot(shard)).status() for shard in shards)

    def reconcile(self, wanted: Iterable[int]) -> float | None:
        """Start and stop tasks to match the wanted shards.

        Return the seconds until the next call is needed for a shard that waits for its next task.
        None: no shard waits.

        Raises:
            BaseException: a task ended with an error for which a new task is no recovery
                (ClusterError, LimitReached, a bug).
        """
        wanted = set(wanted)
        for slot in list(self._slots.values()):
            self._collect(slot)
            if slot.shard not in wanted:
                self._release(slot)
        now = self._clock()
        waits = []
        for shard in wanted:
            slot = self._slots.setdefault(shard, Slot(shard))
            if slot.running is not None or slot.refusal is not None:
                continue
            if slot.not_before > now:
                waits.append(slot.not_before - now)
                continue
            slot.attempts += 1
            slot.task = self._make_task(shard)
            slot.running = asyncio.create_task(slot.task.run(), name=f"shard-{shard}")
            slot.running.add_done_callback(lambda _: self._on_change())
        return min(waits, default=None)

    async def stop_all(self, seconds: float) -> None:
        """Stop every task after its current transaction; cancel those that do not end in time."""
        for slot in list(self._slots.values()):
            self._release(slot)
        running = [slot.running for slot in self._slots.values() if slot.running is not None]
        if running:
            _, late = await asyncio.wait(running, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=seconds)
            for task in running:
                if task.done() and not task.cancelled():
                    task.exception()  # asyncio logs an exception that was never retrieved

    def _release(self, slot: Slot) -> None:
        """Make the task of a shard end; if the shard has no task, remove its slot."""
        if slot.running is None or slot.task is None:
            del self._slots[slot.shard]
        elif slot.task.state in STARTED_STATES:
            slot.task.stop()
        elif slot.task.state is not TaskState.CLOSED and not slot.is_cancelled:
            # The task has handled no record yet, so cancel it. Cancel it only once, and never in
            # state CLOSED: otherwise its clean-up would be interrupted and leave sockets open.
            slot.is_cancelled = True
            slot.running.cancel()

    def _collect(self, slot: Slot) -> None:
        """If the task of this shard has ended, remove it and apply the recovery for its error."""
        if slot.running is None or not slot.running.done() or slot.task is None:
            return
        status, ended, shard = slot.task.status(), slot.running, slot.shard
        slot.task = slot.running = None
        was_requested, slot.is_cancelled = slot.is_cancelled, False
        slot.handled_records += status.handled_records
        slot.has_run = slot.has_run or status.has_run
        if status.transactions:
            slot.failures = 0
        error: BaseException | None
        if not ended.cancelled():
            error = ended.exception()
        else:
            error = None if was_requested else TaskFailed("the task was cancelled from within")
        slot.leaderless = str(error) if isinstance(error, Leaderless) else ""
        if error is None:
            return
        if isinstance(error, Fenced):
            # The group may have assigned the shard to another member. Before a new task, wait for
            # the next heartbeat of the membership: its response shows such a rebalance.
            pause = self._fenced_pause_seconds * self._random.uniform(1, 2)
            slot.not_before = self._clock() + pause
            log.warning("task_fenced", shard=shard, error=str(error), pause_seconds=round(pause, 3))
        elif isinstance(error, TaskFailed | TransientError | HangingTransaction | LoginRefused):
            # `FaultWatch` ends the process if the brokers refuse the login for longer than a grace.
            ceiling = min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2**slot.failures)
            pause = ceiling * self._random.uniform(0.5, 1)
            if isinstance(error, TransactionUnanswered):
                pause = max(pause, self._random.uniform(*UNANSWERED_PAUSE_SECONDS))
            slot.failures = min(slot.failures + 1, 10)
            slot.not_before = self._clock() + pause
            log.warning("task_failed", shard=shard, error=str(error), pause_seconds=round(pause, 3))
        elif isinstance(error, StateCorrupted):
            slot.refusal = str(error)
            log.error("shard_refused", shard=shard, error=str(error))
        else:
            raise error
