"""The count of unread records: one read for all subscribers, from the end to the beginning."""

from __future__ import annotations

from consumer.kafka.read import OffsetRange
from consumer.kafka.unread import Unread, UnreadCounter


def test_each_part_of_the_log_is_read_once() -> None:
    """The parts between the offsets are read from the last to the first, and the counts add up."""
    counter = UnreadCounter([3, 8, 3, 20], OffsetRange(0, 20), limit=100)
    assert counter.next_range() == OffsetRange(8, 20)
    counter.add(4, 15)
    counter.add(2, 20)
    assert counter.next_range() == OffsetRange(3, 8)
    counter.add(5, 8)
    assert counter.next_range() is None
    assert counter.unread_from(20) == Unread(0, is_exact=True)
    assert counter.unread_from(8) == Unread(6, is_exact=True)
    assert counter.unread_from(3) == Unread(11, is_exact=True)


def test_the_limit_keeps_what_is_exact() -> None:
    """A subscriber at the end has an exact number; those before it have a lower bound."""
    counter = UnreadCounter([0, 50, 90], OffsetRange(0, 100), limit=20)
    assert counter.next_range() == OffsetRange(90, 100)
    counter.add(10, 100)
    assert counter.next_range() == OffsetRange(50, 90)
    assert not counter.is_enough(9)
    assert counter.is_enough(10)
    counter.add(12, 62)
    assert counter.next_range() is None
    assert counter.unread_from(90) == Unread(10, is_exact=True)
    assert counter.unread_from(50) == Unread(22, is_exact=False)
    assert counter.unread_from(0) == Unread(22, is_exact=False)


def test_a_limit_that_is_reached_at_the_end_of_a_part() -> None:
    """That part is exact, and the part before it is not read."""
    counter = UnreadCounter([0, 5], OffsetRange(0, 10), limit=5)
    assert counter.next_range() == OffsetRange(5, 10)
    counter.add(5, 10)
    assert counter.next_range() is None
    assert counter.unread_from(5) == Unread(5, is_exact=True)
    assert counter.unread_from(0) == Unread(5, is_exact=False)


def test_offsets_outside_the_log() -> None:
    """Deleted records are not counted, and nothing is unread after the end."""
    counter = UnreadCounter([0, 99], OffsetRange(5, 10), limit=100)
    assert counter.next_range() == OffsetRange(5, 10)
    counter.add(5, 10)
    assert counter.unread_from(0) == Unread(5, is_exact=True)
    assert counter.unread_from(99) == Unread(0, is_exact=True)


def test_an_empty_log_is_not_read() -> None:
    """The number is exact without a read."""
    counter = UnreadCounter([0], OffsetRange(0, 0), limit=100)
    assert counter.next_range() is None
    assert counter.unread_from(0) == Unread(0, is_exact=True)
