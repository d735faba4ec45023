"""The wall-clock time of this machine, and that of the brokers.

Decisions about ids use the brokers' time. Otherwise a process on a machine with a wrong clock could
forget ids too early, or trust timestamps in the future. Durations use monotonic seconds.
"""

import time
from collections.abc import Callable


def wall_clock_ms() -> int:
    """Return this machine's wall-clock time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class BrokerClock:
    """The brokers' wall clock, computed from the timestamp of the latest produce response.

    For a topic with LogAppendTime each produce response holds the time at which the broker appended
    the batch (KIP-32). The response arrives a moment later. So this clock is slightly behind the
    clock of that broker. Before the first such response it is the clock of this machine.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns monotonic seconds."""
        self._clock = clock
        self._offset_ms: float | None = None

    def set(self, timestamp_ms: int) -> None:
        """Set the clock to a timestamp that a broker returned just now."""
        self._offset_ms = timestamp_ms - self._clock() * 1000

    def now_ms(self) -> int:
        """Return the brokers' time in ms, or this machine's time until a broker returned one."""
        return self.at_ms(self._clock())

    def at_ms(self, seconds: float) -> int:
        """Return the brokers' time in ms at the given monotonic time in seconds."""
        offset_ms = self._offset_ms
        if offset_ms is None:
            offset_ms = wall_clock_ms() - self._clock() * 1000
        return int(offset_ms + seconds * 1000)
