"""The ids that this process has sent. The cache only saves requests and records.

If an entry is removed, its checkpoints are sent again, and the service finds the duplicates.
"""

from collections import OrderedDict
from typing import Final

MAX_IDS: Final = 200_000


class JobIds:
    """The ids of one job."""

    __slots__ = ("ids", "is_complete")

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.is_complete = False
        """Whether the last listing of the job reached its end, with every id sent."""


class KnownIds:
    """The ids by job; at most `max_ids`, except for the job that is listed now."""

    def __init__(self, max_ids: int = MAX_IDS) -> None:
        self._max_ids = max_ids
        self._jobs: OrderedDict[str, JobIds] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """Return the number of ids."""
        return self._count

    def of(self, job_id: str) -> JobIds:
        """Return the entry of a job, which becomes the last one to be removed."""
        entry = self._jobs.setdefault(job_id, JobIds())
        self._jobs.move_to_end(job_id)
        return entry

    def add(self, job_id: str, ids: list[str]) -> None:
        """Add ids that are acknowledged; remove other jobs if there are too many ids."""
        entry = self.of(job_id)
        before = len(entry.ids)
        entry.ids.update(ids)
        self._count += len(entry.ids) - before
        while self._count > self._max_ids and len(self._jobs) > 1:
            _, oldest = self._jobs.popitem(last=False)
            self._forget(oldest)

    def remove(self, job_id: str) -> None:
        """Remove a job."""
        entry = self._jobs.pop(job_id, None)
        if entry is not None:
            self._forget(entry)

    def _forget(self, entry: JobIds) -> None:
        self._count -= len(entry.ids)
        entry.ids = set()
        entry.is_complete = False  # a listing that still uses the entry must not trust it
