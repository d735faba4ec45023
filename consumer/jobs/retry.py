"""Retries and graceful shutdown for jobs. Each attempt resumes from committed progress."""

import asyncio
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from consumer.errors import (
    CheckpointReadyError,
    Fenced,
    Interrupted,
    TaskFailed,
    TransientError,
    Unreachable,
)
from consumer.pipeline.printable import printable

T = TypeVar("T")

TRIES_WITHOUT_PROGRESS: Final = 6
LONGEST_PAUSE_SECONDS: Final = 15.0
STOP_SECONDS: Final = 5.0
RESUME_HINT: Final = "run the same command again to resume"
STOPPED: Final = f"stopped; committed transactions are kept; {RESUME_HINT}"
RETRYING: Final = "retrying"
# With a rate limit, a transaction has at most as many events as the rate divided by this number, or
# one event if the rate is lower. So at the full rate, a job commits fewer than twice this many
# transactions a second.
TRANSACTIONS_PER_SECOND: Final = 5
UNLIMITED: Final = 2**31


class ShutdownSignal:
    """A request to stop, by Ctrl-C or SIGTERM. A job finishes its open transaction first."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._requested = asyncio.Event()

    def __bool__(self) -> bool:
        return self.signal is not None

    def request(self, by: signal.Signals) -> None:
        """Request the shutdown."""
        self.signal = by
        self._requested.set()

    async def wait_until_requested(self) -> None:
        """Wait until a shutdown is requested."""
        await self._requested.wait()

    async def wait(self, seconds: float) -> None:
        """Wait for this time, or less if a shutdown is requested."""
        if seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._requested.wait(), seconds)


@contextmanager
def shutdown_on_signals() -> Iterator[ShutdownSignal]:
    """Turn the first SIGINT or SIGTERM into a shutdown request; a second one ends the process.

    Raises:
        Interrupted: a shutdown was requested, and then a call failed or the cluster did not answer.
    """
    loop, shutdown = asyncio.get_running_loop(), ShutdownSignal()
    handled = (signal.SIGINT, signal.SIGTERM)

    def request(received: signal.Signals) -> None:
        shutdown.request(received)
        for each in handled:
            loop.remove_signal_handler(each)
            signal.signal(each, signal.default_int_handler)

    for each in handled:
        loop.add_signal_handler(each, request, each)
    try:
        yield shutdown
    except Fenced:
        raise
    except (TaskFailed, TransientError, Unreachable) as error:
        if shutdown.signal is None:
            raise
        raise Interrupted(STOPPED, shutdown.signal) from error
    finally:
        for each in handled:
            loop.remove_signal_handler(each)


async def run_with_retries(
    attempt: Callable[[], Awaitable[T]],
    progress: Callable[[], int],
    shutdown: ShutdownSignal,
    taken_over: str,
) -> T:
    """Make attempts until one succeeds; return its result.

    `progress` returns a number that grows with each commit. `taken_over` is the error message if
    another process has fenced this one.

    After a shutdown request, the attempt has `STOP_SECONDS` to finish its transaction. Then this
    function cancels the attempt. If the outcome of a commit is then unknown, the next run of the
    command reads this outcome from the journal.

    Raises:
        Interrupted: a shutdown was requested.
        CheckpointReadyError: another process runs the same job, six attempts in a row failed
            without progress, or the first attempt reached no broker.
    """
    tries = 0
    was_reached = False
    while True:
        before = progress()
        try:
            return await run_until_shutdown(attempt, shutdown, STOPPED)
        except Fenced as error:
            raise CheckpointReadyError(taken_over) from error
        except (TaskFailed, TransientError, Unreachable) as error:
            has_progress = progress() > before
            tries = 1 if has_progress else tries + 1
            was_reached = was_reached or has_progress or not isinstance(error, Unreachable)
            if shutdown.signal is not None:
                raise Interrupted(STOPPED, shutdown.signal) from error
            if not was_reached:
                raise  # the address may be wrong, and retries would only delay this error
            if tries >= TRIES_WITHOUT_PROGRESS:
                raise
            sys.stderr.write(f"checkpoint-ready: {printable(str(error))}; {RETRYING}\n")
            pause_seconds = min(LONGEST_PAUSE_SECONDS, 2.0 ** (tries - 1))
            jitter = random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            await shutdown.wait(pause_seconds * jitter)


async def run_until_shutdown(
    attempt: Callable[[], Awaitable[T]],
    shutdown: ShutdownSignal,
    message: str,
    *,
    grace_seconds: float | None = None,
) -> T:
    """Make one attempt. Cancel it if it still runs `grace_seconds` after a shutdown request.

    `grace_seconds` None means `STOP_SECONDS`.

    Raises:
        Interrupted: the attempt was cancelled; `message` is the text of the error.
    """
    working = asyncio.ensure_future(attempt())
    requested = asyncio.ensure_future(shutdown.wait_until_requested())
    try:
        await asyncio.wait([working, requested], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            grace = STOP_SECONDS if grace_seconds is None else grace_seconds
            await asyncio.wait([working], timeout=grace)
        if working.done():
            return working.result()
        working.cancel()
        await asyncio.wait([working], timeout=STOP_SECONDS)
        raise Interrupted(message, shutdown.signal or signal.SIGINT)
    finally:
        requested.cancel()
        working.cancel()


class RateLimiter:
    """Limits the rate in events per second; None disables the limit."""

    def __init__(self, per_second: int | None) -> None:
        self._per_second = per_second
        self._began: tuple[float, int] | None = None

    @property
    def max_transaction_events(self) -> int:
        """How many events one transaction may hold at this rate."""
        if self._per_second is None:
            return UNLIMITED
        return max(1, self._per_second // TRANSACTIONS_PER_SECOND)

    async def wait(self, events: int, shutdown: ShutdownSignal) -> None:
        """Wait until the rate allows the next events, or a shutdown is requested.

        `events` is the total number of events so far. It may include events of earlier attempts.
        """
        if self._per_second is None:
            return
        now = time.monotonic()
        if self._began is None:  # count the first transaction, but no earlier attempt
            self._began = now, events - min(events, self.max_transaction_events)
        began, before = self._began
        await shutdown.wait(began + (events - before) / self._per_second - now)
