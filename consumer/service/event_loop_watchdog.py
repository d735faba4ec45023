"""End the process if its event loop is blocked, or if its shutdown takes too long.

The stall detector of the engine runs in the event loop, so it cannot notice that the loop itself is
blocked. This watchdog runs in a thread. If a call into C holds the interpreter lock for ever, this
thread cannot run either. Then a timer of the interpreter (``faulthandler``), which needs no lock,
ends the process.
"""

import asyncio
import contextlib
import faulthandler
import os
import sys
import threading
from typing import Final, Self

TICK_SECONDS: Final = 0.5
# Time for tasks and threads of libraries that still run after the engine has ended.
SHUTDOWN_SECONDS: Final = 20.0
WRITE_SECONDS: Final = 2.0
EXIT_FAILED: Final = 1
LOOP_BLOCKED: Final = "the event loop has been blocked"
SHUTDOWN_TOO_LONG: Final = "the shutdown has been running"


class EventLoopWatchdog:
    """Expects a regular heartbeat from the event loop; a context manager around ``asyncio.run``.

    The watchdog counts the ticks of its own thread since the last heartbeat. While the whole
    process is frozen, the thread does not tick either. So this count does not end a process that
    was frozen. The interpreter's timer also counts frozen time, but its limit is twice as long.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._reason = LOOP_BLOCKED
        self._is_watching = seconds > 0
        self._silent_ticks = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="event-loop-watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        faulthandler.cancel_dump_traceback_later()

    async def keep_beating(self) -> None:
        """Reset the watchdog regularly until cancelled; each reset shows that the loop runs."""
        while True:
            self._silent_ticks = 0
            if self._is_watching:
                self._arm_timer()
            await asyncio.sleep(TICK_SECONDS)

    def limit_shutdown(self) -> None:
        """Give the process `SHUTDOWN_SECONDS` from now to end, whether or not the loop runs."""
        self._seconds = SHUTDOWN_SECONDS
        self._arm_timer()
        self._reason = SHUTDOWN_TOO_LONG
        self._silent_ticks = 0
        self._is_watching = True

    def _arm_timer(self) -> None:
        # The timer needs standard error. If there is none, only the thread watches.
        with contextlib.suppress(AttributeError, RuntimeError, ValueError, OSError):
            faulthandler.dump_traceback_later(2 * self._seconds, exit=True)

    def _watch(self) -> None:
        while not self._over.wait(TICK_SECONDS):
            self._silent_ticks += 1
            silent_seconds = self._silent_ticks * TICK_SECONDS
            if self._is_watching and silent_seconds >= self._seconds:
                self._end_process(silent_seconds)

    def _end_process(self, silent_seconds: float) -> None:
        line = f"checkpoint-ready: {self._reason} for {silent_seconds:g} s: the process ends\n"
        writing = threading.Thread(target=_write_stacks, args=(line.encode(),), daemon=True)
        writing.start()
        # Do not wait longer: if standard error is a full pipe that no process reads, this write
        # never ends. Such a pipe may also be what blocks the loop.
        writing.join(WRITE_SECONDS)
        os._exit(EXIT_FAILED)


def _write_stacks(line: bytes) -> None:
    """Write a line and the stack of each thread to standard error."""
    if sys.stderr is None:
        return
    os.write(sys.stderr.fileno(), line)
    faulthandler.dump_traceback(all_threads=True)
