"""The service with a crash: it kills its own process at a chosen step.

    python -m tests.integration.crashing_service STEP OCCURRENCE DELAY_MS

At this occurrence of the step (1: the first, of any shard) the process gets SIGKILL, after the
delay if there is one. With a delay the kill happens during the next action, such as the EndTxn
after COMMITTING.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from consumer.config import Settings
from consumer.service.app import run_service
from consumer.service.logs import LogObserver
from consumer.shard.events import Step

MODULE = "tests.integration.crashing_service"


def crashing_at(step: Step, occurrence: int = 1, *, delay_ms: float = 0) -> list[str]:
    """Return the command for a `ServiceProcess` that crashes at this step."""
    return [MODULE, step.value, str(occurrence), str(delay_ms)]


class CrashObserver(LogObserver):
    """Logs as the service does, and kills the process at the step."""

    def __init__(self, step: Step, occurrence: int, delay_ms: float) -> None:
        """Set the step and the occurrence."""
        self._step = step
        self._steps_left = occurrence
        self._delay_seconds = delay_ms / 1000

    def on_step(self, shard: int, step: Step) -> None:
        """Count the step; kill the process at the last occurrence."""
        super().on_step(shard, step)
        if step is not self._step:
            return
        self._steps_left -= 1
        if self._steps_left != 0:
            return
        if step is Step.COMMITTING:
            # The commit begins when this returns: a kill here would come before its EndTxn.
            asyncio.get_running_loop().call_later(self._delay_seconds, die)
        else:
            die()


def die() -> None:
    """Kill this process with SIGKILL."""
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run the service until the crash."""
    step, occurrence, delay_ms = sys.argv[1:]
    observer = CrashObserver(Step(step), int(occurrence), float(delay_ms))
    run_service(Settings.load(os.environ), os.environ, observer=observer)


if __name__ == "__main__":
    main()
