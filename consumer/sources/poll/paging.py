"""Where a listing is in its pages. Every listing ends, whatever the provider answers.

A provider that ignores the cursor, repeats cursors, or always has one more page would otherwise
keep a listing running, and its memory growing, without a limit.
"""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from consumer.sources.poll.errors import ListingFailed


class PagingLimits(NamedTuple):
    """The limits of one listing."""

    name: str
    """What is listed, for messages."""
    pages: int
    elements: int
    seconds: float


# The list of jobs may take several passes. So its time is limited in each pass, not here.
JOB_LIST: Final = PagingLimits("jobs", 10_000, 10_000_000, float("inf"))
CHECKPOINT_LIST: Final = PagingLimits("checkpoints", 1_000, 100_000, 600.0)


class Paging:
    """The cursor of one listing, and how much of the listing was read."""

    def __init__(self, limits: PagingLimits, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin before the first page. `clock` returns seconds."""
        self.after: str | None = None
        """The cursor of the next page, None for the first one."""
        self._limits = limits
        self._clock = clock
        self._ends = clock() + limits.seconds
        self._pages = 0
        self._elements = 0
        # Hashes, because a provider chooses the length of its cursors.
        self._seen: set[int] = set()

    def advance(self, next_after: str, elements: int) -> None:
        """Continue after a page with this number of elements.

        Raises:
            ListingFailed: the cursor is a repeated one, or the listing exceeds a limit.
        """
        self._pages += 1
        self._elements += elements
        cursor = hash(next_after)
        if cursor in self._seen:
            raise ListingFailed(
                f"malformed page: the provider repeats a cursor of the list of "
                f"{self._limits.name}, so the list would not end"
            )
        if (
            self._pages >= self._limits.pages
            or self._elements >= self._limits.elements
            or self._clock() >= self._ends
        ):
            raise ListingFailed(
                f"the list of {self._limits.name} does not end: {self._pages} pages with "
                f"{self._elements} elements were read"
            )
        self._seen.add(cursor)
        self.after = next_after
