"""Which jobs get a triggered listing, and when. Times are arguments."""

from __future__ import annotations

from consumer.sources.listing_queue import MAX_DELAY_SECONDS, MAX_FAILURES, ListingQueue, WaitingJob
from consumer.sources.poll.job_book import SETTLING_SECONDS

NOW = 1000.0


def taken(queue: ListingQueue, now: float) -> WaitingJob:
    """Return the job that is due."""
    job = queue.take(now)
    assert job is not None
    return job


def test_a_job_is_listed_at_once_and_two_minutes_after_its_event() -> None:
    """The last checkpoint may become visible late."""
    queue = ListingQueue(10)
    assert queue.add("a", NOW) is None
    assert not queue.succeed(taken(queue, NOW), NOW + 1)
    assert queue.take(NOW + 1) is None
    assert queue.next_due == NOW + SETTLING_SECONDS == NOW + 120
    assert queue.succeed(taken(queue, NOW + 120), NOW + 120)
    assert len(queue) == 0
    assert queue.next_due is None


def test_a_late_first_listing_is_enough() -> None:
    """The listing was repeated for longer than two minutes."""
    queue = ListingQueue(10)
    queue.add("a", NOW)
    assert queue.succeed(taken(queue, NOW), NOW + 121)


def test_the_oldest_job_is_dropped() -> None:
    """Also if it is being listed: the end of its listing then changes nothing."""
    queue = ListingQueue(2)
    queue.add("a", NOW)
    first = taken(queue, NOW)
    assert queue.add("b", NOW) is None
    assert queue.add("c", NOW) == "a"
    assert "a" not in queue
    assert queue.add("a", NOW) == "b"
    assert queue.succeed(first, NOW), "it is not listed again for the dropped event"
    assert len(queue) == 2
    assert queue.fail(first, NOW, 1, 0) is None
    assert "a" in queue, "the newer event"


def test_the_job_that_is_due_for_longest_comes_first() -> None:
    """A repeated listing waits, and does not delay the other jobs."""
    queue = ListingQueue(10)
    queue.add("a", NOW)
    queue.add("b", NOW + 1)
    job = taken(queue, NOW + 1)
    assert job.job_id == "a"
    assert queue.next_due == NOW + 1, "the job that is being listed is not due"
    queue.fail(job, NOW + 1, 10, 0)
    assert taken(queue, NOW + 2).job_id == "b"


def test_delays_grow_and_end() -> None:
    """Each delay doubles with jitter, up to a limit, and is at least what the provider asks for."""
    queue = ListingQueue(10)
    queue.add("a", NOW)
    delays = []
    while (delay := queue.fail(taken(queue, 10 * NOW), NOW, 30, 0)) is not None:
        delays.append(delay)
    assert len(delays) == MAX_FAILURES - 1
    assert 27 <= delays[0] <= 33
    assert 54 <= delays[1] <= 66
    assert max(delays) <= 1.1 * MAX_DELAY_SECONDS
    assert len(queue) == 0
    queue.add("a", NOW)
    assert queue.fail(taken(queue, NOW), NOW, 30, 5000) == 5000
    assert queue.next_due == NOW + 5000
    queue.succeed(taken(queue, NOW + 5000), NOW + 10)
    assert taken(queue, NOW + 120).failures == 0
