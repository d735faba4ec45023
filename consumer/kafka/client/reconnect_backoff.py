"""Bounds how often a process tries an address that refuses connections.

All clients of a process share one ``ReconnectBackoff``. Together they try a failing address once in
each pause, and when one of them succeeds, none of the others waits any longer.
"""

import asyncio
import random
import time
from typing import Final

import msgspec
from aiokafka.errors import KafkaConnectionError

from consumer.kafka.client.broker_health import Address

# The pause after the first failure. It doubles with each further try (KIP-144).
FIRST_PAUSE_SECONDS: Final = 0.05
# A broker that is back is found after this time. That is little beside the start of a broker.
MAX_PAUSE_SECONDS: Final = 0.5
JITTER: Final = (0.5, 1.0)


class StillFailing(KafkaConnectionError):
    """The address failed, and another client has tried it meanwhile. The cause is its error."""

    def __str__(self) -> str:
        """Return the text of the cause."""
        return str(self.__cause__) or type(self.__cause__).__name__


class _Failing(msgspec.Struct):
    error: BaseException
    next_at: float  # monotonic seconds
    recovered: asyncio.Event
    tries: int = 0


class ReconnectBackoff:
    """The addresses to which no connection could be made, and when each may be tried again."""

    __slots__ = ("_failing",)

    def __init__(self) -> None:
        self._failing: dict[Address, _Failing] = {}

    async def wait_for_turn(self, address: Address) -> None:
        """Return when the caller may try the address: at once, unless it fails.

        Raises:
            StillFailing: another client has tried it during the pause.
        """
        failing = self._failing.get(address)
        if failing is None:
            return
        tries = failing.tries
        while (left := failing.next_at - time.monotonic()) > 0 and tries == failing.tries:
            try:
                async with asyncio.timeout(left):
                    await failing.recovered.wait()
            except TimeoutError:
                continue
            return
        if tries != failing.tries:
            raise StillFailing from failing.error
        failing.tries += 1
        failing.next_at = time.monotonic() + _pause(failing.tries)

    def failed(self, address: Address, error: BaseException) -> None:
        """Note that a connection could not be made."""
        failing = self._failing.get(address)
        if failing is None:
            next_at = time.monotonic() + _pause(0)
            self._failing[address] = _Failing(error, next_at, asyncio.Event())
        else:
            failing.error = error

    def succeeded(self, address: Address) -> None:
        """Note a connection: every client that waits may connect."""
        failing = self._failing.pop(address, None)
        if failing is not None:
            failing.recovered.set()


def _pause(tries: int) -> float:
    ceiling = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * (1 << min(tries, 10)))
    return ceiling * random.uniform(*JITTER)  # noqa: S311 - jitter
