"""One process of the service that writes its log to a file, for runs too long to keep lines."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.integration.process import ROOT, WATCHER

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping
    from pathlib import Path

# The lines that are many and tell nothing here; they stay in the file.
UNREAD = b'"event":"checkpoint_ready"'
TAIL_LINES = 15
TAIL_BYTES = 8000


class Published(NamedTuple):
    """A committed transaction with ready events: by which shard, when by the service's clock."""

    time: float
    shard: int
    events: int


class LoggedProcess:
    """Starts a service; `follow` reads what it has logged since."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        """Start it; a watcher ends it when this program ends in whatever way."""
        self.log = log
        self.errors: list[dict[str, Any]] = []
        self._states: dict[int, str] = {}
        self._rest = b""
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "consumer", "run"],
                cwd=ROOT,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the run, which ends its services itself
            )
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", WATCHER, str(self._process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._reader = log.open("rb")

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """What it ended with, minus the number of a signal; None while it lives."""
        return self._process.poll()

    @property
    def running_shards(self) -> frozenset[int]:
        """The shards whose task runs, by the log that was followed so far."""
        if self.exit_code is not None:
            return frozenset()
        return frozenset(shard for shard, state in self._states.items() if state == "running")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; one that has ended gets none."""
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int | None:
        """Wait for the end; None when it does not come in time."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def follow(self) -> list[Published]:
        """Read what has been logged since the last call; return what was published."""
        *lines, self._rest = (self._rest + self._reader.read()).split(b"\n")
        return [found for line in lines if (found := self._take(line)) is not None]

    def tail(self) -> str:
        """Return the end of the log, for the history."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            lines = file.read().splitlines()
        told = [line for line in lines if UNREAD not in line]
        return b"\n".join(told[-TAIL_LINES:]).decode(errors="replace")

    def close(self) -> None:
        """End it, if it lives, and let go of it."""
        if self.exit_code is None:
            self._process.kill()
            self._process.wait()
        self._watcher.kill()
        self._watcher.wait()
        if self._watcher.stdin is not None:
            self._watcher.stdin.close()
        self._reader.close()

    def _take(self, raw: bytes) -> Published | None:
        if UNREAD in raw:
            return None
        try:
            line = json.loads(raw)
            event = line["event"]
        except (ValueError, TypeError, KeyError):
            return None  # a traceback's line: the end of the process tells of it
        if line.get("level") == "error":
            self.errors.append(line)
        if event == "task_state":
            self._states[line["shard"]] = line["state"]
        elif event == "transaction_committed" and line["published"]:
            time = datetime.fromisoformat(line["timestamp"]).timestamp()
            return Published(time, line["shard"], line["published"])
        return None
