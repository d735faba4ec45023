"""One process of the service: started, watched by its log, ended in every way, never left behind.

A process writes its log into a pipe that a thread reads. Like the brokers of dev/kafka_node.py each
process has a watcher, a shell that kills it when this program ends in whatever way.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
LOG_SECONDS = 30.0
END_SECONDS = 20.0
SHOWN_LINES = 40
WATCHER = 'read -r _; kill -KILL "$0"'

Line = dict[str, Any]


class Service:
    """One process of the service."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it; `command` is what follows `python -m`."""
        self.lines: list[Line] = []  # its log lines; anything else it printed is {"text": …}
        self._command = list(command)
        self._environment = dict(environment)
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", WATCHER, str(self._process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for_log(
        self, event: str, deadline_seconds: float = LOG_SECONDS, *, after: int = 0, **fields: object
    ) -> Line:
        """Return the first line of an event with these fields, `after` so many lines."""

        def found() -> Line | None:
            return next(iter(self.logged(event, after=after, **fields)), None)

        def found_or_ended() -> Line | bool:
            # What is in the pipe at the end is read before the end is taken for one.
            return found() or (self.has_ended and not self._thread.is_alive())

        wanted = f"{event} {fields or ''}".strip()
        try:
            wait_until(found_or_ended, deadline_seconds, what=wanted)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None
        line = found()
        if line is None:
            raise AssertionError(f"the process ended before {wanted}\n{self.tail()}")
        return line

    def logged(self, event: str, *, after: int = 0, **fields: object) -> list[Line]:
        """Return every line of an event with these fields."""
        wanted = {"event": event, **fields}
        return [line for line in self.lines[after:] if wanted.items() <= line.items()]

    def running_shards(self) -> frozenset[int]:
        """Return the shards whose task runs now, by the log; none after the end."""
        states = {line["shard"]: line["state"] for line in self.logged("task_state")}
        ended = self.has_ended
        return frozenset(s for s, state in states.items() if state == "running" and not ended)

    def tail(self) -> str:
        """Return the end of the log without the events, for a failure's message."""
        lines = [line for line in self.lines if line.get("event") != "checkpoint_ready"]
        return "\n".join(str(line.get("text", line)) for line in lines[-SHOWN_LINES:])

    @property
    def peak_memory_bytes(self) -> int:
        """The most resident memory that it has had so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    @property
    def open_files(self) -> int:
        """How many files and sockets it has open now."""
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended by itself or by our doing."""
        return self._process.poll() is not None

    @property
    def is_frozen(self) -> bool:
        """Whether it is stopped by a signal, whoever sent it."""
        state = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "T"

    def wait(self, deadline_seconds: float = END_SECONDS) -> int:
        """Wait for its end and return the exit code; minus the signal's number if one ended it."""
        wait_until(lambda: self.has_ended, deadline_seconds, what="the end of the process")
        self._clean_up()
        return int(self._process.returncode)

    def kill(self) -> None:
        """End it as a power cut would."""
        if not self.has_ended:
            self._process.kill()
            self._process.wait()
        self._clean_up()

    def terminate(self, deadline_seconds: float = END_SECONDS) -> int:
        """Ask for an orderly end and return the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait(deadline_seconds)

    def interrupt(self, deadline_seconds: float = END_SECONDS) -> int:
        """Ask for an end as Ctrl-C does and return the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self.wait(deadline_seconds)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): its connections stay open and it does nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT), ignorant of the time that has passed."""
        self._process.send_signal(signal.SIGCONT)

    def restarted(self) -> Service:
        """Start the same again, which must have ended."""
        assert self.has_ended
        return Service(self._command, self._environment)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for raw in self._process.stdout:
            try:
                line = json.loads(raw)
            except ValueError:
                line = None
            if not isinstance(line, dict):
                line = {"text": raw.decode(errors="replace").rstrip()}
            self.lines.append(line)

    def _clean_up(self) -> None:
        if self._watcher.stdin is None or self._watcher.stdin.closed:
            return
        self._watcher.kill()  # first: the number of the process may soon be another's
        self._watcher.wait()
        self._watcher.stdin.close()
        self._thread.join(END_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()
