"""The dead-letter limit depends on the log alone: not on transactions, not on restarts."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import Reason
from consumer.shard.dead_letter_limit import CountedDeadLetter, DeadLetterLimit

SOURCE = TopicPartition("input", 0)
offsets = st.lists(st.integers(0, 400), unique=True).map(sorted)


def letter(offset: int) -> CountedDeadLetter:
    """Return the dead letter of a record at this offset."""
    return CountedDeadLetter(offset, Reason.TOO_DEEP)


def breaking_offset(invalid: list[int], percent: int, window: int) -> int | None:
    """Return the first offset whose window has its share of dead letters, by the definition."""
    for last in invalid:
        found = [offset for offset in invalid if last - window < offset <= last]
        if len(found) * 100 >= percent * window:
            return last
    return None


@given(offsets, st.integers(1, 100), st.integers(10, 60), st.lists(st.integers(0, 400)))
def test_the_same_record_stops_however_transactions_and_restarts_fall(
    invalid: list[int], percent: int, window: int, ends: list[int]
) -> None:
    """With a restart at any offsets, each with a look back, the first breach is the same."""
    limit = DeadLetterLimit(percent, window)
    stopped_at = None
    begin = 0
    for end in [*sorted(ends), 401]:
        limit = DeadLetterLimit(percent, window)
        before = [offset for offset in invalid if begin - window <= offset < begin]
        limit.count(SOURCE, [letter(offset) for offset in before])
        now = [letter(offset) for offset in invalid if begin <= offset < end]
        breach = limit.count(SOURCE, now)
        if breach is not None:
            stopped_at = breach.last_offset
            break
        begin = max(begin, end)
    assert stopped_at == breaking_offset(invalid, percent, window)
