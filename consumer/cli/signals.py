"""Ends a command on Ctrl-C or SIGTERM: at once, with its clean-up, and without a traceback.

There are three phases. While the program loads, the handlers in `__main__` end the process. Then
Ctrl-C raises KeyboardInterrupt and SIGTERM raises SystemExit (`start_command`). While coroutines
run, both signals cancel them (`run_async`). Only a job that writes finishes its transaction first
(`jobs.retry`).
"""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from types import FrameType
from typing import Any, Final, TypeVar

T = TypeVar("T")

EXIT_TERMINATED: Final = 128 + signal.SIGTERM


class _Terminated(Exception):
    """SIGTERM arrived while coroutines ran; they have ended."""


def start_command() -> None:
    """Let Ctrl-C and SIGTERM end the command with its clean-up."""
    # A shell can start a background job with Ctrl-C ignored. For such a job Ctrl-C stays ignored.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminate)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine and return its result; SIGTERM cancels it as Ctrl-C does.

    A signal handler that raised SystemExit inside the event loop would end the loop in the middle
    of a task, and asyncio would write a warning about that task to standard error.
    """
    try:
        return asyncio.run(_until_terminated(work))
    except _Terminated:
        sys.exit(EXIT_TERMINATED)
    finally:
        signal.signal(signal.SIGTERM, _terminate)


async def _until_terminated(work: Coroutine[Any, Any, T]) -> T:
    working = asyncio.ensure_future(work)
    is_terminated = False

    def terminate() -> None:
        nonlocal is_terminated
        is_terminated = True
        working.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await working
    except asyncio.CancelledError:
        if is_terminated:
            raise _Terminated from None
        raise


def _terminate(_number: int, _frame: FrameType | None) -> None:
    sys.exit(EXIT_TERMINATED)
