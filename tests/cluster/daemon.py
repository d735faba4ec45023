"""A process that the tests start and that ends with them, however they end.

Against SIGKILL of this program each has a watcher, a shell that waits for the end of a pipe.
"""

from __future__ import annotations

import signal
import subprocess
import time
from typing import TYPE_CHECKING

from tests.integration.process import WATCHER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TAIL_BYTES = 3000


class Daemon:
    """One process, its output appended to a file."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        """Start it; without an environment it has that of this program."""
        self.log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=None if environment is None else dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the run, which ends them in their order
            )
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", WATCHER, str(self._process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """What it ended with, minus the number of a signal; None while it lives."""
        code = self._process.poll()
        if code is not None:
            self._let_go()
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; one that has ended gets none."""
        self._process.send_signal(number)

    def stop(self, grace_seconds: float) -> int:
        """End it, by SIGKILL if it takes too long, and return what it ended with."""
        if self._process.poll() is None:
            self._process.terminate()
        deadline = time.monotonic() + grace_seconds
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._let_go()
        return int(self._process.returncode)

    def tail(self) -> str:
        """Return the end of its log."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace")

    def _let_go(self) -> None:
        """End the watcher: the number of the process may soon be another's."""
        if self._watcher.stdin is None or self._watcher.stdin.closed:
            return
        self._watcher.kill()
        self._watcher.wait()
        self._watcher.stdin.close()
