"""The processes of the demo, and the crash of one: SIGKILL in the middle, and a new start."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from dev.demo_producer import DemoError
from tests.support.command_line import environment
from tests.support.service_process import ServiceProcess
from tests.support.waiting import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from dev.demo_display import Display

DOWN_SECONDS = 1.0
STOP_SECONDS = 15.0


class DemoProcess:
    """A process that can be started again with the same settings, like a pod."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        settings: Mapping[str, object],
        folder: Path,
        *,
        work_event: str,
    ) -> None:
        """Prepare the process. `start` starts it.

        Args:
            name: its name in the output.
            command: what follows `python -m`.
            settings: its variables, without their prefix.
            folder: where its log is.
            work_event: the log event which shows that it works.
        """
        self.name = name
        self.state = "not started"
        self._command = command
        self._log = folder / f"{name}.log"
        self._environment = environment(settings)
        self._work_event = work_event
        self._process: ServiceProcess | None = None

    def start(self) -> None:
        """Start the process, for the first time or again."""
        self._process = ServiceProcess(self._command, self._environment, log=self._log)
        self.state = "running" if self.state == "not started" else "running again"

    def kill(self) -> None:
        """Send SIGKILL: a crash."""
        if self._process is not None:
            self._process.close()
        self.state = "killed"

    @property
    def works(self) -> bool:
        """Whether it has logged the event of its work since its latest start."""
        return self._process is not None and bool(self._process.logged(self._work_event))

    def require_alive(self) -> None:
        """Raise DemoError if the process has ended by itself."""
        if self.state.startswith("running") and self._process is not None:
            code = self._process.exit_code
            if code is not None:
                raise DemoError(f"{self.name} ended with {code}; {self._tail()}")

    def request_stop(self) -> None:
        """Send SIGTERM."""
        if self._process is not None:
            self._process.signal(signal.SIGTERM)

    def wait_for_stop(self, deadline: float) -> str | None:
        """Wait until `deadline` for the end of the process. Return the failure, or None."""
        process = self._process
        if process is None:
            return None
        self.state = "stopped"
        try:
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except DeadlineExceeded:
            process.kill()
            return f"{self.name} did not end on SIGTERM in time; {self._tail()}"
        return f"{self.name} exited with {code} on SIGTERM; {self._tail()}" if code else None

    def _tail(self) -> str:
        return f"its log:\n{self._process.tail()}" if self._process is not None else ""


class Crash:
    """Kills one process at a share of the run, and starts it again after a second."""

    def __init__(self, process: DemoProcess, at_share: float) -> None:
        """Prepare; `at_share` is between 0 and 1."""
        self._process = process
        self._at_share = at_share
        self._killed_at: float | None = None
        self._restarted_at: float | None = None
        self._works_again = False

    @property
    def has_happened(self) -> bool:
        """Whether the process was killed."""
        return self._killed_at is not None

    @property
    def is_over(self) -> bool:
        """Whether the process was killed and started again."""
        return self._restarted_at is not None

    def advance(self, share: float, now: float, display: Display, *, has_worked: bool) -> bool:
        """Do what is due. Return whether the process was killed or started.

        Args:
            share: how much of the run is over.
            now: time of `time.monotonic`.
            display: gets a line about each step.
            has_worked: whether the process has worked. It is not killed before.
        """
        name = self._process.name
        if self._killed_at is None:
            if share < self._at_share or not has_worked:
                return False
            self._process.kill()
            self._killed_at = now
            display.note(f"SIGKILL to {name}")
            return True
        if self._restarted_at is None:
            if now - self._killed_at < DOWN_SECONDS:
                return False
            self._process.start()
            self._restarted_at = now
            display.note(f"{name} is started again")
            return True
        if not self._works_again and self._process.works:
            self._works_again = True
            after = now - self._restarted_at
            display.note(f"{name} works again, {after:.1f} s after its start")
        return False


def stop_processes(processes: Iterable[DemoProcess]) -> None:
    """Stop processes by SIGTERM. Raise DemoError unless each exits with code 0."""
    stopping = list(processes)
    for process in stopping:
        process.request_stop()
    deadline = time.monotonic() + STOP_SECONDS
    ends = [process.wait_for_stop(deadline) for process in stopping]
    failures = [failure for failure in ends if failure is not None]
    if failures:
        raise DemoError("\n".join(failures))
