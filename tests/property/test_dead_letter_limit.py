"""The dead-letter limit depends on the log alone: not on transactions, not on restarts."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import Reason
from consumer.shard.dead_letter_limit import DeadLetterLimit, Poison

SOURCE = TopicPartition("input", 0)
offsets = st.lists(st.integers(0, 400), unique=True).map(sorted)


def breaking_offset(poisoned: list[int], percent: int, window: int) -> int | None:
    """Return the first offset whose window has its share of poison, by the definition."""
    for last in poisoned:
        found = [offset for offset in poisoned if last - window < offset <= last]
        if len(found) * 100 >= percent * window:
            return last
    return None


@given(offsets, st.integers(1, 100), st.integers(10, 60), st.lists(st.integers(0, 400)))
def test_the_same_record_stops_however_transactions_and_restarts_fall(
    poisoned: list[int], percent: int, window: int, ends: list[int]
) -> None:
    """Cut anywhere, with a start anew at each cut that looks back, the first breach is the same."""
    limit = DeadLetterLimit(percent, window)
    stopped_at = None
    begin = 0
    for end in [*sorted(ends), 401]:
        limit = DeadLetterLimit(percent, window)
        before = [offset for offset in poisoned if begin - window <= offset < begin]
        limit.count(SOURCE, [Poison(offset, Reason.TOO_DEEP) for offset in before])
        now = [Poison(offset, Reason.TOO_DEEP) for offset in poisoned if begin <= offset < end]
        breach = limit.count(SOURCE, now)
        if breach is not None:
            stopped_at = breach.last_offset
            break
        begin = max(begin, end)
    assert stopped_at == breaking_offset(poisoned, percent, window)
