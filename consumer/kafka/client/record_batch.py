"""Reads the records of one batch (message format v2, KIP-98) as the Java client reads them.

Brokers check little of a batch. A record may have numbers in unusually long encodings, lengths that
do not fit, header names that are not UTF-8, or more headers than memory. Brokers also do not check
the offset that a record of an uncompressed batch claims to have.

So a batch is read in steps. Compiled code reads the usual records, and stops before any other one.
Records from there on are read here, field by field. A record that Java cannot read, or that would
take too much memory, ends the batch.

The compiled code is the service's own (``_compiled.c``), which checks each field. Where it was not
built, it is aiokafka's. That reads the attributes byte as a varint, so a byte of 0x80, which
brokers accept, shifts all fields after it. It reads lengths as 64-bit numbers where Java reads 32
bits, and builds any number of header objects. So its records are first measured, without building
an object.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, islice, pairwise
from typing import Any, Final

from consumer.kafka.client import compiled, private_api
from consumer.kafka.client.decompression import TakesTooMuch, inflater
from consumer.kafka.client.record_format import (
    CODEC_MASK,
    HEADER_BYTES,
    BatchHeader,
    ReadRecord,
    UnreadableRecord,
    measure,
    read_record,
)
from consumer.pipeline.record_size import HEADER_OBJECT_BYTES, RECORD_OBJECT_BYTES
from consumer.pipeline.records import SourceRecord

# The limits of a step. The size in memory is counted after each step, before more is built.
STEP_RECORDS: Final = 500
STEP_BYTES: Final = 512 * 1024
# Two bytes of a record can become a header without content, which takes 72 bytes. So a batch of up
# to this size takes at most 40 MB, even if it holds nothing but such headers. In such a batch,
# ``measure`` counts the headers only of records of 8 KiB or more.
TRUSTED_BYTES: Final = 1024 * 1024
# Reading this number of headers one by one takes 50 ms, in which nothing else of the process runs.
STEP_HEADERS: Final = 20_000
_ATTRIBUTES_END: Final = 23
ANY_OFFSET: Final = -1


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
        self._must_count_headers = len(raw) > TRUSTED_BYTES
        self._must_read_by_field = False
        # The library's batch cannot be iterated again from the record where it stopped.
        self._compiled: Iterator[Any] = chain(private_api.compiled_records(raw))

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

        `most_bytes` limits their size on the wire.

        Raises:
            UnreadableRecord: the next record cannot be read, nor can those after it.
            TakesTooMuch: the next record would take too much memory.
        """
        most = min(most_records, STEP_RECORDS, self._header.record_count - self._read)
        begin = self._position
        limit = begin + min(most_bytes, STEP_BYTES)
        records: Sequence[SourceRecord] = ()
        if not self._must_read_by_field:
            records = self._take_usual(most, limit)
        if not records:
            self._must_read_by_field = True  # the next record is unusual
            records = self._take_by_field(most, limit)
        return records, self._position - begin + _objects_bytes(records)

    def _take_usual(self, most: int, limit: int) -> Sequence[SourceRecord]:
        """Return the next records that compiled code reads as Java does; none if it cannot."""
        records, end = self._read_compiled(most, limit)
        if self._read + len(records) == self._header.record_count and end != len(self._buffer):
            records, end = records[:-1], -1  # something follows the last record
            if records:
                _, end = measure(
                    self._buffer, self._position, len(records), limit, self._must_count_headers
                )
        if not records:
            return ()
        self._read += len(records)
        self._position = end
        self._next_offset = records[-1].offset + 1
        return records

    def _read_compiled(self, most: int, limit: int) -> tuple[Sequence[SourceRecord], int]:
        header = self._header
        if compiled.read_records is None:
            return self._read_with_library(most, limit)
        first_delta = self._read if header.is_complete else ANY_OFFSET
        records, end, _ = compiled.read_records(
            self._buffer,
            self._position,
            most,
            limit,
            header.base_offset,
            first_delta,
            header.base_timestamp,
            header.append_time,
        )
        if not header.is_complete and not self._are_possible([one.offset for one in records]):
            return (), self._position
        return records, end

    def _read_with_library(self, most: int, limit: int) -> tuple[Sequence[SourceRecord], int]:
        count, end = measure(self._buffer, self._position, most, limit, self._must_count_headers)
        nothing = (), self._position
        try:
            records = list(islice(self._compiled, count))
        except Exception:  # noqa: BLE001 - what it cannot read is read field by field
            return nothing
        offsets = [record.offset for record in records]
        if self._header.is_complete:
            first = self._header.base_offset + self._read
            if offsets != list(range(first, first + count)):
                return nothing
        elif not self._are_possible(offsets):
            return nothing
        return records, end

    def _are_possible(self, offsets: Sequence[int]) -> bool:
        """Return whether the offsets rise and are within the batch."""
        rising = [self._next_offset - 1, *offsets, self._header.next_offset]
        return all(one < other for one, other in pairwise(rising))

    def _take_by_field(self, most: int, limit: int) -> Sequence[SourceRecord]:
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
        return records

    def _check(self, record: ReadRecord, end: int) -> None:
        if self._read + 1 == self._header.record_count and end != len(self._buffer):
            raise UnreadableRecord("something follows the last record")
        if not self._header.is_complete and not self._are_possible([record.offset]):
            raise UnreadableRecord(f"offset {record.offset} is outside the batch, or repeated")


class SmallBatch:
    """The records of an uncompressed batch of at most STEP_BYTES: read at once, returned in parts.

    Only for a batch that the compiled reader reads as Java does. This is the usual case.
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
        size_bytes = len(records) * (self._record_bytes + RECORD_OBJECT_BYTES)
        if self._has_headers:
            size_bytes += _headers_bytes(records)
        return records, size_bytes


def open_records(raw: bytes, header: BatchHeader) -> SmallBatch | BatchRecords:
    """Return the records of a batch.

    Raises:
        TakesTooMuch: they would take too much memory.
        ValueError, zlib.error, cramjam.DecompressionError: they cannot be decompressed.
    """
    if len(raw) <= STEP_BYTES and not header.attributes & CODEC_MASK and header.is_complete:
        small = _read_at_once(raw, header)
        if small is not None:
            return small
    return BatchRecords(raw, header)


def _read_at_once(raw: bytes, header: BatchHeader) -> SmallBatch | None:
    """Return all records if compiled code reads them as Java does."""
    first, count = header.base_offset, header.record_count
    record_bytes = len(raw) // count
    if compiled.read_records is not None:
        records, end, headers = compiled.read_records(
            raw, HEADER_BYTES, count, len(raw), first, 0, header.base_timestamp, header.append_time
        )
        if len(records) != count or end != len(raw):
            return None
        return SmallBatch(records, record_bytes, has_headers=headers > 0)
    must_count_headers = False
    if measure(raw, HEADER_BYTES, count, len(raw), must_count_headers) != (count, len(raw)):
        return None
    try:
        by_library: list[SourceRecord] = list(private_api.compiled_records(raw))
    except Exception:  # noqa: BLE001 - what it cannot read is read field by field
        return None
    if [record.offset for record in by_library] != list(range(first, first + count)):
        return None
    return SmallBatch(by_library, record_bytes, has_headers=True)


def _objects_bytes(records: Sequence[SourceRecord]) -> int:
    """Return the size in memory of the records' objects, without their content."""
    return len(records) * RECORD_OBJECT_BYTES + _headers_bytes(records)


def _headers_bytes(records: Sequence[SourceRecord]) -> int:
    headers = sum(len(record.headers) for record in records if record.headers)
    return headers * HEADER_OBJECT_BYTES


def is_abort_marker(raw: bytes, header: BatchHeader) -> bool:
    """Return whether a control batch aborts its producer's transaction.

    Compaction may leave a control batch without its record. No record of that transaction is left
    then, and Java ignores the batch. Java also reads a marker of any version as one of version 0.

    Raises:
        UnreadableRecord: the marker cannot be read.
    """
    if header.record_count == 0:
        return False
    record, _ = read_record(raw, HEADER_BYTES, header)
    if record.key is None or len(record.key) < 4:  # noqa: PLR2004 - version and type, two bytes each
        raise UnreadableRecord("a control record without a version and a type")
    return record.key[2:4] == b"\0\0"
