"""Which jobs of an account still need a listing, and in which order. Pure: times are arguments.

A running job needs a listing in each pass. An ended job needs one more after its end was seen, and
a second one if it ended only just now, because its last checkpoint may become visible late.
"""

from collections import OrderedDict
from typing import Final

from consumer.sources.poll.pages import Job, is_newest_first, never_rises

SETTLING_SECONDS: Final = 120.0
MAX_FINISHED: Final = 200_000


class _Unfinished:
    """A job that needs a listing."""

    __slots__ = ("job", "last_pass")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.last_pass = 0


class JobBook:
    """The jobs of one account, over all passes of this process."""

    def __init__(self, max_finished: int = MAX_FINISHED) -> None:
        self._unfinished: dict[str, _Unfinished] = {}
        # Ids of ended jobs that were listed completely. An id that is removed is only listed again.
        self._finished: OrderedDict[str, None] = OrderedDict()
        self._max_finished = max_finished
        self._pass = 0
        self._has_seen_all = False
        self._seen: set[str] = set()
        self._unseen_running = 0
        self._is_partial = False
        self._last_time: list[float | None] = []
        self._is_ordered = True

    @property
    def unfinished(self) -> int:
        """The number of jobs that need a listing."""
        return len(self._unfinished)

    @property
    def never_listed(self) -> int:
        """The number of jobs that no pass has chosen yet."""
        return sum(one.last_pass == 0 for one in self._unfinished.values())

    def begin_pass(self) -> None:
        """Begin to list the jobs again."""
        self._pass += 1
        self._seen = set()
        self._unseen_running = sum(not one.job.has_ended for one in self._unfinished.values())
        self._is_partial = False
        self._last_time = []
        self._is_ordered = True

    def add_page(self, jobs: list[Job], oldest: float | None) -> bool:
        """Add a page of jobs; return whether the rest of the list has nothing new.

        It has nothing new if the list is newest first and either the last job of the page is older
        than `oldest`, or an earlier complete listing has seen this job and every running job is
        already seen again. An ended job does not change, except if the provider resumes it.
        """
        if not jobs:
            return False
        times = [*self._last_time, *(job.created_at for job in jobs)]
        self._is_ordered = self._is_ordered and (len(times) == 1 or never_rises(times))
        self._last_time = times[-1:]
        was_known = jobs[-1].id in self._unfinished or jobs[-1].id in self._finished
        for job in jobs:
            self._add(job, oldest)
        if not self._is_ordered:
            return False
        if _is_before(jobs[-1], oldest):
            return True
        # A page whose jobs all have the same time says nothing about the order.
        is_known = self._has_seen_all and was_known and self._unseen_running == 0
        self._is_partial = is_known and is_newest_first(times)
        return self._is_partial

    def end_listing(self) -> None:
        """Record that no job is missing; drop the jobs that the provider lists no more."""
        self._has_seen_all = True
        if not self._is_partial:
            for job_id in [one for one in self._unfinished if one not in self._seen]:
                del self._unfinished[job_id]
        self._seen = set()

    def drop(self, job: Job) -> None:
        """Forget a job that the provider does not know any more."""
        self._unfinished.pop(job.id, None)

    def choose(self, limit: int) -> list[Job]:
        """Return at most `limit` jobs for this pass: running ones and ended ones.

        The jobs that have waited longest come first. If there are too many, each kind gets at least
        half of the limit. So ended jobs of a first pass never delay the running ones.
        """
        running = self._waiting(has_ended=False)
        ended = self._waiting(has_ended=True)
        half = limit // 2
        of_running = min(len(running), max(limit - half, limit - len(ended)))
        chosen = running[:of_running] + ended[: limit - of_running]
        for one in chosen:
            one.last_pass = self._pass
        return [one.job for one in chosen]

    def finish(self, job: Job, now: float) -> bool:
        """Record a complete listing; return whether the job needs no other one."""
        is_settling = job.finished_at is not None and now - job.finished_at < SETTLING_SECONDS
        if not job.has_ended or is_settling:
            return False
        self._unfinished.pop(job.id, None)
        self._finished[job.id] = None
        while len(self._finished) > self._max_finished:
            self._finished.popitem(last=False)
        return True

    def _add(self, job: Job, oldest: float | None) -> None:
        if job.id in self._finished:
            if job.has_ended:
                return
            del self._finished[job.id]  # the provider has resumed it
        known = self._unfinished.get(job.id)
        if known is None:
            if not _is_before(job, oldest):
                self._unfinished[job.id] = _Unfinished(job)
                self._seen.add(job.id)
            return
        if job.id not in self._seen:
            self._seen.add(job.id)
            self._unseen_running -= not known.job.has_ended
        known.job = job

    def _waiting(self, *, has_ended: bool) -> list[_Unfinished]:
        found = [one for one in self._unfinished.values() if one.job.has_ended == has_ended]
        return sorted(found, key=lambda one: one.last_pass)


def _is_before(job: Job, oldest: float | None) -> bool:
    return oldest is not None and job.created_at is not None and job.created_at < oldest
