"""Decides when a shard commits, without I/O.

Without lag the shard commits soon. With lag it commits large transactions.
"""

from typing import Final

# While a shard lags, transactions grow, but no record waits longer than this for its decision. A
# source whose broker is gone keeps its lag, which must not delay the records of other sources.
MAX_DELAY_SECONDS: Final = 0.5
# If all records are duplicates, only progress changes, and its commit can wait for this time. If a
# crash loses the progress, the shard reads the records again, and they are duplicates again.
PROGRESS_INTERVAL_SECONDS: Final = 5.0
# The shard decides when its buffered records have this size, to bound the memory of a transaction.
# With a large backlog, a single fetch can bring this many bytes.
MAX_TRANSACTION_BYTES: Final = 8 * 1024 * 1024
IDLE_FETCH_MS: Final = 100


class TransactionSizeLimit:
    """The maximum number of records in a shard's transaction. A send that times out lowers it.

    The limit outlives the shard's tasks, because a timeout ends the task. Without a lower limit,
    each new task would send a transaction of the same size, and time out again.
    """

    def __init__(self, max_records: int) -> None:
        self.records = self._max_records = max_records

    def record_timeout(self, records: int) -> None:
        """Lower the limit after a send of this many records that timed out.

        The new limit is half of the old limit, or half of `records` if that is less. It is at
        least 1.
        """
        if records:
            self.records = max(1, min(self.records, records) // 2)

    def record_commit(self, records: int) -> None:
        """After a full transaction, raise the limit by 12.5%, up to the configured maximum."""
        if records >= self.records:
            self.records = min(self._max_records, self.records + 1 + self.records // 8)


class CommitPolicy:
    """Decides when one shard commits. The caller gives all times, in monotonic seconds."""

    def __init__(self, commit_interval_seconds: float, limit: TransactionSizeLimit) -> None:
        self._interval = commit_interval_seconds
        self._limit = limit
        self._last_commit = float("-inf")
        self._oldest_buffered: float | None = None
        self._oldest_uncommitted: float | None = None

    def record_buffered(self, now: float) -> None:
        """Record that the buffer holds records, which wait for a decision."""
        if self._oldest_buffered is None:
            self._oldest_buffered = now

    def record_emptied(self) -> None:
        """Record that the buffer is empty: the records were decided, or will be read again."""
        self._oldest_buffered = None

    def record_moved(self, now: float) -> None:
        """Record that there is pending progress: it is not committed yet."""
        if self._oldest_uncommitted is None:
            self._oldest_uncommitted = now

    def record_commit(self, now: float) -> None:
        """Record that all pending progress is committed. Buffered records may still wait."""
        self._last_commit = now
        self._oldest_uncommitted = None

    def is_decision_due(
        self, now: float, *, records: int, size_bytes: int, caught_up: bool
    ) -> bool:
        """Return whether the buffered records should be decided now."""
        if self._oldest_buffered is None:
            return False
        if records >= self._limit.records or size_bytes >= MAX_TRANSACTION_BYTES:
            return True
        if caught_up:
            return now - self._last_commit >= self._interval
        return now - self._oldest_buffered >= MAX_DELAY_SECONDS

    def is_progress_due(self, now: float) -> bool:
        """Return whether pending progress should be committed now, without any output."""
        return (
            self._oldest_uncommitted is not None
            and now - self._oldest_uncommitted >= PROGRESS_INTERVAL_SECONDS
        )

    def fetch_timeout_ms(self, now: float, *, caught_up: bool) -> int:
        """Return how long the next fetch may wait for records."""
        if self._oldest_buffered is None:
            return IDLE_FETCH_MS
        due = (
            self._last_commit + self._interval
            if caught_up
            else self._oldest_buffered + MAX_DELAY_SECONDS
        )
        return min(IDLE_FETCH_MS, int(max(0.0, due - now) * 1000) + 1)
