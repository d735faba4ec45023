"""The time of day; durations are measured by the monotonic clock that a context carries."""

import time


def wall_clock_ms() -> int:
    """Return the time of day in milliseconds since the epoch, as Kafka stamps records."""
    return time.time_ns() // 1_000_000
