"""Stall detection: work is pending and nothing progresses. Pure: clock and samples are arguments.

Most waits of the engine have a time limit, and a new task is the recovery. The stall detector
covers the other cases: a task hangs or fails at each start, a restore waits for a transaction that
never ends, or the group never assigns shards. A new process may help. If it does not, the restart
count of the container (in Kubernetes, for example) makes the failure visible.
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
# At most this much time counts between two checks. If the checks are further apart, the process was
# frozen, and that is no stall.
LONGEST_STEP_SECONDS: Final = 5.0
log = structlog.get_logger(__name__)


class ProgressSample(msgspec.Struct, frozen=True):
    """The progress of one shard, or of the group, at one moment.

    ``handled`` counts completed work (records, positions); its keys are any names. ``task`` is the
    number of the current attempt. ``loaded`` counts the changelog records that this attempt has
    restored: one long restore is progress, but many short ones that all fail are not.
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
    """Return the progress of each shard, by its name; `now` is monotonic.

    Leave out a shard that is refused or waits for a hanging transaction: it needs an operator, and
    a restart does not help. Positions in the repartition topic do not count as progress, because
    watermark announcements move them even if no record is handled.
    """
    samples = {}
    for status in statuses:
        if status.refusal or status.hangs:
            continue
        handled: dict[Hashable, int] = {"records": status.handled_records}
        handled.update({k: v for k, v in status.positions.items() if k.topic != repartition_topic})
        is_stuck = status.last_beat is not None and now - status.last_beat > stuck_seconds
        samples[f"shard {status.shard}"] = ProgressSample(
            # A shard that is no longer assigned here has to end, which is pending work too.
            is_behind=status.is_behind or is_stuck or status.shard not in wanted,
            state=status.state,
            handled=handled,
            task=status.attempts,
            loaded=status.loaded_records,
        )
    return samples


class Stall(msgspec.Struct, frozen=True):
    """What makes no progress, for how long, and in which state it is."""

    name: str
    seconds: float
    state: str


class _Watched(msgspec.Struct):
    checked_at: float
    sample: ProgressSample
    handled: dict[Hashable, int]
    stalled_seconds: float = 0.0


class StallDetector:
    """Adds up the time for which work is pending without progress, for each name."""

    def __init__(self, limit_seconds: float) -> None:
        """With a limit of 0, ``check`` never reports a stall."""
        self.limit_seconds = limit_seconds
        self._watched: dict[str, _Watched] = {}

    @property
    def worst(self) -> Stall | None:
        """The longest stall at the last check; None: everything progresses."""
        worst = max(self._watched.items(), key=lambda it: it[1].stalled_seconds, default=None)
        if worst is None or not worst[1].stalled_seconds:
            return None
        name, watched = worst
        return Stall(name, round(watched.stalled_seconds, 1), watched.sample.state)

    def check(self, now: float, samples: Mapping[str, ProgressSample]) -> Stall | None:
        """Compare with the last check; return the longest stall that is over the limit.

        Names without a sample are forgotten.
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
        # Compare with the highest count of all tasks: a new task that only repeats the work of the
        # last task makes no progress.
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
    """Check once a second, until a stall is over the limit.

    Raises:
        NoProgress: only a new process may help. Standard error shows where each task waits.
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
