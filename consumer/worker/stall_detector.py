"""Is there work, and does nobody get on with it? Time and what is seen are handed in.

Everything the engine awaits has a bound of its own, and its recovery is a new task. The watchdog is
for what no recovery ends: a task that hangs, one that fails at each start anew, a restore behind a
transaction that nobody ends, a group that never says what runs here. Then a new process may help,
and a supervisor that counts restarts makes the trouble visible.
"""

import asyncio
import sys
from collections.abc import Callable, Hashable, Mapping
from typing import Final

import msgspec
import structlog

from consumer.config import PREFIX
from consumer.errors import NoProgress

WATCH_SECONDS: Final = 1.0
STACK_FRAMES: Final = 12
# A process that was frozen has not stood still for that time: between two looks no more counts.
LONGEST_STEP_SECONDS: Final = 5.0
log = structlog.get_logger(__name__)


class ProgressSample(msgspec.Struct, frozen=True):
    """What is seen of one thing that should get on.

    ``handled`` is what is done for good: records and positions, by any names. ``task`` tells
    one try from the next, and ``loaded`` how far this try has come with its restore: long restores
    are progress, while many short ones, each thrown away, are none.
    """

    is_behind: bool
    state: str
    handled: Mapping[Hashable, int] = {}
    task: int = 0
    loaded: int = 0


class Stall(msgspec.Struct, frozen=True):
    """What has not got on, for how long, and how it looks."""

    name: str
    seconds: float
    state: str


class _Watched(msgspec.Struct):
    seen_at: float
    sample: ProgressSample
    handled: dict[Hashable, int]
    stalled_seconds: float = 0.0


class StallDetector:
    """Adds up for each thing how long it has been behind without progress."""

    def __init__(self, limit_seconds: float) -> None:
        self.limit_seconds = limit_seconds
        self._watched: dict[str, _Watched] = {}

    @property
    def worst(self) -> Stall | None:
        """What has stood still for the longest time, by the last look; None: nothing has."""
        worst = max(self._watched.items(), key=lambda it: it[1].stalled_seconds, default=None)
        if worst is None or not worst[1].stalled_seconds:
            return None
        name, watched = worst
        return Stall(name, round(watched.stalled_seconds, 1), watched.sample.state)

    def look(self, now: float, progress_samples: Mapping[str, ProgressSample]) -> Stall | None:
        """Take in what is seen now of all things; return the worst that is over the limit.

        What is not seen any more is forgotten.
        """
        self._watched = {
            name: self._add(now, self._watched.get(name), sample)
            for name, sample in progress_samples.items()
        }
        worst = self.worst
        if not self.limit_seconds or worst is None:
            return None
        return worst if worst.seconds >= self.limit_seconds else None

    def _add(self, now: float, before: _Watched | None, sample: ProgressSample) -> _Watched:
        if before is None:
            return _Watched(now, sample, dict(sample.handled))
        # Against the highest ever seen: a new task that begins again where the last one began
        # has done nothing yet.
        handled = before.handled
        done_more = any(count > handled.get(what, -1) for what, count in sample.handled.items())
        for what, count in sample.handled.items():
            handled[what] = max(count, handled.get(what, count))
        stalled_seconds = before.stalled_seconds
        if done_more or not sample.is_behind:
            stalled_seconds = 0.0
        elif sample.task != before.sample.task or sample.loaded <= before.sample.loaded:
            stalled_seconds += min(now - before.seen_at, LONGEST_STEP_SECONDS)
        return _Watched(now, sample, handled, stalled_seconds)


async def keep_watch(
    look: Callable[[], Mapping[str, ProgressSample]],
    watchdog: StallDetector,
    clock: Callable[[], float],
) -> None:
    """Look once a second, until something has work and does not get on with it.

    Raises:
        NoProgress: only a new process may help; where each task waits is on standard error.
    """
    while True:
        stall = watchdog.look(clock(), look())
        if stall is not None:
            break
        await asyncio.sleep(WATCH_SECONDS)
    log.error("watchdog", what=stall.name, state=stall.state, seconds=stall.seconds)
    for task in asyncio.all_tasks():
        task.print_stack(limit=STACK_FRAMES, file=sys.stderr)
    raise NoProgress(
        f"{stall.name} has work and made no progress for {stall.seconds:g} s ({stall.state}; "
        f"{PREFIX}WATCHDOG_SECONDS is {watchdog.limit_seconds:g}): the process ends, so that a new "
        "one can try; above stands where each task waits"
    )
