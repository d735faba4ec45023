"""Runs blocking calls in daemon threads, so that the end of the process does not wait for them."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, Final, TypeVar

T = TypeVar("T")
# asyncio turns this CancelledError of a thread into its own one.
_NOT_FOR_TASKS: Final = (CancelledError, StopIteration)


class SingleThread:
    """Runs one blocking call at a time, each in a daemon thread of its own.

    asyncio's own threads would delay the end of the process until a silent server has answered. A
    thread cannot be cancelled, so a call that was given up still runs. The next call waits for its
    end. So there is never more than one thread, even if a server is silent for a long time.
    """

    def __init__(self, name: str) -> None:
        """`name` is the name of the threads."""
        self._name = name
        self._running: Future[Any] | None = None

    async def run(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, or raise what it raises. The caller limits the time.

        Raises:
            RuntimeError: the process can start no more threads.
        """
        while self._running is not None and not self._running.done():
            with contextlib.suppress(Exception):  # the error of a call that was given up
                await asyncio.wrap_future(self._running)
        outcome: Future[T] = Future()
        outcome.set_running_or_notify_cancel()  # an awaiting task that is cancelled must not end it
        thread = threading.Thread(target=_run, args=(call, outcome), name=self._name, daemon=True)
        thread.start()
        self._running = outcome
        return await asyncio.wrap_future(outcome)


def _run(call: Callable[[], T], outcome: "Future[T]") -> None:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - the awaiting task raises it
        # SystemExit would end the event loop, CancelledError the awaiting task. A task cannot get
        # StopIteration, and would wait forever.
        is_usual = isinstance(error, Exception) and not isinstance(error, _NOT_FOR_TASKS)
        outcome.set_exception(error if is_usual else RuntimeError(type(error).__name__))
    else:
        outcome.set_result(result)
