"""Bounds how often a process tries an address that refuses connections.

All clients of a process share one ``ReconnectBackoff``. Together they try a failing address once in
each pause. Those that wait meanwhile get the outcome: the error of this try, or a connection of
their own at once.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec
from aiokafka.errors import KafkaConnectionError

from consumer.kafka.client.broker_health import Address

T = TypeVar("T")

# The pause after the first failure. It doubles with each further try (KIP-144).
FIRST_PAUSE_SECONDS: Final = 0.05
# A broker that is back is found after this time. That is little beside the start of a broker.
MAX_PAUSE_SECONDS: Final = 0.5
JITTER: Final = (0.5, 1.0)


class StillFailing(KafkaConnectionError):
    """The address failed, and the try of another client has failed too. The cause is its error."""

    def __str__(self) -> str:
        """Return the text of the cause."""
        return str(self.__cause__) or type(self.__cause__).__name__


class _Failing(msgspec.Struct):
    next_at: float  # monotonic seconds
    tries: int = 0
    # The outcome of the present try: its error, or None if the others must look again.
    outcome: asyncio.Future[BaseException | None] | None = None


class ReconnectBackoff:
    """The addresses to which no connection could be made, and when each may be tried again."""

    __slots__ = ("_failing",)

    def __init__(self) -> None:
        self._failing: dict[Address, _Failing] = {}

    async def connect(
        self,
        address: Address,
        open_connection: Callable[[], Awaitable[T]],
        is_failure: Callable[[BaseException], bool],
    ) -> T:
        """Open a connection: at once, unless the address fails.

        Args:
            address: the address.
            open_connection: opens the connection.
            is_failure: whether an error of `open_connection` says something about the address.

        Raises:
            StillFailing: another client has tried it during the pause, without success.
            Exception: as `open_connection`.
        """
        while (failing := self._failing.get(address)) is not None:
            if failing.outcome is None:
                return await self._try_again(address, failing, open_connection, is_failure)
            error = await asyncio.shield(failing.outcome)
            if error is not None:
                raise StillFailing from error
        try:
            connection = await open_connection()
        except Exception as error:
            if is_failure(error) and address not in self._failing:
                self._failing[address] = _Failing(time.monotonic() + _pause(0))
            raise
        self._succeeded(address)
        return connection

    async def _try_again(
        self,
        address: Address,
        failing: _Failing,
        open_connection: Callable[[], Awaitable[T]],
        is_failure: Callable[[BaseException], bool],
    ) -> T:
        outcome = failing.outcome = asyncio.get_running_loop().create_future()
        failure: BaseException | None = None
        try:
            # A client that began before the failure was known may succeed during the pause.
            await asyncio.wait([outcome], timeout=max(0.0, failing.next_at - time.monotonic()))
            connection = await open_connection()
        except Exception as error:
            if is_failure(error):
                failing.tries += 1
                failing.next_at = time.monotonic() + _pause(failing.tries)
                self._failing[address] = failing  # also if a client has succeeded meanwhile
                failure = error
            raise
        finally:  # also if this caller is cancelled: then another one takes its turn
            failing.outcome = None
            if not outcome.done():
                outcome.set_result(failure)
        self._succeeded(address)
        return connection

    def _succeeded(self, address: Address) -> None:
        failing = self._failing.pop(address, None)
        if failing is not None and failing.outcome is not None and not failing.outcome.done():
            failing.outcome.set_result(None)


def _pause(tries: int) -> float:
    ceiling = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * (1 << min(tries, 10)))
    return ceiling * random.uniform(*JITTER)  # noqa: S311 - jitter
