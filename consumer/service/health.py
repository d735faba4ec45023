"""Three questions about a process, and their answers in words. Pure.

===========  =====================================================  ===============================
path         200 means                                              what 503 should lead to
===========  =====================================================  ===============================
``livez``    it answers, and what has work makes progress           a new process
``readyz``   it is in the group, each of its shards runs, and the   nothing but waiting: a rolling
             brokers answer                                         update goes no further
``startupz`` the shards that it was first given were restored, or   patience: a restore that gets
             must not run                                           on may last as long as it lasts
===========  =====================================================  ===============================
"""

from typing import NamedTuple

from consumer.shard.status import REFUSED, ShardStatus, TaskState
from consumer.worker.engine import EngineStatus


class Answer(NamedTuple):
    """Yes or no, and why, one line for each reason."""

    is_ok: bool
    lines: tuple[str, ...]


def is_alive(view: EngineStatus, watchdog_seconds: float) -> Answer:
    """Tell whether the process makes progress; that it answers shows that its loop runs.

    The limit is the watchdog's, which ends the process by itself; where that is off (0), nothing
    that stands still is held against it.
    """
    stall = view.stall
    if stall is None:
        return Answer(is_ok=True, lines=("alive",))
    line = f"{stall.name} has work and made no progress for {stall.seconds:g} s ({stall.state})"
    is_over = 0 < watchdog_seconds <= stall.seconds
    return Answer(is_ok=not is_over, lines=(line,))


def is_ready(view: EngineStatus) -> Answer:
    """Tell whether the process does all of its work."""
    problems = [] if view.is_member else ["the group has not said what runs here"]
    for shard in view.shards:
        if shard.state != TaskState.RUNNING.value:
            problems.append(_describe(shard))
        silent = [source for source in shard.sources if source.is_silent]
        problems += [
            f"shard {shard.shard}: no broker has answered for {source.topic}/{source.partition} "
            f"for {source.unanswered_seconds:.0f} s"
            for source in silent
        ]
    if problems:
        return Answer(is_ok=False, lines=tuple(problems))
    running = ", ".join(str(shard.shard) for shard in view.shards)
    return Answer(
        is_ok=True, lines=(f"running: {running}" if running else "no shard: a spare of the group",)
    )


class StartUp:
    """Remembers that the start is over, for the shards of later assignments are no start."""

    def __init__(self) -> None:
        self._is_over = False

    def is_over(self, view: EngineStatus) -> Answer:
        """Tell whether the first assignment was restored; a refused shard holds nothing up."""
        if not self._is_over:
            waiting = [s for s in view.shards if not s.has_run and s.state != REFUSED]
            if not view.is_member:
                return Answer(is_ok=False, lines=("the group has not said what runs here",))
            if waiting:
                return Answer(is_ok=False, lines=tuple(map(_describe, waiting)))
            self._is_over = True
        return Answer(is_ok=True, lines=("started",))


def _describe(shard: ShardStatus) -> str:
    if shard.hangs:
        return f"shard {shard.shard} waits: {shard.hangs}"
    if shard.refusal:
        return f"shard {shard.shard} must not run: {shard.refusal}"
    if shard.restore_ratio is not None and shard.state == TaskState.RESTORING.value:
        return f"shard {shard.shard} is restoring: {shard.restore_ratio:.0%}, {shard.entries} ids"
    return f"shard {shard.shard} is {shard.state}"
