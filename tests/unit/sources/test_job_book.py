"""Which jobs get a listing: none is forgotten, and a first pass is bounded."""

from __future__ import annotations

import itertools

import pytest

from consumer.sources.poll.job_book import SETTLING_SECONDS, JobBook
from consumer.sources.poll.left_out_jobs import (
    FIRST_DELAY_SECONDS,
    MAX_DELAY_SECONDS,
    MAX_NOT_FOUND,
    LeftOutJobs,
)
from consumer.sources.poll.pages import Job

NOW = 1_000_000.0


def job(number: int, *, has_ended: bool = False, finished_at: float | None = None) -> Job:
    """Return a job; a larger number is newer."""
    return Job(f"job-{number}", has_ended, float(number), finished_at, None)


def list_all(
    book: JobBook, *pages: list[Job], oldest: float | None = None, monotonic: float = 0.0
) -> int:
    """List these pages as a pass does; return how many were needed."""
    book.begin_pass()
    book.begin_listing()
    needed = 0
    for page in pages:
        needed += 1
        if book.add_page(page, oldest, monotonic):
            break
    book.end_listing()
    return needed


def chosen(book: JobBook, limit: int) -> list[str]:
    """Return the ids of the chosen jobs."""
    return [one.id for one in book.choose(limit)]


def test_an_ended_job_is_listed_once_more() -> None:
    """It is chosen until a complete listing of it, and never again."""
    book = JobBook()
    list_all(book, [job(1)])
    assert chosen(book, 9) == ["job-1"]
    assert not book.finish(job(1), NOW, 0.0)
    list_all(book, [job(1, has_ended=True)])
    assert chosen(book, 9) == ["job-1"]
    list_all(book, [job(1, has_ended=True)])
    assert chosen(book, 9) == ["job-1"], "its last listing failed"
    assert book.finish(job(1, has_ended=True), NOW, 0.0)
    list_all(book, [job(1, has_ended=True)])
    assert chosen(book, 9) == []


def test_a_job_that_ended_just_now_is_listed_again() -> None:
    """Its last checkpoint may become visible later than its end."""
    book = JobBook()
    just_now = job(1, has_ended=True, finished_at=NOW - 1)
    list_all(book, [just_now])
    assert not book.finish(just_now, NOW, 0.0)
    assert book.finish(just_now, NOW + SETTLING_SECONDS, SETTLING_SECONDS)


@pytest.mark.parametrize("ahead_seconds", [1.0, 3600.0, 1e9])
def test_an_end_in_the_future_is_settled_after_two_minutes_of_our_clock(
    ahead_seconds: float,
) -> None:
    """A slow clock of ours, or a provider whose time is wrong, does not list the job forever."""
    book = JobBook()
    ended = job(1, has_ended=True, finished_at=NOW + ahead_seconds)
    list_all(book, [job(1)])
    assert not book.finish(job(1), NOW, 500.0)
    list_all(book, [ended])
    assert not book.finish(ended, NOW, 1000.0), "its last checkpoint may become visible late"
    list_all(book, [ended])
    assert not book.finish(ended, NOW, 1000.0 + SETTLING_SECONDS - 1)
    list_all(book, [ended])
    assert book.finish(ended, NOW, 1000.0 + SETTLING_SECONDS)


def test_a_job_that_the_provider_resumes_is_listed_again() -> None:
    """An ended job can run again: a run of Tinker, or a resumed job of Fireworks."""
    book = JobBook()
    list_all(book, [job(1, has_ended=True)])
    assert chosen(book, 9) == ["job-1"]
    assert book.finish(job(1, has_ended=True), NOW, 0.0)
    list_all(book, [job(1)])
    assert chosen(book, 9) == ["job-1"]
    list_all(book, [job(1, has_ended=True)])
    assert chosen(book, 9) == ["job-1"]


def test_the_backlog_of_a_first_run_is_bounded_and_goes_on() -> None:
    """Each pass takes at most the limit, and no job is forgotten or listed twice."""
    book = JobBook()
    jobs = [job(number, has_ended=True) for number in range(25, 0, -1)]
    listed: list[str] = []
    for _ in range(3):
        list_all(book, jobs)
        now = book.choose(10)
        assert len(now) <= 10
        for one in now:
            book.finish(one, NOW, 0.0)
        listed += [one.id for one in now]
    assert sorted(listed) == sorted(one.id for one in jobs)


def test_the_backlog_does_not_delay_running_jobs() -> None:
    """Running jobs get at least half of the limit, and take turns."""
    book = JobBook()
    jobs = [job(number, has_ended=number <= 50) for number in range(58, 0, -1)]
    list_all(book, jobs)
    first = chosen(book, 8)
    assert {"job-58", "job-57", "job-56", "job-55"} <= set(first)
    list_all(book, jobs)
    assert {"job-54", "job-53", "job-52", "job-51"} <= set(chosen(book, 8))


def test_one_running_job_leaves_the_rest_to_the_backlog() -> None:
    """The limit is used up."""
    book = JobBook()
    list_all(book, [job(number, has_ended=number <= 50) for number in range(51, 0, -1)])
    assert len(book.choose(10)) == 10
    assert book.never_listed == 41


def test_the_listing_of_jobs_stops_at_known_jobs() -> None:
    """It needs one page, unless a job that still runs is behind it."""
    pages = [[job(4, has_ended=True), job(3, has_ended=True)], [job(2), job(1, has_ended=True)]]
    book = JobBook()
    assert list_all(book, *pages) == 2
    assert list_all(book, *pages) == 2, "job-2 may have ended"
    pages[1][0] = job(2, has_ended=True)
    assert list_all(book, *pages) == 2
    assert list_all(book, *pages) == 1
    assert {"job-1", "job-2", "job-3", "job-4"} == set(chosen(book, 9)), "no job was dropped"


def test_a_listing_that_failed_does_not_count_as_complete() -> None:
    """The next listing reads behind the known jobs."""
    pages = [[job(4, has_ended=True), job(3, has_ended=True)], [job(2, has_ended=True)]]
    book = JobBook()
    book.begin_pass()
    book.begin_listing()
    book.add_page(pages[0], None, 0.0)  # then the second page failed
    assert list_all(book, *pages) == 2


def test_another_order_is_never_stopped_early() -> None:
    """A provider that lists oldest first has its new jobs at the end."""
    pages = [[job(1, has_ended=True), job(2, has_ended=True)], [job(3, has_ended=True)]]
    book = JobBook()
    list_all(book, *pages)
    assert list_all(book, *pages, [job(4)]) == 3
    assert "job-4" in chosen(book, 9)


def test_equal_times_prove_no_order() -> None:
    """A listing of jobs that were created at the same time is read to its end."""
    same = [Job(f"job-{number}", True, 7.0, None, None) for number in range(5)]  # noqa: FBT003 - ended
    book = JobBook()
    list_all(book, same[:2], same[2:4])
    assert list_all(book, same[:2], same[2:4], same[4:]) == 3


def test_jobs_before_the_limit_are_ignored() -> None:
    """The listing stops there."""
    book = JobBook()
    pages = [[job(9), job(8)], [job(7), job(5)], [job(4)]]
    assert list_all(book, *pages, oldest=7.0) == 2
    assert set(chosen(book, 9)) == {"job-9", "job-8", "job-7"}


def test_a_deleted_job_is_forgotten() -> None:
    """The provider does not list it any more."""
    book = JobBook()
    list_all(book, [job(2), job(1)])
    list_all(book, [job(2)])
    assert chosen(book, 9) == ["job-2"]


def test_the_memory_of_ended_jobs_is_bounded() -> None:
    """The oldest is removed, and then listed again."""
    book = JobBook(max_finished=2)
    jobs = [job(number, has_ended=True) for number in (3, 2, 1)]
    list_all(book, jobs)
    for one in book.choose(9):
        book.finish(one, NOW, 0.0)
    list_all(book, jobs)
    assert chosen(book, 9) == ["job-3"]


def test_a_single_slot_is_shared_by_running_and_ended_jobs() -> None:
    """With `max_jobs_per_pass = 1` too, no job waits forever."""
    book = JobBook()
    jobs = [job(3), job(2, has_ended=True), job(1, has_ended=True)]
    listed = []
    for _ in range(3):
        list_all(book, jobs)
        (one,) = book.choose(1)
        listed.append(one.id)
        book.finish(one, NOW, 0.0)
    assert book.never_listed == 0
    assert sorted(listed) == ["job-1", "job-2", "job-3"]


def test_a_job_that_the_pass_did_not_reach_comes_first() -> None:
    """It was chosen, but not listed."""
    book = JobBook()
    jobs = [job(number) for number in (4, 3, 2, 1)]
    list_all(book, jobs)
    assert len(book.choose(4)) == 4
    book.put_back(job(2))
    assert book.never_listed == 1
    list_all(book, jobs)
    assert chosen(book, 1) == ["job-2"]


def test_the_number_of_waiting_jobs_is_bounded() -> None:
    """When jobs are done, the next listing has room for others."""
    book = JobBook(max_unfinished=2)
    jobs = [job(number, has_ended=True) for number in (3, 2, 1)]
    list_all(book, jobs)
    assert (book.is_full, book.unfinished) == (True, 2)
    for one in book.choose(9):
        book.finish(one, NOW, 0.0)
    list_all(book, jobs)
    assert (book.is_full, book.unfinished) == (False, 1)
    assert chosen(book, 9) == ["job-1"]


def not_found(book: JobBook, one: Job, monotonic: float) -> bool:
    """Run a pass in which the job is not found; return whether the pass tried it."""
    list_all(book, [one], monotonic=monotonic)
    if not book.choose(9):
        return False
    book.drop(one, monotonic)
    return True


def test_a_job_without_checkpoints_is_left_out_and_tried_again_rarely() -> None:
    """The delay grows to six hours."""
    book = JobBook()
    tried = [at for at in range(0, 200_000, 30) if not_found(book, job(1), float(at))]
    assert tried[:MAX_NOT_FOUND] == [0, 30, 60]
    delays = [later - one for one, later in itertools.pairwise(tried[2:])]
    assert delays[0] == FIRST_DELAY_SECONDS
    assert delays[1] == 2 * FIRST_DELAY_SECONDS
    assert max(delays) == MAX_DELAY_SECONDS
    assert len(tried) < 20
    assert book.left_out(float(tried[-1])) == 1
    assert book.never_listed == 0


def test_a_left_out_job_is_tried_again_when_it_ends_and_counts_no_more_when_found() -> None:
    """Its checkpoints may be there now."""
    book = JobBook()
    for _ in range(MAX_NOT_FOUND):
        assert not_found(book, job(1), 0.0)
    assert not not_found(book, job(1), 1.0)
    ended = job(1, has_ended=True)
    list_all(book, [ended], monotonic=1.0)
    assert chosen(book, 9) == ["job-1"]
    assert book.finish(ended, NOW, 1.0)
    assert book.left_out(1.0) == 0


def test_the_memory_of_left_out_jobs_is_bounded() -> None:
    """The oldest one is removed, and then tried again."""
    jobs = LeftOutJobs(max_jobs=2)
    for number in (1, 2, 3):
        for _ in range(MAX_NOT_FOUND):
            jobs.add(job(number), 1, 0.0)
    assert [jobs.is_left_out(job(number), 1.0) for number in (1, 2, 3)] == [False, True, True]
    assert jobs.count(1.0) == 2
