"""The time of day, of this machine and of the brokers; durations are monotonic seconds.

Decisions about ids use the brokers' time. A machine whose clock is wrong, or jumps, would otherwise
forget ids too early, or believe times from the future.
"""

import time
from collections.abc import Callable


def wall_clock_ms() -> int:
    """Return this machine's time of day in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class BrokerClock:
    """The brokers' time of day: how they stamped our latest record, and how long ago that was.

    A topic with LogAppendTime answers each produce request with that time (KIP-32). The answer
    takes a moment, so this clock may be a little slow; it is never ahead of the brokers'.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives monotonic seconds."""
        self._clock = clock
        self._offset_ms: float | None = None

    def note(self, timestamp_ms: int) -> None:
        """Set the clock by a time that a broker has answered just now."""
        self._offset_ms = timestamp_ms - self._clock() * 1000

    def now_ms(self) -> int:
        """Return the time of day in ms; this machine's until a broker has answered its own."""
        return self.at_ms(self._clock())

    def at_ms(self, seconds: float) -> int:
        """Return what the time of day was at this moment of the monotonic clock."""
        offset_ms = self._offset_ms
        if offset_ms is None:
            offset_ms = wall_clock_ms() - self._clock() * 1000
        return int(offset_ms + seconds * 1000)
