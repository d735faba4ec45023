"""Which jobs of one account wait for a triggered listing. Pure: times are arguments, in seconds.

A job is listed as soon as its event arrives, and once more two minutes after the event, because its
last checkpoint may become visible late. A failed listing is repeated with a growing delay. After
some failures the job is dropped, because a poller finds it too.
"""

import random
from typing import Final

from consumer.sources.poll.job_book import SETTLING_SECONDS

MAX_FAILURES: Final = 8
MAX_DELAY_SECONDS: Final = 600.0
JITTER: Final = 0.1


class WaitingJob:
    """A job that needs a listing at the time `due`, or that is being listed."""

    __slots__ = ("due", "failures", "is_being_listed", "job_id", "received")

    def __init__(self, job_id: str, received: float) -> None:
        self.job_id = job_id
        self.received = received
        self.due = received
        self.failures = 0
        """Failed listings in a row."""
        self.is_being_listed = False


class ListingQueue:
    """The jobs of one account, each once; at most `max_jobs`."""

    def __init__(self, max_jobs: int, settling_seconds: float = SETTLING_SECONDS) -> None:
        self._max_jobs = max_jobs
        self._settling_seconds = settling_seconds
        self._jobs: dict[str, WaitingJob] = {}  # oldest first

    def __len__(self) -> int:
        """Return the number of jobs that wait or are being listed."""
        return len(self._jobs)

    def __contains__(self, job_id: str) -> bool:
        """Return whether the job waits or is being listed."""
        return job_id in self._jobs

    def add(self, job_id: str, now: float) -> str | None:
        """Add a job that is not in the queue; return the oldest job if it had to be dropped."""
        dropped = None
        if len(self._jobs) >= self._max_jobs:
            dropped = next(iter(self._jobs))
            del self._jobs[dropped]
        self._jobs[job_id] = WaitingJob(job_id, now)
        return dropped

    @property
    def next_due(self) -> float | None:
        """When the next listing is due; None if no job waits."""
        return min((one.due for one in self._waiting()), default=None)

    def take(self, now: float) -> WaitingJob | None:
        """Return the job whose listing is due for the longest time. It stays in the queue.

        It is not returned again before its listing has ended: see `succeed` and `fail`.
        """
        due = [one for one in self._waiting() if one.due <= now]
        job = min(due, key=lambda one: one.due, default=None)
        if job is not None:
            job.is_being_listed = True
        return job

    def succeed(self, job: WaitingJob, now: float) -> bool:
        """Record a complete listing; return whether the job needs no other one."""
        job.is_being_listed = False
        settled = job.received + self._settling_seconds
        if now < settled and self._is_queued(job):
            job.failures = 0
            job.due = settled
            return False
        self.drop(job)
        return True

    def fail(
        self, job: WaitingJob, now: float, first_delay: float, min_delay: float
    ) -> float | None:
        """Record a failed listing; return the delay to the next one, None if the job is dropped.

        The delay begins with `first_delay`, doubles with each failure, and is at least `min_delay`.
        """
        job.is_being_listed = False
        job.failures += 1
        if job.failures >= MAX_FAILURES or not self._is_queued(job):
            self.drop(job)
            return None
        delay = min(first_delay * 2.0 ** (job.failures - 1), MAX_DELAY_SECONDS)
        delay *= random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads the load
        delay = max(delay, min_delay)
        job.due = now + delay
        return delay

    def drop(self, job: WaitingJob) -> None:
        """Remove a job."""
        if self._is_queued(job):
            del self._jobs[job.job_id]

    def _waiting(self) -> list[WaitingJob]:
        return [one for one in self._jobs.values() if not one.is_being_listed]

    def _is_queued(self, job: WaitingJob) -> bool:
        """Return whether the job is still in the queue: a newer one may have replaced it."""
        return self._jobs.get(job.job_id) is job
