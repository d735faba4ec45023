"""CommitPolicy: when a shard commits."""

import pytest

from consumer.shard.commit_policy import (
    IDLE_FETCH_MS,
    MAX_DELAY_SECONDS,
    MAX_TRANSACTION_BYTES,
    PROGRESS_INTERVAL_SECONDS,
    CommitPolicy,
    TransactionSizeLimit,
)

INTERVAL = 0.1
MAX_RECORDS = 100


def policy() -> CommitPolicy:
    """Return the policy of a shard that has committed nothing yet."""
    return CommitPolicy(INTERVAL, TransactionSizeLimit(MAX_RECORDS))


def due(
    shard: CommitPolicy,
    now: float,
    *,
    records: int = 1,
    size_bytes: int = 100,
    caught_up: bool = True,
) -> bool:
    """Ask whether a decision is due."""
    return shard.is_decision_due(now, records=records, size_bytes=size_bytes, caught_up=caught_up)


def test_nothing_is_due_without_records() -> None:
    """An idle shard never decides."""
    assert not due(policy(), 1000.0, records=0)


def test_the_first_record_of_an_idle_shard_is_due_at_once() -> None:
    """The first record does not wait for an interval."""
    shard = policy()
    shard.record_buffered(5.0)
    assert due(shard, 5.0)


def test_caught_up_shard_commits_once_an_interval() -> None:
    """A steady stream is committed at the interval, not for each record."""
    shard = policy()
    shard.record_commit(10.0)
    shard.record_buffered(10.01)
    assert not due(shard, 10.05)
    assert due(shard, 10.11)


def test_a_shard_with_lag_fills_its_transaction() -> None:
    """With lag, a transaction grows beyond the interval up to its bounds."""
    shard = policy()
    shard.record_commit(10.0)
    shard.record_buffered(10.0)
    assert not due(shard, 10.3, records=MAX_RECORDS - 1, caught_up=False)
    assert due(shard, 10.3, records=MAX_RECORDS, caught_up=False)
    assert due(shard, 10.3, size_bytes=MAX_TRANSACTION_BYTES, caught_up=False)


def test_a_stuck_source_does_not_delay_the_others() -> None:
    """A source whose broker is gone lags for ever; records still wait for a bounded time."""
    shard = policy()
    shard.record_buffered(10.0)
    assert not due(shard, 10.0 + MAX_DELAY_SECONDS - 0.01, caught_up=False)
    assert due(shard, 10.0 + MAX_DELAY_SECONDS, caught_up=False)


@pytest.mark.parametrize("caught_up", [False, True])
def test_a_commit_of_progress_alone_does_not_delay_buffered_records(*, caught_up: bool) -> None:
    """Their wait still has its limit, even if no further record ever arrives."""
    shard = policy()
    shard.record_moved(0.2)
    shard.record_buffered(5.1)
    assert shard.is_progress_due(5.25)
    shard.record_commit(5.25)
    assert due(shard, 5.1 + MAX_DELAY_SECONDS, caught_up=caught_up)
    shard.record_emptied()
    assert not due(shard, 1000.0, caught_up=caught_up)


def test_progress_over_duplicates_is_saved_later() -> None:
    """Duplicates alone make progress due after seconds, and any commit saves it."""
    shard = policy()
    assert not shard.is_progress_due(1000.0)
    shard.record_moved(10.0)
    shard.record_moved(12.0)
    assert not shard.is_progress_due(10.0 + PROGRESS_INTERVAL_SECONDS - 0.1)
    assert shard.is_progress_due(10.0 + PROGRESS_INTERVAL_SECONDS)
    shard.record_commit(15.0)
    assert not shard.is_progress_due(1000.0)


def test_fetch_waits_no_longer_than_the_next_commit() -> None:
    """With buffered records the fetch ends when they become due."""
    shard = policy()
    assert shard.fetch_timeout_ms(0.0, caught_up=True) == IDLE_FETCH_MS
    shard.record_commit(10.0)
    shard.record_buffered(10.0)
    assert shard.fetch_timeout_ms(10.08, caught_up=True) <= 21
    assert shard.fetch_timeout_ms(11.0, caught_up=True) <= 1


def test_a_transaction_that_was_too_slow_is_tried_at_half_its_size() -> None:
    """Half of its records, not of the limit; at least one, and unchanged by mere progress."""
    limit = TransactionSizeLimit(MAX_RECORDS)
    limit.record_timeout(60)
    assert limit.records == 30
    limit.record_timeout(0)
    assert limit.records == 30
    for _ in range(10):
        limit.record_timeout(MAX_RECORDS)
    assert limit.records == 1


def test_full_transactions_let_it_grow_back() -> None:
    """Smaller ones prove nothing, and the limit never exceeds the setting."""
    limit = TransactionSizeLimit(MAX_RECORDS)
    limit.record_timeout(2)
    limit.record_commit(0)
    assert limit.records == 1
    commits = 0
    while limit.records < MAX_RECORDS:
        limit.record_commit(limit.records)
        commits += 1
    assert commits < 40
    limit.record_commit(MAX_RECORDS)
    assert limit.records == MAX_RECORDS


def test_a_smaller_limit_makes_a_decision_due_sooner() -> None:
    """The policy reads the limit at each call."""
    limit = TransactionSizeLimit(MAX_RECORDS)
    shard = CommitPolicy(INTERVAL, limit)
    shard.record_commit(10.0)
    shard.record_buffered(10.0)
    assert not due(shard, 10.0, records=40, caught_up=False)
    limit.record_timeout(80)
    assert due(shard, 10.0, records=40, caught_up=False)
