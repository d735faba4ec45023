"""Holds a tool to a rate."""

import time
from typing import Final

from consumer.tools.endurance import Stop

# So many transactions a second at the most; at less than that each holds one event.
TRANSACTIONS_PER_SECOND: Final = 5
UNLIMITED: Final = 2**31


class Pace:
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

    async def hold(self, events: int, stop: Stop) -> None:
        """Wait until so many `events` in all are not too many any more, or an end is asked for."""
        if self._per_second is None:
            return
        now = time.monotonic()
        if self._began is None:  # the first ones take their time too
            self._began = now, events - min(events, self.room)
        began, before = self._began
        await stop.wait(began + (events - before) / self._per_second - now)
