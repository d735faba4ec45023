"""Small parts of the poller: delays, the cache of known ids, times and orders."""

from __future__ import annotations

import pytest

from consumer.sources.poll.errors import ListingFailed
from consumer.sources.poll.known_ids import KnownIds
from consumer.sources.poll.pages import epoch_seconds, is_newest_first
from consumer.sources.poll.paging import Paging, PagingLimits
from consumer.sources.poll.retry_delay import (
    MAX_BACKOFF_SECONDS,
    backoff_seconds,
    is_retried,
    retry_after_seconds,
)

NOW = 1_445_412_470.0  # 10 s before the date below


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 120 ", 120),
        ("1.5", 1.5),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 10),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("\u0661", None),
        ("1764256000", 1_764_256_000),
        ("9" * 400, float("inf")),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 10),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 251_956_888_329),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """A number of seconds or a date; anything else is ignored."""
    assert retry_after_seconds(value, NOW) == seconds


def test_backoff_grows_and_is_bounded() -> None:
    """Each delay is at least half of its limit, and no number of attempts overflows."""
    assert 0.25 <= backoff_seconds(0) <= 0.5
    assert 1 <= backoff_seconds(2) <= 2
    assert MAX_BACKOFF_SECONDS / 2 <= backoff_seconds(10**6) <= MAX_BACKOFF_SECONDS
    assert len({backoff_seconds(5) for _ in range(10)}) > 1, "without jitter"


@pytest.mark.parametrize(
    ("status", "expected"), [(408, True), (429, True), (500, True), (529, True), (400, False)]
)
def test_which_statuses_are_repeated(status: int, *, expected: bool) -> None:
    """Another attempt of a refused request would be refused again."""
    assert is_retried(status) is expected


def test_the_known_ids_are_bounded() -> None:
    """The job that was used longest ago is removed, and is not complete any more."""
    known = KnownIds(max_ids=4)
    known.add("a", ["1", "2"])
    first = known.of("a")
    first.is_complete = True
    known.add("b", ["3", "4"])
    known.add("c", ["5"])
    assert len(known) == 3
    assert not first.is_complete
    assert not first.ids
    assert not known.of("a").ids
    known.add("c", ["5", "6", "7", "8", "9", "10"])
    assert len(known) == 6, "one job may exceed the limit"
    known.remove("c")
    known.remove("c")
    assert len(known) == 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (7, 7.0),
        (True, None),
        ("2026-01-01T00:00:01Z", 1_767_225_601.0),
        ("2026-01-01T01:00:01+01:00", 1_767_225_601.0),
        ("2026-01-01T00:00:01", 1_767_225_601.0),
        (1_767_225_601_500, 1_767_225_601.5),
        (1_767_225_601_500_000, 1_767_225_601.5),
        (1_767_225_601_500_000_000.0, 1_767_225_601.5),
        (-7, -7.0),
        (10**400, None),
        (float("inf"), None),
        (float("nan"), None),
        ("9999-12-31T23:59:59-23:00", 253_402_383_599.0),
        ("yesterday", None),
        ({}, None),
    ],
)
def test_times(value: object, seconds: float | None) -> None:
    """A number, also in milliseconds, or RFC 3339; a time without an offset is UTC."""
    assert epoch_seconds(value) == seconds


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([3.0, 2.0, 2.0, 1.0], True),
        ([2.0, 2.0], False),
        ([3.0, 1.0, 2.0], False),
        ([3.0], False),
        ([], False),
        ([3.0, None, 1.0], False),
    ],
)
def test_the_order_must_be_proved(times: list[float | None], *, expected: bool) -> None:
    """Equal or unknown times prove nothing."""
    assert is_newest_first(times) is expected


def pages_until_refused(paging: Paging, cursors: list[str], elements: int = 1) -> int:
    """Advance by these cursors; return how many were accepted."""
    for number, cursor in enumerate(cursors):
        try:
            paging.advance(cursor, elements)
        except ListingFailed:
            return number
        assert paging.after == cursor
    return len(cursors)


@pytest.mark.parametrize("cursors", [["a", "a"], ["a", "b", "a"], ["a", "b", "c", "d", "b"]])
def test_a_cycle_of_cursors_ends_the_listing(cursors: list[str]) -> None:
    """Of any length."""
    paging = Paging(PagingLimits("jobs", 99, 99, 99.0))
    assert pages_until_refused(paging, cursors) == len(cursors) - 1


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (PagingLimits("jobs", 4, 999, 999.0), 3),
        (PagingLimits("jobs", 99, 50, 999.0), 4),
        (PagingLimits("jobs", 99, 999, 6.0), 5),
    ],
    ids=["pages", "elements", "seconds"],
)
def test_an_endless_listing_has_limits(limits: PagingLimits, expected: int) -> None:
    """Of pages, elements and time. The clock of this test advances one second with each call."""
    ticks = iter(range(100))
    paging = Paging(limits, clock=lambda: float(next(ticks)))
    assert pages_until_refused(paging, [str(one) for one in range(20)], elements=10) == expected
