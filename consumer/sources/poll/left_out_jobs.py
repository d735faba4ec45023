"""Jobs that are in the list of the provider, but whose checkpoints it answers with 404.

Such a job was deleted after the listing of the jobs, or its kind has no checkpoints. In the second
case it would be a problem of every pass. So after some passes it is left out, and tried again
rarely. It is also tried again when it ends, or is resumed.
"""

from collections import OrderedDict
from typing import Final

from consumer.sources.poll.pages import Job

MAX_NOT_FOUND: Final = 3
"""With this number of passes in which it is not found, a job is left out."""
FIRST_DELAY_SECONDS: Final = 600.0
MAX_DELAY_SECONDS: Final = 6 * 3600.0
MAX_JOBS: Final = 10_000


class _NotFound:
    __slots__ = ("count", "has_ended", "last_pass", "until")

    def __init__(self) -> None:
        self.count = 0
        self.has_ended = False
        self.last_pass = 0
        self.until = 0.0


class LeftOutJobs:
    """The jobs that were not found. If one is removed because of the limit, it is tried again."""

    def __init__(self, max_jobs: int = MAX_JOBS) -> None:
        """Begin empty."""
        self._max_jobs = max_jobs
        self._jobs: OrderedDict[str, _NotFound] = OrderedDict()

    def __contains__(self, job_id: str) -> bool:
        """Return whether the job was not found."""
        return job_id in self._jobs

    def count(self, monotonic: float) -> int:
        """Return how many jobs are left out now."""
        return sum(one.until > monotonic for one in self._jobs.values())

    def add(self, job: Job, last_pass: int, monotonic: float) -> int:
        """Record that a job was not found; return how often it was not found."""
        one = self._jobs.setdefault(job.id, _NotFound())
        self._jobs.move_to_end(job.id)
        while len(self._jobs) > self._max_jobs:
            self._jobs.popitem(last=False)
        one.count += 1
        one.has_ended = job.has_ended
        one.last_pass = last_pass
        if one.count >= MAX_NOT_FOUND:
            doublings = min(one.count - MAX_NOT_FOUND, 16)
            one.until = monotonic + min(FIRST_DELAY_SECONDS * 2.0**doublings, MAX_DELAY_SECONDS)
        return one.count

    def remove(self, job: Job) -> None:
        """Record that a job was found."""
        self._jobs.pop(job.id, None)

    def is_left_out(self, job: Job, monotonic: float) -> bool:
        """Return whether to leave out a job of the listing of the jobs."""
        one = self._jobs.get(job.id)
        return one is not None and monotonic < one.until and one.has_ended == job.has_ended

    def last_pass(self, job: Job) -> int:
        """Return the number of the last pass that listed the job; 0 for a job that is not here."""
        one = self._jobs.get(job.id)
        return 0 if one is None else one.last_pass
