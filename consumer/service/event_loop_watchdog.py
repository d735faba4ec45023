"""Ends the process when its event loop stands still, or when its end takes too long.

The engine's watchdog runs in the event loop and cannot see that the loop itself is blocked. This
one is a thread, and behind it stands one of the interpreter that needs no lock to run: a call into
C that never returns may hold the interpreter's.
"""

import asyncio
import contextlib
import faulthandler
import os
import sys
import threading
from typing import Final, Self

TICK_SECONDS: Final = 0.5
# After the engine has ended: the library's tasks and threads that are left.
END_SECONDS: Final = 20.0
SAY_SECONDS: Final = 2.0
EXIT_FAILED: Final = 1


class EventLoopWatchdog:
    """Wants to hear ``beat`` from the loop; a context manager around ``asyncio.run``.

    Silence is counted in its own ticks: a process that was frozen as a whole has not hung. The
    interpreter's timer cannot tell, so one that was frozen for twice as long is ended all the same.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._what = "the event loop has been blocked"
        self._is_watching = seconds > 0
        self._silent_ticks = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loop-guard", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        faulthandler.cancel_dump_traceback_later()

    async def keep_beating(self) -> None:
        """Show that the loop runs, until cancelled."""
        while True:
            self._silent_ticks = 0
            if self._is_watching:
                self._arm_timer()
            await asyncio.sleep(TICK_SECONDS)

    def expect_end(self) -> None:
        """From now on the process has a short time to end."""
        self._seconds = END_SECONDS
        self._arm_timer()
        self._what = "the end has lasted"
        self._silent_ticks = 0
        self._is_watching = True

    def _arm_timer(self) -> None:
        # Without a standard error there is no such timer; the thread watches on.
        with contextlib.suppress(AttributeError, RuntimeError, ValueError, OSError):
            faulthandler.dump_traceback_later(2 * self._seconds, exit=True)

    def _watch(self) -> None:
        while not self._over.wait(TICK_SECONDS):
            self._silent_ticks += 1
            silent_seconds = self._silent_ticks * TICK_SECONDS
            if self._is_watching and silent_seconds >= self._seconds:
                self._end_process(silent_seconds)

    def _end_process(self, silent_seconds: float) -> None:
        line = f"checkpoint-ready: {self._what} for {silent_seconds:g} s: the process ends\n"
        saying = threading.Thread(target=_say, args=(line.encode(),), daemon=True)
        saying.start()
        # A pipe that nobody reads any more may be what the loop is blocked by.
        saying.join(SAY_SECONDS)
        os._exit(EXIT_FAILED)


def _say(line: bytes) -> None:
    if sys.stderr is None:
        return
    os.write(sys.stderr.fileno(), line)
    faulthandler.dump_traceback(all_threads=True)
