"""The dead-letter limit: the share of dead letters in a window of offsets."""

from collections import Counter
from collections.abc import Iterable

import pytest

from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import Reason
from consumer.shard.dead_letter_limit import Breach, CountedDeadLetter, DeadLetterLimit

SOURCE = TopicPartition("input", 0)


def dead_letters(
    offsets: Iterable[int], reason: Reason = Reason.MALFORMED_JSON
) -> list[CountedDeadLetter]:
    """Return dead letters at these offsets."""
    return [CountedDeadLetter(offset, reason) for offset in offsets]


def test_below_the_share_nothing_stops() -> None:
    """Nine of a hundred are less than ten percent, however often the window comes round."""
    limit = DeadLetterLimit(10, 100)
    for window in range(50):
        begin = window * 100
        assert limit.count(SOURCE, dead_letters(range(begin, begin + 9))) is None


def test_the_record_that_reaches_the_share_stops() -> None:
    """The tenth of a hundred does, and the breach names the range and each reason."""
    limit = DeadLetterLimit(10, 100)
    assert limit.count(SOURCE, dead_letters(range(9))) is None
    assert limit.count(SOURCE, dead_letters([99], Reason.TOO_DEEP)) == Breach(
        SOURCE, 0, 99, Counter({Reason.MALFORMED_JSON: 9, Reason.TOO_DEEP: 1})
    )


def test_what_has_left_the_window_does_not_count() -> None:
    """An offset a whole window back is outside."""
    limit = DeadLetterLimit(10, 100)
    assert limit.count(SOURCE, dead_letters(range(9))) is None
    assert limit.count(SOURCE, dead_letters([100])) is None


def test_partitions_count_apart() -> None:
    """Dead letters of one partition do not count for another."""
    limit = DeadLetterLimit(10, 100)
    assert limit.count(SOURCE, dead_letters(range(9))) is None
    assert limit.count(TopicPartition("input", 1), dead_letters([9])) is None


@pytest.mark.parametrize(
    ("percent", "window", "least"), [(1, 10, 1), (10, 1000, 100), (100, 50, 50), (1, 150, 2)]
)
def test_a_share_of_the_whole_window_is_asked_for(percent: int, window: int, least: int) -> None:
    """A window that has only begun stops nothing earlier than a full one; fractions round up."""
    limit = DeadLetterLimit(percent, window)
    assert limit.count(SOURCE, dead_letters(range(least - 1))) is None
    assert limit.count(SOURCE, dead_letters([least - 1])) is not None


def test_a_breach_does_not_cut_what_is_learnt() -> None:
    """A look back over a full window counts all of it, not only the part before a breach."""
    limit = DeadLetterLimit(10, 100)
    assert limit.count(SOURCE, dead_letters(range(100))) is not None
    breach = limit.count(SOURCE, dead_letters([100]))
    assert breach is not None
    assert breach.first_offset == 1
    assert breach.reasons.total() == 100
