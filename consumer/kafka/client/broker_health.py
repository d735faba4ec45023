"""What this process knows about the brokers' addresses: which of them answered last.

A broker that hangs accepts connections and never answers. Each client would find that out by a
timeout of its own. So all clients of a process share what one of them found.
"""

import math
import random
import time
from collections.abc import Iterable
from typing import Final, TypeVar

Address = tuple[str, int]
T = TypeVar("T")

# The time for a whole connection: TCP, TLS, the versions and the login. It doubles while the
# address fails (as KIP-601 does), so a slow broker can be reached too.
CONNECT_SECONDS: Final = 3.0
# The time for the answer to a question that any broker can answer. It doubles in the same way.
ANSWER_SECONDS: Final = 2.0
MAX_DOUBLINGS: Final = 2
# All clients of a process find out at the same time that a broker hangs. Together they count as one
# failure: otherwise the times would be long before another broker takes over.
SAME_FAILURE_SECONDS: Final = 10.0
# A broker may be slow once. An address is only avoided for this time, unless it fails again.
AVOIDED_SECONDS: Final = 60.0
ANSWERING_SECONDS: Final = 10.0


class BrokerHealth:
    """The failures of each address since its last answer."""

    __slots__ = ("_answered_at", "_failures")

    def __init__(self) -> None:
        # By address: the number of failures, the time of the last one that was counted, and the
        # time of the last one (monotonic seconds).
        self._failures: dict[Address, tuple[int, float, float]] = {}
        self._answered_at: dict[Address, float] = {}

    def connected(self, address: Address) -> None:
        """Note a connection. The failures of the address stay.

        A broker whose request handlers hang still accepts connections and logins.
        """
        self._answered_at[address] = time.monotonic()

    def answered(self, address: Address) -> None:
        """Note an answer to a request: the address has no failures any more."""
        self._answered_at[address] = time.monotonic()
        if self._failures:
            self._failures.pop(address, None)

    def failed(self, address: Address) -> None:
        """Note that a connection could not be made, or that a request got no answer in time."""
        now = time.monotonic()
        count, counted_at, _ = self._failures.get(address, (0, -math.inf, now))
        if now - counted_at >= SAME_FAILURE_SECONDS:
            count, counted_at = count + 1, now
        self._failures[address] = (count, counted_at, now)

    def is_avoided(self, address: Address) -> bool:
        """Return whether the address failed last, and not long ago."""
        found = self._failures.get(address)
        return found is not None and time.monotonic() - found[2] < AVOIDED_SECONDS

    def is_answering(self, address: Address) -> bool:
        """Return whether the address has answered not long ago, on any connection."""
        return time.monotonic() - self._answered_at.get(address, -math.inf) < ANSWERING_SECONDS

    def connect_seconds(self, address: Address) -> float:
        """Return how long a connection to the address may take."""
        return CONNECT_SECONDS * self._factor(address)

    def answer_seconds(self, address: Address) -> float:
        """Return how long the address may take for an answer that another one can give too."""
        return ANSWER_SECONDS * self._factor(address)

    def preferred(self, addressed: Iterable[tuple[T, Address]]) -> list[T]:
        """Return the items in random order, those with an avoided address last."""
        shuffled = list(addressed)
        random.shuffle(shuffled)
        return [item for item, _ in sorted(shuffled, key=lambda each: self.is_avoided(each[1]))]

    def _factor(self, address: Address) -> int:
        found = self._failures.get(address)
        return 1 if found is None else 1 << min(found[0] - 1, MAX_DOUBLINGS)
