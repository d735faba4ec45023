"""Reads the record batches of a fetch response, and continues after a batch that is unreadable.

Only damage that no broker writes, such as a wrong checksum, raises an error.

The rules of visibility (KIP-98) are those of the library. Markers, and with ``read_committed`` the
records of aborted transactions, are not returned, and the position moves past them. Everything else
about a batch is checked before it is used, because brokers check little of what producers send.
"""

import struct
from typing import Any, Final

from aiokafka import errors

from consumer.kafka.client import partition_batches, private_api
from consumer.kafka.client.legacy_batch import LegacyMessage, LegacyRecords
from consumer.kafka.client.packed_batch import OpenBatch, PackedRecord
from consumer.kafka.client.record_batch import is_abort_marker, open_records
from consumer.kafka.client.record_format import (
    TRANSACTIONAL_OR_CONTROL,
    BatchHeader,
    UnreadableRecord,
)
from consumer.kafka.types import FetchedRecords
from consumer.pipeline.records import SourceRecord

# The limit in bytes of memory, Python objects included, for the records of one partition in one
# call. It also bounds the size of a transaction.
TAKE_BYTES: Final = 8 * 1024 * 1024
_OVERHEAD: Final = struct.Struct(">qi")  # offset and length, of every format
_MAGIC_POSITION: Final = 16
_ATTRIBUTES_POSITION: Final = 21  # the checksum covers all bytes from here on
_FIRST_MAGIC_OF_BATCHES: Final = 2


class FetchedBytes:
    """The batches of one partition in a fetch response; the last one may be incomplete."""

    __slots__ = ("_bytes_data", "_position")

    def __init__(self, bytes_data: bytes) -> None:
        self._bytes_data = bytes_data
        self._position = 0

    def has_next(self) -> bool:
        """Return whether a complete batch follows."""
        begin = self._position
        if begin + _MAGIC_POSITION >= len(self._bytes_data):
            return False
        length: int = _OVERHEAD.unpack_from(self._bytes_data, begin)[1]
        return 0 < length <= len(self._bytes_data) - begin - _OVERHEAD.size

    def next_batch(self) -> bytes | None:
        """Return the next batch, or None if no complete one follows."""
        if not self.has_next():
            return None
        begin = self._position
        length: int = _OVERHEAD.unpack_from(self._bytes_data, begin)[1]
        self._position = end = begin + _OVERHEAD.size + length
        return self._bytes_data[begin:end]

    def size_in_bytes(self) -> int:
        """Return the size of all batches, including an incomplete one at the end."""
        return len(self._bytes_data)


class FetchedPartition(private_api.FetchedPartitionBase):
    """Returns the visible records of a fetched partition, a few at a time."""

    batches: FetchedBytes

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - the library's own
        super().__init__(*arguments)
        self._batch: OpenBatch | None = None

    def take(self, most_records: int, most_bytes: int | None = None) -> FetchedRecords:
        """Return records up to either limit; the rest stays for the next call.

        The size of a fetch does not bound the memory: compressed bytes may inflate to any size, and
        two bytes of a record may become a header object. So `most_bytes` limits the memory, by
        default to TAKE_BYTES. A batch is read in steps, and the last step can exceed this limit.

        Raises:
            CorruptRecordException: a checksum is wrong, or a marker cannot be read.
        """
        taken = FetchedRecords()
        most_bytes = TAKE_BYTES if most_bytes is None else most_bytes
        while len(taken) < most_records and taken.size_bytes < most_bytes:
            batch = self._batch or self._open_batch()
            if batch is None:
                break
            room_bytes = most_bytes - taken.size_bytes
            records, records_bytes = batch.take(
                most_records - len(taken), room_bytes, self.next_fetch_offset
            )
            taken.size_bytes += records_bytes
            if records and records[0].offset < self.next_fetch_offset:
                records = [
                    one
                    for one in records
                    # Keep a packed record in any case: its value holds records not returned yet.
                    if one.offset >= self.next_fetch_offset or isinstance(one, PackedRecord)
                ]
            if records:
                taken += records
                taken.batch_start = batch.base_offset
            if batch.is_used_up:
                self._batch, self.next_fetch_offset = None, batch.next_offset
            elif records:
                self.next_fetch_offset = records[-1].offset + 1
        return taken

    @property
    def is_used_up(self) -> bool:
        """Whether everything was taken."""
        return self._batch is None and not self.batches.has_next()

    def __next__(self) -> SourceRecord:
        taken = self.take(1)
        if not taken:
            raise StopIteration
        return taken[0]

    def _open_batch(self) -> OpenBatch | None:
        """Return the next batch with visible records, or None."""
        while (raw := self.batches.next_batch()) is not None:
            if raw[_MAGIC_POSITION] < _FIRST_MAGIC_OF_BATCHES:
                self._batch = self._open_legacy(raw)
                return self._batch
            header = BatchHeader.of(raw)
            if (
                self.must_check_crcs
                and partition_batches.crc32c(raw, _ATTRIBUTES_POSITION) != header.crc
            ):
                raise self._corrupt("a batch has a wrong checksum")
            if not 0 <= header.record_count <= header.last_offset_delta + 1:
                # No broker accepts such a batch, and the offset of the next one is unknown.
                raise self._corrupt("a batch has more records than offsets")
            is_plain = not header.attributes & TRANSACTIONAL_OR_CONTROL
            if header.record_count and (is_plain or self._is_visible(raw, header)):
                self._batch = OpenBatch(raw, header, open_records)
                return self._batch
            self.next_fetch_offset = header.next_offset
        return None

    def _open_legacy(self, raw: bytes) -> OpenBatch:
        """Return a message of format v0 or v1 as a batch. These formats have no transactions."""
        try:
            message = LegacyMessage.of(raw)
        except UnreadableRecord as error:
            raise self._corrupt(str(error)) from error
        if self.must_check_crcs and not message.has_valid_crc:
            raise self._corrupt("a message has a wrong checksum")
        return OpenBatch(raw, message, LegacyRecords)

    def _is_visible(self, raw: bytes, header: BatchHeader) -> bool:
        if self.is_read_committed:
            self.begin_aborted_until(header.base_offset)
            if header.is_control:
                try:
                    is_abort = is_abort_marker(raw, header)
                except UnreadableRecord as error:
                    raise self._corrupt(f"the marker of a transaction's end: {error}") from error
                if is_abort:
                    self.end_aborted(header.producer_id)
            elif header.is_transactional and self.is_aborted(header.producer_id):
                return False
        return not header.is_control

    def _corrupt(self, what: str) -> errors.CorruptRecordException:
        return errors.CorruptRecordException(
            f"{self.partition} from {self.next_fetch_offset}: {what}"
        )


def install() -> None:
    """Let every consumer of this process read through the classes above."""
    private_api.replace_fetch_classes(FetchedPartition, FetchedBytes)
