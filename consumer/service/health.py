"""The answers of the health probes. Pure: each is computed from the status of the engine.

============  ==================================================  ================================
path          200 means                                           what 503 should cause
============  ==================================================  ================================
``livez``     the process answers, and all pending work makes     a new process
              progress
``readyz``    the process is in the consumer group, each of its   a pause: a rolling update stops
              shards runs, and the brokers answer                 there
``startupz``  each shard of the first assignment was restored or  a longer wait: a restore that
              refused                                             makes progress has no time limit
============  ==================================================  ================================
"""

from typing import Final, NamedTuple

from consumer.shard.status import REFUSED, ShardStatus, SourceStatus, TaskState
from consumer.worker.engine import EngineStatus

ALIVE: Final = "alive"
NO_ASSIGNMENT: Final = "no assignment from the consumer group yet"
SPARE: Final = "no shard: this process is a spare of the group"
STARTED: Final = "started"


class ProbeAnswer(NamedTuple):
    """The answer of a probe: yes or no, and one line for each reason."""

    is_ok: bool
    lines: tuple[str, ...]


def is_alive(engine: EngineStatus, watchdog_seconds: float) -> ProbeAnswer:
    """Return whether all pending work makes progress. Any answer shows that the event loop runs.

    The answer is negative if a stall has lasted for `watchdog_seconds`. At the same limit the stall
    detector ends the process. With 0 the detector is off: the answer names a stall but is positive.
    """
    stall = engine.stall
    if stall is None:
        return ProbeAnswer(is_ok=True, lines=(ALIVE,))
    line = f"{stall.name}: work is pending, but no progress for {stall.seconds:g} s ({stall.state})"
    is_over = 0 < watchdog_seconds <= stall.seconds
    return ProbeAnswer(is_ok=not is_over, lines=(line,))


def is_ready(engine: EngineStatus) -> ProbeAnswer:
    """Return whether the process does all of its work, and if not, what is missing."""
    problems = [] if engine.is_member else [NO_ASSIGNMENT]
    for shard in engine.shards:
        if shard.state != TaskState.RUNNING.value:
            problems.append(_describe(shard))
        silent = [source for source in shard.sources if source.is_silent]
        problems += [
            f"shard {shard.shard}: no broker has answered for {source.topic}/{source.partition} "
            f"for {source.unanswered_seconds:.0f} s{_reason(source)}"
            for source in silent
        ]
    if problems:
        return ProbeAnswer(is_ok=False, lines=tuple(problems))
    running = ", ".join(str(shard.shard) for shard in engine.shards)
    return ProbeAnswer(is_ok=True, lines=(f"running: {running}" if running else SPARE,))


class StartUp:
    """Remembers that the start-up is over. Shards of later assignments do not change this."""

    def __init__(self) -> None:
        self._is_over = False

    def is_over(self, engine: EngineStatus) -> ProbeAnswer:
        """Return whether each shard of the first assignment has been restored or refused."""
        if not self._is_over:
            waiting = [s for s in engine.shards if not s.has_run and s.state != REFUSED]
            if not engine.is_member:
                return ProbeAnswer(is_ok=False, lines=(NO_ASSIGNMENT,))
            if waiting:
                return ProbeAnswer(is_ok=False, lines=tuple(map(_describe, waiting)))
            self._is_over = True
        return ProbeAnswer(is_ok=True, lines=(STARTED,))


def _reason(source: SourceStatus) -> str:
    return f" ({source.deferred})" if source.deferred else ""


def _describe(shard: ShardStatus) -> str:
    if shard.hangs:
        return f"shard {shard.shard} waits: {shard.hangs}"
    if shard.leaderless:
        return f"shard {shard.shard} waits: {shard.leaderless}"
    if shard.refusal:
        return f"shard {shard.shard} must not run: {shard.refusal}"
    if shard.restore_ratio is not None and shard.state == TaskState.RESTORING.value:
        return f"shard {shard.shard} is restoring: {shard.restore_ratio:.0%}, {shard.entries} ids"
    return f"shard {shard.shard} is {shard.state}"
