"""The log of one partition in memory, with transactions and offsets as Kafka counts them.

Each record takes an offset and so does each transaction marker (KIP-98). The last stable offset is
the first offset of the oldest open transaction, or the high watermark if none is open.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from consumer.pipeline.records import Header
from tests.builders import Record

NO_TIMESTAMP_MS: Final = -1


class Producer(NamedTuple):
    """A producer id and the epoch of one owner of it."""

    id: int
    epoch: int


class NewRecord(NamedTuple):
    """A record on its way to a log."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[Header] = ()
    timestamp_ms: int = NO_TIMESTAMP_MS


class Slice(NamedTuple):
    """The visible records of a read, and the offset at which the next read begins."""

    records: list[Record]
    position: int


class _Open(NamedTuple):
    start_offset: int
    epoch: int


class FakeLog:
    """One partition. Offsets are list indexes, because deleted records only move the log start."""

    def __init__(self, now_ms: Callable[[], int], *, is_log_append_time: bool) -> None:
        """`now_ms` is the broker's clock."""
        self.log_start = 0
        self.is_log_append_time = is_log_append_time
        self._now_ms = now_ms
        self._records: list[Record] = []
        self._markers: set[int] = set()
        self._aborted: set[int] = set()
        self._pending: dict[int, list[int]] = {}  # offsets of open transactions by producer id
        self._open: dict[int, _Open] = {}
        self._epoch_starts: list[tuple[int, int]] = [(0, 0)]
        self._batch_starts: list[int] = []
        self._last_producer: int | None = None

    @property
    def high_watermark(self) -> int:
        """The offset after the last record or marker."""
        return len(self._records)

    @property
    def last_stable_offset(self) -> int:
        """The offset at which a read_committed reader must stop."""
        return min((it.start_offset for it in self._open.values()), default=self.high_watermark)

    @property
    def leader_epoch(self) -> int:
        """The epoch of the current leader."""
        return self._epoch_starts[-1][0]

    @property
    def open_transactions(self) -> list[tuple[int, Producer]]:
        """The start offset and the producer of each open transaction."""
        return [(it.start_offset, Producer(id_, it.epoch)) for id_, it in self._open.items()]

    def append(self, new: NewRecord, producer: Producer | None = None) -> Record:
        """Append a record, within a transaction if it has a producer."""
        offset = self.high_watermark
        time_ms = self._now_ms() if self.is_log_append_time else new.timestamp_ms
        record = Record(offset, time_ms, new.key, new.value, list(new.headers))
        is_continued = producer is not None and self._last_producer == producer.id
        self._batch_starts.append(self._batch_starts[-1] if is_continued else offset)
        self._last_producer = None if producer is None else producer.id
        self._records.append(record)
        if producer is not None:
            self._open.setdefault(producer.id, _Open(offset, producer.epoch))
            self._pending.setdefault(producer.id, []).append(offset)
        return record

    def append_marker(self, producer: Producer, *, is_commit: bool) -> None:
        """End the open transaction of this producer in this partition."""
        offsets = self._pending.pop(producer.id, [])
        self._open.pop(producer.id, None)
        if not is_commit:
            self._aborted.update(offsets)
        offset = self.high_watermark
        self._markers.add(offset)
        self._batch_starts.append(offset)
        self._last_producer = None
        self._records.append(Record(offset, self._now_ms(), None, None, []))

    def read(self, position: int, max_records: int, *, committed_only: bool) -> Slice:
        """Return the visible records from a position on; it must be within the log."""
        end = self.last_stable_offset if committed_only else self.high_watermark
        records: list[Record] = []
        while position < end:
            if not self._is_hidden(position, committed_only=committed_only):
                if len(records) == max_records:
                    break
                records.append(self._records[position])
            position += 1  # markers and aborted records count as delivered
        return Slice(records, position)

    def batch_start(self, offset: int) -> int:
        """Return the first offset of the batch that holds this offset.

        The successive records of one transaction are one batch.
        """
        return self._batch_starts[offset]

    def first_from(self, time_ms: int, *, committed_only: bool) -> Record | None:
        """Return the first record whose timestamp is not before this time."""
        end = self.last_stable_offset if committed_only else self.high_watermark
        found = (it for it in self._records[self.log_start : end] if it.timestamp >= time_ms)
        return next(found, None)

    def start_epoch(self) -> None:
        """Elect another leader, which has all records."""
        self._epoch_starts.append((self.leader_epoch + 1, self.high_watermark))

    def truncate(self, end: int) -> None:
        """Elect a leader that lacks the records from this offset on (unclean election)."""
        lost = set(range(end, self.high_watermark))
        del self._records[end:]
        del self._batch_starts[end:]
        self._last_producer = None
        self._markers -= lost
        self._aborted -= lost
        self.start_epoch()

    def epoch_end(self, epoch: int) -> int | None:
        """Return the first offset after a leader epoch; None if the epoch is unknown."""
        if epoch > self.leader_epoch:
            return None
        later = (start for other, start in self._epoch_starts if other > epoch)
        return next(later, self.high_watermark)

    def _is_hidden(self, offset: int, *, committed_only: bool) -> bool:
        return offset in self._markers or (committed_only and offset in self._aborted)
