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


class Pacing:
    """Decides about one shard's commits; all times are monotonic seconds given by the caller."""

    def __init__(self, commit_interval_seconds: float, max_records: int) -> None:
        self._interval = commit_interval_seconds
        self._max_records = max_records
        self._last_commit = float("-inf")
        self._oldest_buffered: float | None = None
        self._oldest_unsaved: float | None = None

    def note_buffered(self, now: float) -> None:
        """Note that records wait to be decided."""
        if self._oldest_buffered is None:
            self._oldest_buffered = now

    def note_unsaved(self, now: float) -> None:
        """Note that mere duplicates were decided; their progress is not committed yet."""
        self._oldest_buffered = None
        if self._oldest_unsaved is None:
            self._oldest_unsaved = now

    def note_commit(self, now: float) -> None:
        """Note that everything is committed."""
        self._last_commit = now
        self._oldest_buffered = self._oldest_unsaved = None

    def is_decision_due(
        self, now: float, *, records: int, size_bytes: int, caught_up: bool
    ) -> bool:
        """Tell whether the buffered records should be decided now."""
        if self._oldest_buffered is None:
            return False
        if records >= self._max_records or size_bytes >= MAX_TRANSACTION_BYTES:
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
