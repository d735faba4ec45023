"""Detects stalls: work is pending and nothing progresses. Clock and samples are arguments.

Most waits of the engine have a time limit, and the recovery after a timeout is a new task. The
stall detector covers the other cases: a task hangs, each new task fails, a restore waits for an
endless transaction, or the group never assigns shards. Then a new process may help. If it does not,
the restart count of the container (in Kubernetes, for example) makes the failure visible.
"""

import asyncio
import sys
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import Final

import msgspec
import structlog

from consumer.config import PREFIX
from consumer.errors import NoProgress
from consumer.shard.status import ShardStatus

WATCH_SECONDS: Final = 1.0
STACK_FRAMES: Final = 12
# At most this much of the time between two checks counts. If more time has passed, the process was
# frozen in between, and that is no stall.
LONGEST_STEP_SECONDS: Final = 5.0
log = structlog.get_logger(__name__)


class ProgressSample(msgspec.Struct, frozen=True):
    """The progress of one shard, or of the group, at one moment.

    ``handled`` has numbers that grow with completed work: records, positions, rebalances. ``task``
    is the number of the current task. ``loaded`` counts the changelog records that this task has
    restored: one long restore is progress, but many short restores that all fail are not.
    """

    is_behind: bool
    state: str
    handled: Mapping[Hashable, int] = {}
    task: int = 0
    loaded: int = 0


def sample_shards(
    statuses: Iterable[ShardStatus],
    *,
    wanted: Collection[int],
    now: float,
    stuck_seconds: float,
    repartition_topic: str,
) -> dict[str, ProgressSample]:
    """Return a sample of each shard, by its name; `now` is in monotonic seconds.

    Leave out a shard that is refused, or waits for a hanging transaction or the leader of a
    partition that it writes: a restart of the process does not help. Positions in the repartition
    topic are not counted as progress: watermark announcements move them even if no record is
    handled.
    """
    samples = {}
    for status in statuses:
        if status.refusal or status.hangs or status.leaderless:
            continue
        handled: dict[Hashable, int] = {"records": status.handled_records}
        handled.update({k: v for k, v in status.positions.items() if k.topic != repartition_topic})
        is_stuck = status.last_beat is not None and now - status.last_beat > stuck_seconds
        samples[f"shard {status.shard}"] = ProgressSample(
            # The task of a shard that is no longer assigned here must end: this is pending work.
            is_behind=status.is_behind or is_stuck or status.shard not in wanted,
            state=status.state,
            handled=handled,
            task=status.attempts,
            loaded=status.loaded_records,
        )
    return samples


class Stall(msgspec.Struct, frozen=True):
    """A shard, or the group, that makes no progress: its name, for how long, and its state."""

    name: str
    seconds: float
    state: str


class _Watched(msgspec.Struct):
    checked_at: float
    sample: ProgressSample
    handled: dict[Hashable, int]
    stalled_seconds: float = 0.0


class StallDetector:
    """Adds up, for each shard and the group, the time of pending work without progress."""

    def __init__(self, limit_seconds: float) -> None:
        """With a limit of 0, ``check`` never reports a stall."""
        self.limit_seconds = limit_seconds
        self._watched: dict[str, _Watched] = {}

    @property
    def worst(self) -> Stall | None:
        """The longest stall at the last check; None if there is no stall."""
        worst = max(self._watched.items(), key=lambda it: it[1].stalled_seconds, default=None)
        if worst is None or not worst[1].stalled_seconds:
            return None
        name, watched = worst
        return Stall(name, round(watched.stalled_seconds, 1), watched.sample.state)

    def check(self, now: float, samples: Mapping[str, ProgressSample]) -> Stall | None:
        """Compare with the last check; return the longest stall if it has reached the limit.

        Forget names that are not in `samples`.
        """
        self._watched = {
            name: self._add(now, self._watched.get(name), sample)
            for name, sample in samples.items()
        }
        worst = self.worst
        if not self.limit_seconds or worst is None:
            return None
        return worst if worst.seconds >= self.limit_seconds else None

    def _add(self, now: float, before: _Watched | None, sample: ProgressSample) -> _Watched:
        if before is None:
            return _Watched(now, sample, dict(sample.handled))
        # Compare with the highest numbers of all samples so far: a new task that only repeats work
        # of earlier tasks makes no progress.
        handled = before.handled
        done_more = any(count > handled.get(what, -1) for what, count in sample.handled.items())
        for what, count in sample.handled.items():
            handled[what] = max(count, handled.get(what, count))
        stalled_seconds = before.stalled_seconds
        if done_more or not sample.is_behind:
            stalled_seconds = 0.0
        elif sample.task != before.sample.task or sample.loaded <= before.sample.loaded:
            stalled_seconds += min(now - before.checked_at, LONGEST_STEP_SECONDS)
        return _Watched(now, sample, handled, stalled_seconds)


async def detect_stalls(
    detector: StallDetector,
    samples: Callable[[], Mapping[str, ProgressSample]],
    clock: Callable[[], float],
) -> None:
    """Check once a second, until a stall reaches the limit.

    Raises:
        NoProgress: a stall has reached the limit, and a new process may end it. Before the error,
            the stack of each asyncio task is written to standard error.
    """
    while True:
        stall = detector.check(clock(), samples())
        if stall is not None:
            break
        await asyncio.sleep(WATCH_SECONDS)
    log.error("watchdog", what=stall.name, state=stall.state, seconds=stall.seconds)
    for task in asyncio.all_tasks():
        task.print_stack(limit=STACK_FRAMES, file=sys.stderr)
    raise NoProgress(
        f"{stall.name} has work and made no progress for {stall.seconds:g} s ({stall.state}; "
        f"{PREFIX}WATCHDOG_SECONDS is {detector.limit_seconds:g}): the process ends, so that a new "
        "one can try; the stack of each task is above"
    )
