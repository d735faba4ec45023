"""The requests whose bodies are being received, and the memory that they give up for others.

A signature can only be checked after the body has arrived. So any client can make the receiver hold
parts of bodies. If the memory is used up, the oldest request that has shown no token gives way.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

from consumer.sources.ingest_request import IngestRequest
from consumer.sources.memory_budget import MemoryBudget
from consumer.sources.problems import Refusal, unavailable

RETRY_SECONDS: Final = 1


class IncompleteRequests:
    """The requests that are being received, oldest first."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._tasks: dict[IngestRequest, asyncio.Task[None]] = {}
        """The tasks of the requests without a token, which can give way."""

    @contextlib.contextmanager
    def add(self, request: IngestRequest) -> Iterator[None]:
        """Let the request of the current task give way while the context lasts.

        Raises:
            Refusal: 503, it had to give way.
        """
        task = asyncio.current_task()
        if request.has_token or task is None:
            yield
            return
        self._tasks[request] = task
        try:
            yield
        except asyncio.CancelledError:
            if request in self._tasks:  # not by `_evict`
                raise
            task.uncancel()
            raise _used_up() from None
        finally:
            self._tasks.pop(request, None)

    def reserve(self, request: IngestRequest, size_bytes: int) -> None:
        """Reserve memory for a part of the body; other incomplete requests give way, oldest first.

        Raises:
            Refusal: 503, there is not enough memory without this request itself.
        """
        while not self._budget.reserve(size_bytes):
            oldest = next((one for one in self._tasks if one.reserved_bytes), None)
            if oldest is None or oldest is request:
                raise _used_up()
            self._evict(oldest)
        request.reserved_bytes += size_bytes

    def _evict(self, request: IngestRequest) -> None:
        """Release the memory of a request at once; its task ends in the next round of the loop."""
        self._budget.release(request.reserved_bytes)
        request.reserved_bytes = 0
        self._tasks.pop(request).cancel()


def _used_up() -> Refusal:
    return unavailable("the memory for requests is used up", RETRY_SECONDS)
