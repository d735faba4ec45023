"""A program that a test starts and that never outlives the test.

Its output goes to a file. Each process has a watcher, a shell that kills it, and what it has
started, when this program ends, even by SIGKILL.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import weakref
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tests.support.waiting import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
END_SECONDS = 20.0
TAIL_BYTES = 8000
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
# The pipe that it reads from closes when this program ends. The process leads a process group.
WATCHER = 'read -r _; kill -KILL "-$0"'
DISCARD = Path(os.devnull)


class ChildProcess:
    """A running program."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        log: Path | None = None,
        folder: Path | None = None,
        errors: IO[bytes] | None = None,
    ) -> None:
        """Start the program.

        Args:
            command: the program and its arguments.
            environment: its variables (default: those of this program).
            log: the file that its output is appended to (default: a temporary file).
            folder: its working directory (default: that of this program).
            errors: the file of its standard error (default: the file of its output).
        """
        # A temporary file has no name: the system deletes it when it is closed.
        with tempfile.TemporaryFile() if log is None else log.open("ab+") as file:
            self._output = os.dup(file.fileno())
        self._output_closer = weakref.finalize(self, os.close, self._output)
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT if errors is None else errors,
            start_new_session=True,  # a Ctrl-C in the terminal must reach this program only
        )
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", WATCHER, str(self._process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, or minus the number of the signal; None while the process runs."""
        code = self._process.poll()
        if code is not None:
            self._end_watcher()
        return code

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended for any reason."""
        return self.exit_code is not None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; does nothing if the process has ended."""
        self._process.send_signal(number)

    def wait(self, deadline_seconds: float = END_SECONDS) -> int:
        """Wait for the end and return the exit code.

        Raises:
            DeadlineExceeded: the process still runs.
        """
        try:
            code = self._process.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            message = f"process {self.pid} did not end within {deadline_seconds} s"
            raise DeadlineExceeded(message) from None
        self._end_watcher()
        return code

    def kill(self) -> None:
        """Send SIGKILL and wait for the end: a crash."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._end_watcher()

    def terminate(self, deadline_seconds: float = END_SECONDS) -> int:
        """Send SIGTERM, wait for the end and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(deadline_seconds)

    def stop(self, grace_seconds: float) -> int:
        """Send SIGTERM, and SIGKILL if the process still runs after the grace period."""
        try:
            return self.terminate(grace_seconds)
        except DeadlineExceeded:
            self.kill()
            return int(self._process.returncode)

    def close(self) -> None:
        """Kill the process if it runs, and close its output."""
        self.kill()
        self._output_closer()

    def read_output(self, start: int) -> bytes:
        """Return the output from this position to its end; empty if it is discarded or closed."""
        size = self._output_bytes()
        # `pread` does not move the position, which the process shares and writes at.
        return os.pread(self._output, size - start, start) if size > start else b""

    def tail(self) -> str:
        """Return the end of the output."""
        start = max(0, self._output_bytes() - TAIL_BYTES)
        return self.read_output(start).decode(errors="replace")

    @property
    def peak_memory_bytes(self) -> int:
        """The peak of the resident memory until now."""
        return self._status_bytes("VmHWM")

    @property
    def memory_bytes(self) -> int:
        """The resident memory."""
        return self._status_bytes("VmRSS")

    @property
    def cpu_seconds(self) -> float:
        """The user and system time until now."""
        fields = self._stat()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    @property
    def open_files(self) -> int:
        """The number of open files and sockets."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    @property
    def is_frozen(self) -> bool:
        """Whether a signal has stopped the process (SIGSTOP)."""
        return self._stat()[0] == "T"

    def _output_bytes(self) -> int:
        return os.fstat(self._output).st_size if self._output_closer.alive else 0

    def _stat(self) -> list[str]:
        """Return the fields of /proc/PID/stat after the name of the program."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()

    def _status_bytes(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return int(status.partition(f"{name}:")[2].split()[0]) * 1024

    def _end_watcher(self) -> None:
        """End the watcher: another process may soon get this process id."""
        if self._watcher.stdin is None or self._watcher.stdin.closed:
            return
        self._watcher.kill()
        self._watcher.wait()
        self._watcher.stdin.close()
