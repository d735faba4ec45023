"""Returns every record of a batch; a batch that cannot be read never stops the partition.

Records that cannot be read, or would take too much memory, become one record at the end of the
batch, the packed record. Its value is the batch itself as it is in the log. The pipeline writes it
as a dead letter. So no record is lost, no partition stops, and the memory stays bounded.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from consumer.kafka.client.decompression import TakesTooMuch
from consumer.pipeline.record_size import record_bytes
from consumer.pipeline.records import Header, PackedBatch, Reason, SourceRecord


class PackedRecord(NamedTuple):
    """A record whose value is a whole batch; its offset is the batch's last offset."""

    offset: int
    timestamp: int
    key: None
    value: PackedBatch
    headers: list[Header]


class Records(Protocol):
    """The records of one batch of either format."""

    @property
    def is_used_up(self) -> bool:
        """Whether every record was taken."""

    @property
    def next_offset(self) -> int:
        """The lowest offset that the next record can have."""

    def take(self, most_records: int, most_bytes: int) -> tuple[Sequence[SourceRecord], int]:
        """Return the next records and their size in memory; raise if the next is unreadable."""


class Head(Protocol):
    """The header fields of a batch, in either format."""

    @property
    def base_offset(self) -> int:
        """The first offset, or a lower bound if the batch does not contain it."""

    @property
    def last_offset(self) -> int:
        """The last offset."""

    @property
    def declared_records(self) -> str:
        """The number of records that the batch declares, as text for an error message."""

    @property
    def max_timestamp(self) -> int:
        """The latest timestamp in milliseconds; -1 if the format has none."""


HeadT = TypeVar("HeadT", bound=Head)


class OpenBatch:
    """A batch that is read in steps."""

    __slots__ = (
        "_head",
        "_open",
        "_raw",
        "_records",
        "base_offset",
        "is_used_up",
        "next_offset",
    )

    def __init__(
        self, raw: bytes, head: HeadT, open_records: Callable[[bytes, HeadT], Records]
    ) -> None:
        """`raw` is the batch as it is in the log; `open_records` may raise anything."""
        self.base_offset = head.base_offset
        self.next_offset = head.last_offset + 1
        self.is_used_up = False
        self._raw = raw
        self._head = head
        self._open: Callable[[bytes, Any], Records] = open_records
        self._records: Records | None = None

    def take(
        self, most_records: int, most_bytes: int, from_offset: int
    ) -> tuple[Sequence[SourceRecord], int]:
        """Return the next records and their size in memory.

        The caller has already returned the records before `from_offset`. So the note of a packed
        record leaves their offsets out.
        """
        try:
            if self._records is None:
                self._records = self._open(self._raw, self._head)
            taken = self._records.take(most_records, most_bytes)
            self.is_used_up = self._records.is_used_up
        except Exception as error:  # noqa: BLE001 - no batch with a valid checksum may stop a shard
            self.is_used_up = True
            packed = self._pack(error, from_offset)
            # Reading even a small batch can take long before it fails. The returned size uses up
            # the limit. So the caller returns, and the event loop runs before the next batch.
            return [packed], max(most_bytes, record_bytes(packed))
        return taken

    def _pack(self, error: Exception, from_offset: int) -> PackedRecord:
        head = self._head
        first_offset = head.base_offset if self._records is None else self._records.next_offset
        offsets = f"{max(first_offset, from_offset)} to {head.last_offset}"
        if isinstance(error, TakesTooMuch):
            reason = Reason.TOO_LARGE
            note = f"a batch of {head.declared_records} records (offsets {offsets}) {error}"
        else:
            reason = Reason.UNREADABLE_BATCH
            cause = str(error) or type(error).__name__
            note = (
                f"offsets {offsets} of a batch of {head.declared_records} records cannot be read "
                f"({cause})"
            )
        note += "; the value is the batch as it is in the log"
        value = PackedBatch(self._raw, note, reason)
        return PackedRecord(head.last_offset, head.max_timestamp, None, value, [])
