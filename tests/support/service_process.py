"""Starts one process of the service, and follows the JSON lines of its log."""

from __future__ import annotations

import json
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from tests.support.child_process import ROOT, ChildProcess
from tests.support.waiting import DeadlineExceeded, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

RUN = ("consumer", "run")
LOG_SECONDS = 30.0
SHOWN_LINES = 40
# One line for each event: too many for a failure message.
PUBLISHED = "checkpoint_ready"

Line = dict[str, Any]


class ServiceProcess(ChildProcess):
    """A process of the service, or another Python module that logs as it does."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        log: Path | None = None,
        skipped_event: str = "",
    ) -> None:
        """Start the process.

        Args:
            command: what follows `python -m`; `RUN` is the service.
            environment: all its variables.
            log: the file that the log is appended to (default: a temporary file).
            skipped_event: a log event that is not parsed, for processes that run for long.
        """
        self._command = list(command)
        self._environment = dict(environment)
        self._log = log
        self._skipped = f'"event":"{skipped_event}"'.encode() if skipped_event else None
        self._lines: list[Line] = []
        self._states: dict[int, str] = {}
        self._rest = b""
        self._position = log.stat().st_size if log is not None and log.exists() else 0
        self._lock = threading.Lock()
        super().__init__([sys.executable, "-m", *command], environment, log=log, folder=ROOT)

    @property
    def lines(self) -> list[Line]:
        """All log lines; a line that is not a JSON object is {"text": …}."""
        self._lines += self.follow()
        return self._lines

    def follow(self) -> list[Line]:
        """Return the lines since the last call. `lines` does not contain them later."""
        with self._lock:
            is_last = self.has_ended  # first: the output is complete only after the end
            new = self.read_output(self._position)
            self._position += len(new)
            *complete, self._rest = (self._rest + new).split(b"\n")
            if is_last and self._rest:
                complete.append(self._rest)
                self._rest = b""
            found = [
                _parsed(raw)
                for raw in complete
                if self._skipped is None or self._skipped not in raw
            ]
            for line in found:
                if line.get("event") == "task_state":
                    self._states[line["shard"]] = line["state"]
            return found

    def wait_for_log(
        self, event: str, deadline_seconds: float = LOG_SECONDS, *, after: int = 0, **fields: object
    ) -> Line:
        """Return the first line of an event with these fields, after the first `after` lines.

        Raises:
            AssertionError: no such line in time, or the process has ended without it.
        """

        def found() -> Line | None:
            return next(iter(self.logged(event, after=after, **fields)), None)

        def found_or_ended() -> Line | bool:
            has_ended = self.has_ended  # first: the lines before the end are read after it
            return found() or has_ended

        wanted = f"{event} {fields or ''}".strip()
        try:
            wait_until(found_or_ended, deadline_seconds, what=wanted)
        except DeadlineExceeded as error:
            raise DeadlineExceeded(f"{error}\n{self.tail()}") from None
        line = found()
        if line is None:
            raise AssertionError(f"the process ended before {wanted}\n{self.tail()}")
        return line

    def logged(self, event: str, *, after: int = 0, **fields: object) -> list[Line]:
        """Return every line of an event with these fields."""
        wanted = {"event": event, **fields}
        return [line for line in self.lines[after:] if wanted.items() <= line.items()]

    def complaints(self, *, after: int = 0) -> list[Line]:
        """Return the warnings and errors after the first `after` lines."""
        return [line for line in self.lines[after:] if line.get("level") in {"warning", "error"}]

    def running_shards(self) -> frozenset[int]:
        """Return the shards whose task runs, according to the log. Empty after the process ends."""
        self.lines  # noqa: B018 - it reads the states
        return self.followed_shards()

    def followed_shards(self) -> frozenset[int]:
        """Return the running shards according to the part of the log that was read until now."""
        if self.has_ended:
            return frozenset()
        return frozenset(shard for shard, state in self._states.items() if state == "running")

    def tail(self) -> str:
        """Return the end of the log, without the line of each event, for a failure message."""
        lines = self.lines if self._skipped is None else _parsed_lines(super().tail())
        shown = [line for line in lines if line.get("event") != PUBLISHED]
        return "\n".join(str(line.get("text", line)) for line in shown[-SHOWN_LINES:])

    def interrupt(self) -> int:
        """Send SIGINT, as Ctrl-C does, and return the exit code."""
        self.signal(signal.SIGINT)
        return self.wait()

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): its connections stay open and it does nothing."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue a frozen process (SIGCONT)."""
        self.signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill the process if it runs; the lines that it has logged can still be read."""
        self.kill()
        if self._skipped is None:
            self._lines += self.follow()
        super().close()

    def restarted(self) -> ServiceProcess:
        """Start the same command with the same variables again; this process must have ended."""
        assert self.has_ended
        return ServiceProcess(self._command, self._environment, log=self._log)


def _parsed(raw: bytes) -> Line:
    try:
        line = json.loads(raw)
    except ValueError:
        line = None
    return line if isinstance(line, dict) else {"text": raw.decode(errors="replace").rstrip()}


def _parsed_lines(text: str) -> list[Line]:
    """Return the lines of the end of a log, the first of which may be cut."""
    return [_parsed(raw) for raw in text.encode().splitlines()[1:]]
