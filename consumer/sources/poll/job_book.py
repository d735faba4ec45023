"""Which jobs of an account still need a listing, and in which order. Pure: times are arguments.

A running job needs a listing in each pass. An ended job needs one more after its end was seen, and
a second one if it ended only just now, because its last checkpoint may become visible late.

The number of jobs is bounded. `now` is epoch seconds, `monotonic` is seconds of a clock that never
jumps. One listing of the jobs may take several passes.
"""

from collections import OrderedDict
from typing import Final

from consumer.sources.poll.left_out_jobs import LeftOutJobs
from consumer.sources.poll.pages import Job, is_newest_first, never_rises

SETTLING_SECONDS: Final = 120.0
MAX_FINISHED: Final = 200_000
MAX_UNFINISHED: Final = 100_000


class _Unfinished:
    """A job that needs a listing."""

    __slots__ = ("first_listed", "job", "last_pass", "pass_before")

    def __init__(self, job: Job, last_pass: int) -> None:
        self.job = job
        self.last_pass = last_pass
        self.pass_before = last_pass
        self.first_listed: float | None = None
        """When the job was first listed completely after its end, by the monotonic clock."""


class JobBook:
    """The jobs of one account, over all passes of this process."""

    def __init__(
        self, max_finished: int = MAX_FINISHED, max_unfinished: int = MAX_UNFINISHED
    ) -> None:
        self._unfinished: dict[str, _Unfinished] = {}
        # Ids of ended jobs that were listed completely. An id that is removed is only listed again.
        self._finished: OrderedDict[str, None] = OrderedDict()
        self._max_finished = max_finished
        self._max_unfinished = max_unfinished
        self._left_out = LeftOutJobs()
        self._is_full = False
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
    def is_full(self) -> bool:
        """Whether this listing has more jobs than the book can hold."""
        return self._is_full

    def left_out(self, monotonic: float) -> int:
        """Return how many jobs are left out, because their checkpoints are not found."""
        return self._left_out.count(monotonic)

    @property
    def never_listed(self) -> int:
        """The number of jobs that no pass has chosen yet."""
        return sum(one.last_pass == 0 for one in self._unfinished.values())

    def begin_pass(self) -> None:
        """Begin a pass, which begins a listing of the jobs or continues one."""
        self._pass += 1

    def begin_listing(self) -> None:
        """Begin to list the jobs again."""
        self._seen = set()
        self._is_full = False
        self._unseen_running = sum(not one.job.has_ended for one in self._unfinished.values())
        self._is_partial = False
        self._last_time = []
        self._is_ordered = True

    def add_page(self, jobs: list[Job], oldest: float | None, monotonic: float) -> bool:
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
        last = jobs[-1].id
        was_known = last in self._unfinished or last in self._finished or last in self._left_out
        for job in jobs:
            self._add(job, oldest, monotonic)
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

    def drop(self, job: Job, monotonic: float) -> int:
        """Forget a job whose checkpoints are not found; return how often they were not found.

        A deleted job is not in the next listing of the jobs. Another one is tried again.
        """
        self._forget(job)
        return self._left_out.add(job, self._pass, monotonic)

    def put_back(self, job: Job) -> None:
        """Record that the pass ended before the job that it had chosen."""
        one = self._unfinished.get(job.id)
        if one is not None:
            one.last_pass = one.pass_before

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
        if limit == 1:  # cannot be divided: the kinds take turns
            chosen = sorted(running[:1] + ended[:1], key=lambda one: one.last_pass)[:1]
        for one in chosen:
            one.pass_before, one.last_pass = one.last_pass, self._pass
        return [one.job for one in chosen]

    def finish(self, job: Job, now: float, monotonic: float) -> bool:
        """Record a complete listing; return whether the job needs no other one."""
        self._left_out.remove(job)
        if not job.has_ended or self._is_settling(job, now, monotonic):
            return False
        self._forget(job)
        self._finished[job.id] = None
        while len(self._finished) > self._max_finished:
            self._finished.popitem(last=False)
        return True

    def _is_settling(self, job: Job, now: float, monotonic: float) -> bool:
        """Return whether the job ended just now.

        The provider's clock may differ from ours. So an end in the future counts as an end at the
        first listing after it.
        """
        one = self._unfinished.get(job.id)
        if one is not None and one.first_listed is None:
            one.first_listed = monotonic
        if job.finished_at is None or now - job.finished_at >= SETTLING_SECONDS:
            return False
        return one is not None and monotonic - (one.first_listed or 0) < SETTLING_SECONDS

    def _forget(self, job: Job) -> None:
        self._unfinished.pop(job.id, None)
        self._seen.discard(job.id)  # else it would grow without a limit in an endless listing

    def _add(self, job: Job, oldest: float | None, monotonic: float) -> None:
        if job.id in self._finished:
            if job.has_ended:
                return
            del self._finished[job.id]  # the provider has resumed it
        known = self._unfinished.get(job.id)
        if known is None:
            self._add_new(job, oldest, monotonic)
            return
        if job.id not in self._seen:
            self._seen.add(job.id)
            self._unseen_running -= not known.job.has_ended
        known.job = job
        if not job.has_ended:
            known.first_listed = None

    def _add_new(self, job: Job, oldest: float | None, monotonic: float) -> None:
        if _is_before(job, oldest) or self._left_out.is_left_out(job, monotonic):
            return
        if len(self._unfinished) >= self._max_unfinished:
            self._is_full = True
            return
        self._unfinished[job.id] = _Unfinished(job, self._left_out.last_pass(job))
        self._seen.add(job.id)

    def _waiting(self, *, has_ended: bool) -> list[_Unfinished]:
        found = [one for one in self._unfinished.values() if one.job.has_ended == has_ended]
        return sorted(found, key=lambda one: one.last_pass)


def _is_before(job: Job, oldest: float | None) -> bool:
    return oldest is not None and job.created_at is not None and job.created_at < oldest
