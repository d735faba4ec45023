"""Reads the records of one batch (message format v2, KIP-98) as the Java client reads them.

Brokers check little of what a producer writes. So a batch is read in steps, which bound the memory.
In each step, compiled code reads the regular records (`regular_records`). Every other record is
read here, field by field. The first record that Java cannot read, or that would take too much
memory, raises an error. Then `packed_batch` returns the rest of the batch as one record.
"""

from collections.abc import Sequence
from typing import Final

from consumer.kafka.client.decompression import TakesTooMuch, inflater
from consumer.kafka.client.record_format import (
    CODEC_MASK,
    HEADER_BYTES,
    BatchHeader,
    ReadRecord,
    UnreadableRecord,
    read_record,
)
from consumer.kafka.client.regular_records import are_possible, regular_reader
from consumer.pipeline.record_size import HEADER_OBJECT_BYTES, RECORD_OBJECT_BYTES
from consumer.pipeline.records import SourceRecord

# The limits of a step. The size of its records in memory is known only after the step.
STEP_RECORDS: Final = 500
STEP_BYTES: Final = 512 * 1024
# Reading this number of headers one by one takes 50 ms, in which nothing else of the process runs.
STEP_HEADERS: Final = 20_000
_ATTRIBUTES_END: Final = 23


class BatchRecords:
    """The records of one batch, in offset order."""

    def __init__(self, raw: bytes, header: BatchHeader) -> None:
        """Open a batch as it is stored.

        Raises:
            TakesTooMuch: its records would take too much memory.
            ValueError, zlib.error, cramjam.DecompressionError: it cannot be decompressed.
        """
        if header.codec:
            if header.record_count > inflater.max_records:
                raise TakesTooMuch(f"has more than {inflater.max_records} records")
            inflated = inflater.inflate(header.codec, raw[HEADER_BYTES:])
            plain = (header.attributes & ~CODEC_MASK).to_bytes(2, "big", signed=True)
            raw = b"".join((raw[:21], plain, raw[_ATTRIBUTES_END:HEADER_BYTES], inflated))
        self._header = header
        self._buffer = raw
        self._position = HEADER_BYTES
        self._read = 0
        self._next_offset = header.base_offset
        self._reader = regular_reader(raw, header, STEP_HEADERS)

    @property
    def is_used_up(self) -> bool:
        """Whether every record was taken."""
        return self._read >= self._header.record_count

    @property
    def next_offset(self) -> int:
        """The lowest offset that the next record can have."""
        return self._next_offset

    def take(self, most_records: int, most_bytes: int) -> tuple[Sequence[SourceRecord], int]:
        """Return the next records, at least one unless all were taken, and their size in memory.

        `most_bytes` limits the records' size on the wire.

        Raises:
            UnreadableRecord: the next record, and so the rest of the batch, cannot be read.
            TakesTooMuch: the next record would take too much memory.
        """
        most = min(most_records, STEP_RECORDS, self._header.record_count - self._read)
        begin = self._position
        limit = begin + min(most_bytes, STEP_BYTES)
        records, end, headers = self._reader.read(begin, self._read, self._next_offset, most, limit)
        if records:
            self._position = end
            self._read += len(records)
            self._next_offset = records[-1].offset + 1
        else:
            records, headers = self._take_field_by_field(most, limit)
        size_bytes = len(records) * RECORD_OBJECT_BYTES + headers * HEADER_OBJECT_BYTES
        return records, self._position - begin + size_bytes

    def _take_field_by_field(self, most: int, limit: int) -> tuple[Sequence[SourceRecord], int]:
        """Return the next records, and the number of their headers."""
        records: list[ReadRecord] = []
        headers = 0
        while len(records) < most and self._position < limit and headers < STEP_HEADERS:
            try:
                record, position = read_record(self._buffer, self._position, self._header)
                self._check(record, position)
            except (UnreadableRecord, TakesTooMuch):
                if records:  # return these first; the next call raises again
                    break
                raise
            if self._header.is_complete:
                # The offset in the record is a number from the producer, which brokers do not check
                # in an uncompressed batch. In a complete batch the position gives the offset.
                record = record._replace(offset=self._header.base_offset + self._read)
            records.append(record)
            headers += len(record.headers)
            self._position = position
            self._read += 1
            self._next_offset = record.offset + 1
        return records, headers

    def _check(self, record: ReadRecord, end: int) -> None:
        if self._read + 1 == self._header.record_count and end != len(self._buffer):
            raise UnreadableRecord("something follows the last record")
        if not self._header.is_complete and not are_possible(
            [record.offset], self._next_offset, self._header
        ):
            raise UnreadableRecord(f"offset {record.offset} is outside the batch, or repeated")


class SmallBatch:
    """The records of an uncompressed batch of at most STEP_BYTES: read at once, returned in parts.

    Every record of the batch is regular, and compaction has removed none. This is the usual case.
    """

    __slots__ = ("_has_headers", "_next", "_record_bytes", "_records")

    def __init__(
        self, records: Sequence[SourceRecord], record_bytes: int, *, has_headers: bool
    ) -> None:
        """`record_bytes` is the average size of a record on the wire."""
        self._records = records
        self._record_bytes = record_bytes
        self._has_headers = has_headers
        self._next = 0

    @property
    def is_used_up(self) -> bool:
        """Whether every record was taken."""
        return self._next >= len(self._records)

    @property
    def next_offset(self) -> int:
        """The offset of the next record."""
        return self._records[self._next].offset

    def take(self, most_records: int, most_bytes: int) -> tuple[Sequence[SourceRecord], int]:
        """Return the next records, at least one, and their size in memory."""
        most = min(most_records, 1 + most_bytes // self._record_bytes)
        records = self._records[self._next : self._next + most]
        self._next += most
        headers = sum(len(record.headers) for record in records) if self._has_headers else 0
        object_bytes = self._record_bytes + RECORD_OBJECT_BYTES
        return records, len(records) * object_bytes + headers * HEADER_OBJECT_BYTES


def open_records(raw: bytes, header: BatchHeader) -> SmallBatch | BatchRecords:
    """Return the records of a batch.

    Raises:
        TakesTooMuch: they would take too much memory.
        ValueError, zlib.error, cramjam.DecompressionError: they cannot be decompressed.
    """
    if len(raw) <= STEP_BYTES and not header.attributes & CODEC_MASK and header.is_complete:
        records, end, headers = regular_reader(raw, header, STEP_HEADERS).read(
            HEADER_BYTES, 0, header.base_offset, header.record_count, len(raw)
        )
        if end == len(raw) and len(records) == header.record_count:
            return SmallBatch(records, len(raw) // len(records), has_headers=headers > 0)
    return BatchRecords(raw, header)


def is_abort_marker(raw: bytes, header: BatchHeader) -> bool:
    """Return whether a control batch aborts its producer's transaction.

    Compaction can leave a control batch without its record. Then no record of that transaction is
    left, and Java ignores the batch. Java also reads a marker of any version as one of version 0.

    Raises:
        UnreadableRecord: the marker cannot be read.
    """
    if header.record_count == 0:
        return False
    record, _ = read_record(raw, HEADER_BYTES, header)
    if record.key is None or len(record.key) < 4:  # noqa: PLR2004 - version and type, two bytes each
        raise UnreadableRecord("a control record without a version and a type")
    return record.key[2:4] == b"\0\0"
