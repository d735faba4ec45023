"""How a tool lives through trouble: it goes on from what is committed, and stops when asked."""

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
STOPPED: Final = "stopped; what is committed stays, and the same command goes on with the rest"


class ShutdownSignal:
    """Whether somebody asked for an end, by Ctrl-C or SIGTERM; a transaction is finished first."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._asked = asyncio.Event()

    def __bool__(self) -> bool:
        return self.signal is not None

    def request(self, by: signal.Signals) -> None:
        """Ask for an end."""
        self.signal = by
        self._asked.set()

    async def wait_until_asked(self) -> None:
        """Wait until an end is asked for."""
        await self._asked.wait()

    async def wait(self, seconds: float) -> None:
        """Wait so long, or until an end is asked for."""
        if seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), seconds)


@contextmanager
def shutdown_on_signals() -> Iterator[ShutdownSignal]:
    """Turn SIGINT and SIGTERM into a request; a second one ends the process as usual.

    Raises:
        Interrupted: an end was asked for while the cluster did not answer.
    """
    loop, stop = asyncio.get_running_loop(), ShutdownSignal()
    signs = (signal.SIGINT, signal.SIGTERM)

    def ask(sign: signal.Signals) -> None:
        stop.request(sign)
        for each in signs:
            loop.remove_signal_handler(each)
            signal.signal(each, signal.default_int_handler)

    for sign in signs:
        loop.add_signal_handler(sign, ask, sign)
    try:
        yield stop
    except Fenced:
        raise
    except (TaskFailed, TransientError, Unreachable) as error:
        if stop.signal is None:
            raise
        raise Interrupted(STOPPED, stop.signal) from error
    finally:
        for sign in signs:
            loop.remove_signal_handler(sign)


async def run_with_retries(
    attempt: Callable[[], Awaitable[T]], progress: Callable[[], int], stop: ShutdownSignal
) -> T:
    """Make attempts until one succeeds; each begins with what the one before has committed.

    When an end is asked for, the attempt has some seconds to come to one; a wait for the cluster
    is cut short then. What is in doubt the next start settles.

    Raises:
        Interrupted: an end was asked for.
        CheckpointReadyError: another process does the same and goes on with it, or several
            attempts in turn failed without any progress.
    """
    tries = 0
    was_reached = False
    while True:
        before = progress()
        try:
            return await _until_stopped(attempt, stop)
        except Fenced as error:
            raise CheckpointReadyError(
                "another process has started the same command; this one ends, that one goes on"
            ) from error
        except (TaskFailed, TransientError, Unreachable) as error:
            has_moved = progress() > before
            tries = 1 if has_moved else tries + 1
            was_reached = was_reached or has_moved or not isinstance(error, Unreachable)
            if stop.signal is not None:
                raise Interrupted(STOPPED, stop.signal) from error
            if not was_reached:
                raise  # a wrong address, for all that is known
            if tries >= TRIES_WITHOUT_PROGRESS:
                raise
            sys.stderr.write(f"checkpoint-ready: {printable(str(error))}; trying again\n")
            pause_seconds = min(LONGEST_PAUSE_SECONDS, 2.0 ** (tries - 1))
            await stop.wait(pause_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - no secret


async def _until_stopped(attempt: Callable[[], Awaitable[T]], stop: ShutdownSignal) -> T:
    """Make one attempt; cancel it when it has not ended some seconds after a stop."""
    working = asyncio.ensure_future(attempt())
    asked = asyncio.ensure_future(stop.wait_until_asked())
    try:
        await asyncio.wait([working, asked], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            await asyncio.wait([working], timeout=STOP_SECONDS)
        if working.done():
            return working.result()
        working.cancel()
        await asyncio.wait([working], timeout=STOP_SECONDS)
        raise Interrupted(STOPPED, stop.signal or signal.SIGINT)
    finally:
        asked.cancel()
        working.cancel()


# Holds a tool to a rate.

# So many transactions a second at the most; at less than that each holds one event.
TRANSACTIONS_PER_SECOND: Final = 5
UNLIMITED: Final = 2**31


class RateLimiter:
    """So many events a second, evenly; None: as fast as it goes."""

    def __init__(self, per_second: int | None) -> None:
        self._per_second = per_second
        self._began: tuple[float, int] | None = None

    @property
    def room(self) -> int:
        """How many events one transaction may hold."""
        if self._per_second is None:
            return UNLIMITED
        return max(1, self._per_second // TRANSACTIONS_PER_SECOND)

    async def wait(self, events: int, stop: ShutdownSignal) -> None:
        """Wait until so many `events` in all are not too many any more, or an end is asked for."""
        if self._per_second is None:
            return
        now = time.monotonic()
        if self._began is None:  # the first ones take their time too
            self._began = now, events - min(events, self.room)
        began, before = self._began
        await stop.wait(began + (events - before) / self._per_second - now)
