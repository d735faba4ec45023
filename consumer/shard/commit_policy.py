"""When a shard commits: at once at rest, in large transactions when it is behind. Pure."""

from typing import Final

# Behind, a transaction may grow, but no record waits longer than this to be decided: a source
# whose broker is gone keeps its lag and must not hold up the others.
MAX_DELAY_SECONDS: Final = 0.5
# Records that were all duplicates change nothing but progress, which may be saved later:
# after a crash they are read again and are duplicates again.
PROGRESS_INTERVAL_SECONDS: Final = 5.0
# One fetch of a large backlog; bounds what a transaction holds in memory.
MAX_TRANSACTION_BYTES: Final = 8 * 1024 * 1024
IDLE_FETCH_MS: Final = 100


class TransactionSizeLimit:
    """How many records a shard's transaction may hold: fewer after one that was too slow to send.

    It outlives the shard's tasks. Such a transaction ends its task, and the next one would only
    try the same again, for ever.
    """

    def __init__(self, most_records: int) -> None:
        self.records = self._most_records = most_records

    def record_timeout(self, records: int) -> None:
        """Try half as many the next time."""
        if records:
            self.records = max(1, min(self.records, records) // 2)

    def record_commit(self, records: int) -> None:
        """Grow back by an eighth with each transaction that was as large as it might be."""
        if records >= self.records:
            self.records = min(self._most_records, self.records + 1 + self.records // 8)


class CommitPolicy:
    """Decides about one shard's commits; all times are monotonic seconds given by the caller."""

    def __init__(self, commit_interval_seconds: float, limit: TransactionSizeLimit) -> None:
        self._interval = commit_interval_seconds
        self._limit = limit
        self._last_commit = float("-inf")
        self._oldest_buffered: float | None = None
        self._oldest_unsaved: float | None = None

    def record_buffered(self, now: float) -> None:
        """Note that records wait to be decided."""
        if self._oldest_buffered is None:
            self._oldest_buffered = now

    def record_dropped(self) -> None:
        """Note that what was buffered is given back to the log, to be read again."""
        self._oldest_buffered = None

    def record_deferred(self, now: float) -> None:
        """Note that mere duplicates were decided; their progress is not committed yet."""
        self._oldest_buffered = None
        self.record_moved(now)

    def record_moved(self, now: float) -> None:
        """Note progress that is not committed yet, whatever is buffered."""
        if self._oldest_unsaved is None:
            self._oldest_unsaved = now

    def record_commit(self, now: float) -> None:
        """Note that everything is committed."""
        self._last_commit = now
        self._oldest_buffered = self._oldest_unsaved = None

    def is_decision_due(
        self, now: float, *, records: int, size_bytes: int, caught_up: bool
    ) -> bool:
        """Tell whether the buffered records should be decided now."""
        if self._oldest_buffered is None:
            return False
        if records >= self._limit.records or size_bytes >= MAX_TRANSACTION_BYTES:
            return True
        if caught_up:
            return now - self._last_commit >= self._interval
        return now - self._oldest_buffered >= MAX_DELAY_SECONDS

    def is_progress_due(self, now: float) -> bool:
        """Tell whether progress over mere duplicates should be committed now."""
        return (
            self._oldest_unsaved is not None
            and now - self._oldest_unsaved >= PROGRESS_INTERVAL_SECONDS
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
