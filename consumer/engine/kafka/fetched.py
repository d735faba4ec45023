"""Reads what was fetched of a partition, a whole batch at a time.

The library hands records out one by one, through an iterator in an iterator, which costs more than
to decode them. The rules of visibility (KIP-98) are the same here: records of aborted transactions
and markers are passed over, and the position moves behind them.
"""

from typing import Any, Final

from aiokafka import errors
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.memory_records import MemoryRecords

from consumer.engine.kafka import inflation
from consumer.engine.kafka.raw_headers import LenientRecords
from consumer.pipeline.size import record_bytes

# Of one partition at a time, counted as inflated: what a transaction holds at the most, too.
TAKE_BYTES: Final = 8 * 1024 * 1024
UNBOUNDED_RECORDS: Final = 2**31


class FetchedBytes:
    """The compiled reader of a partition's batches, which also keeps their bytes."""

    __slots__ = ("_records", "bytes_data", "has_next", "next_batch")

    def __init__(self, bytes_data: bytes) -> None:
        self.bytes_data = bytes_data
        self._records = MemoryRecords(bytes_data)
        self.has_next = self._records.has_next
        self.next_batch = self._records.next_batch

    def size_in_bytes(self) -> int:
        """Return the size of all batches, the cut one at the end included."""
        return len(self.bytes_data)


class FetchedPartition(fetcher.PartitionRecords):
    """Hands the compiled records through, and survives what the library does not.

    A ``ConsumerRecord`` of the library costs 1 µs to build and holds nothing that these lack.
    """

    _records: FetchedBytes | LenientRecords
    next_fetch_offset: int

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - the library's own
        super().__init__(*arguments)
        # The library's iterator refers back to this: a cycle that would keep all that was fetched.
        self._records_iterator = None
        assert isinstance(self._records, FetchedBytes)  # noqa: S101 - what install() made
        self._bytes_data = self._records.bytes_data
        self._batch: list[Any] = []
        self._place = 0  # in the batch
        self._behind_batch = self.next_fetch_offset
        self._record_bytes = 0  # on the average, counted for compressed batches only

    def take(self, most_records: int, most_bytes: int) -> list[Any]:
        """Return records up to either bound; the rest stays for the next call.

        The bytes of a fetch are bounded, but what is compressed may inflate to any size.
        """
        taken: list[Any] = []
        size_bytes = 0
        while len(taken) < most_records and size_bytes < most_bytes:
            if not self._batch and not self._open_batch():
                break
            room = most_records - len(taken)
            if self._record_bytes:
                room = min(room, 1 + (most_bytes - size_bytes) // self._record_bytes)
            part = self._batch[self._place : self._place + room]
            taken += part
            size_bytes += len(part) * self._record_bytes
            self._place += len(part)
            self.next_fetch_offset = part[-1].offset + 1
            if self._place == len(self._batch):
                self._batch, self._place = [], 0
                self.next_fetch_offset = self._behind_batch
        return taken

    @property
    def is_used_up(self) -> bool:
        """Whether everything was taken."""
        return not self._batch and not self._records.has_next()

    def __next__(self) -> Any:  # noqa: ANN401 - a record
        taken = self.take(1, TAKE_BYTES)
        if not taken:
            raise StopIteration
        return taken[0]

    def _open_batch(self) -> bool:
        """Read the next batch that shows any records; return whether there is one."""
        while self._records.has_next():
            try:
                batch: Any = self._records.next_batch()
                records = self._shown(batch)
            except UnicodeDecodeError:
                # A header name that is no UTF-8: read on leniently, from this batch.
                if isinstance(self._records, LenientRecords):
                    raise
                unread = inflation.unread_batches(self._bytes_data, self.next_fetch_offset)
                self._records = LenientRecords(unread)
                continue
            except inflation.InflatesTooMuch:
                packed = inflation.packed_record(self._bytes_data, self.next_fetch_offset)
                self._batch, self._behind_batch = [packed], packed.offset + 1
                self._record_bytes = record_bytes(packed)
                return True
            self._behind_batch = batch.next_offset
            if records:
                self._batch = records
                self._record_bytes = _mean_bytes(batch, records)
                return True
            self.next_fetch_offset = self._behind_batch
        return False

    def _shown(self, batch: Any) -> list[Any]:  # noqa: ANN401 - a compiled batch
        """Return what a batch shows to a reader."""
        if self._check_crcs and not batch.validate_crc():
            raise errors.CorruptRecordException(f"checksum of a batch of {self._tp}")
        if self._isolation_level == READ_COMMITTED and batch.producer_id is not None:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch:
                if self._contains_abort_marker(batch):
                    self._aborted_producers.discard(batch.producer_id)
            elif batch.is_transactional and batch.producer_id in self._aborted_producers:
                return []
        if batch.is_control_batch:
            return []
        records = list(batch)
        if records and records[0].offset < self.next_fetch_offset:
            records = [record for record in records if record.offset >= self.next_fetch_offset]
        return records

    def _contains_abort_marker(self, next_batch: Any) -> bool:  # noqa: ANN401 - a compiled batch
        # Compaction may leave a control batch without its record. aiokafka would fail on it for
        # ever; the Java client goes on, since the batch then aborts nothing that is still there.
        control_record = next(iter(next_batch), None)
        if control_record is None:
            return False
        return bool(ControlRecord.parse(control_record.key) == ABORT_MARKER)


class BoundedFetchResult(fetcher.FetchResult):
    """What was fetched of a partition, handed out by records and by bytes."""

    _partition_records: FetchedPartition | None

    def getall(self, max_records: int | None = None) -> list[Any]:
        """Return records up to either bound; the rest stays for the next call."""
        is_readable = self.check_assignment(self._topic_partition)
        if not is_readable or self._partition_records is None:
            return []
        most_records = UNBOUNDED_RECORDS if max_records is None else max_records
        taken = self._partition_records.take(most_records, TAKE_BYTES)
        self._update_position()
        if self._partition_records.is_used_up:
            self._partition_records = None
        return taken


def install() -> None:
    """Let every consumer of this process read through the classes above, within bounds."""
    inflation.install()
    fetcher.FetchResult = BoundedFetchResult
    fetcher.PartitionRecords = FetchedPartition
    fetcher.MemoryRecords = FetchedBytes


def _mean_bytes(batch: Any, records: list[Any]) -> int:  # noqa: ANN401 - a compiled batch
    # Batches of before KIP-98 do not say whether they are compressed.
    if getattr(batch, "compression_type", True):
        return sum(map(record_bytes, records)) // len(records)
    return 0
