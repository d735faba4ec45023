"""The dead-letter limit: a share of poison over a window of offsets."""

from collections import Counter
from collections.abc import Iterable

import pytest

from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import Reason
from consumer.shard.dead_letter_limit import Breach, DeadLetterLimit, Poison

SOURCE = TopicPartition("input", 0)


def poison(offsets: Iterable[int], reason: Reason = Reason.MALFORMED_JSON) -> list[Poison]:
    """Return poison at these offsets."""
    return [Poison(offset, reason) for offset in offsets]


def test_below_the_share_nothing_stops() -> None:
    """Nine of a hundred are less than ten percent, however often the window comes round."""
    limit = DeadLetterLimit(10, 100)
    for window in range(50):
        begin = window * 100
        assert limit.count(SOURCE, poison(range(begin, begin + 9))) is None


def test_the_record_that_reaches_the_share_stops() -> None:
    """The tenth of a hundred does, and the breach names the range and each reason."""
    limit = DeadLetterLimit(10, 100)
    assert limit.count(SOURCE, poison(range(9))) is None
    assert limit.count(SOURCE, poison([99], Reason.TOO_DEEP)) == Breach(
        SOURCE, 0, 99, Counter({Reason.MALFORMED_JSON: 9, Reason.TOO_DEEP: 1})
    )


def test_what_has_left_the_window_does_not_count() -> None:
    """An offset a whole window back is outside."""
    limit = DeadLetterLimit(10, 100)
    assert limit.count(SOURCE, poison(range(9))) is None
    assert limit.count(SOURCE, poison([100])) is None


def test_partitions_count_apart() -> None:
    """Poison of one partition is not laid to another's charge."""
    limit = DeadLetterLimit(10, 100)
    assert limit.count(SOURCE, poison(range(9))) is None
    assert limit.count(TopicPartition("input", 1), poison([9])) is None


@pytest.mark.parametrize(
    ("percent", "window", "least"), [(1, 10, 1), (10, 1000, 100), (100, 50, 50), (1, 150, 2)]
)
def test_a_share_of_the_whole_window_is_asked_for(percent: int, window: int, least: int) -> None:
    """A window that has only begun stops nothing earlier than a full one; fractions round up."""
    limit = DeadLetterLimit(percent, window)
    assert limit.count(SOURCE, poison(range(least - 1))) is None
    assert limit.count(SOURCE, poison([least - 1])) is not None


def test_a_breach_does_not_cut_what_is_learnt() -> None:
    """Looking back over a window full of poison takes all of it in, not only up to a breach."""
    limit = DeadLetterLimit(10, 100)
    assert limit.count(SOURCE, poison(range(100))) is not None
    breach = limit.count(SOURCE, poison([100]))
    assert breach is not None
    assert breach.first_offset == 1
    assert breach.reasons.total() == 100
