"""Reads the records of one batch (message format v2, KIP-98) as the Java client reads them.

The compiled classes of aiokafka read a record in 0.2 µs, but do not check it. They read the
attributes byte as a varint, so a byte of 0x80, which brokers accept, shifts all fields after it.
They read lengths as 64-bit numbers where Java reads 32 bits. They refuse header names that are not
UTF-8, and they build header objects without a limit. Brokers also do not check the offset that a
record of an uncompressed batch claims to have.

So a batch is read in steps. Each step first measures its records, without building an object. The
compiled reader then builds those records that it reads exactly as Java does. This module reads all
others field by field. It reads no further than a record that Java cannot read, or that would take
too much memory: from there on, ``packed_batch`` makes one record of the batch.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, islice, pairwise
from typing import Any, Final

from consumer.kafka.client import private_api
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
        # aiokafka's batch refuses a second ``iter``. ``chain`` can be continued where it stopped.
        self._compiled: Iterator[Any] | None = chain(private_api.compiled_records(raw))

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
        records: Sequence[SourceRecord] | None = None
        if self._compiled is not None:
            count, end = self._measure(most, limit)
            if self._read + count == self._header.record_count and end != len(self._buffer):
                count, end = self._measure(count - 1, limit)  # something follows the last record
            records = self._take_compiled(count) if count > 0 else None
            if records:
                self._position = end
            else:  # the compiled reader failed, or must not read the next record: stop using it
                self._compiled = None
        if not records:
            records = self._take_field_by_field(most, limit)
        return records, self._position - begin + _objects_bytes(records)

    def _measure(self, most: int, limit: int) -> tuple[int, int]:
        return measure(self._buffer, self._position, most, limit, self._must_count_headers)

    def _take_compiled(self, count: int) -> Sequence[SourceRecord] | None:
        """Return the next records of the compiled reader; None if it fails or offsets are wrong."""
        try:
            records = list(islice(self._compiled or (), count))
        except Exception:  # noqa: BLE001 - what it cannot read is read field by field
            return None
        offsets = [record.offset for record in records]
        if self._header.is_complete:
            first = self._header.base_offset + self._read
            if offsets != list(range(first, first + count)):
                return None
        elif not self._are_possible(offsets):
            return None
        self._read += count
        self._next_offset = offsets[-1] + 1
        return records

    def _are_possible(self, offsets: Sequence[int]) -> bool:
        """Return whether the offsets rise and are within the batch."""
        rising = [self._next_offset - 1, *offsets, self._header.next_offset]
        return all(one < other for one, other in pairwise(rising))

    def _take_field_by_field(self, most: int, limit: int) -> Sequence[SourceRecord]:
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

    __slots__ = ("_next", "_record_bytes", "_records")

    def __init__(self, records: list[SourceRecord], record_bytes: int) -> None:
        """`record_bytes` is the average size of a record on the wire."""
        self._records = records
        self._record_bytes = record_bytes
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
        return records, len(records) * self._record_bytes + _objects_bytes(records)


def open_records(raw: bytes, header: BatchHeader) -> SmallBatch | BatchRecords:
    """Return the records of a batch.

    Raises:
        TakesTooMuch: they would take too much memory.
        ValueError, zlib.error, cramjam.DecompressionError: they cannot be decompressed.
    """
    if len(raw) <= STEP_BYTES and not header.attributes & CODEC_MASK and header.is_complete:
        records = _read_at_once(raw, header)
        if records:
            return SmallBatch(records, len(raw) // len(records))
    return BatchRecords(raw, header)


def _read_at_once(raw: bytes, header: BatchHeader) -> list[SourceRecord] | None:
    """Return all records if the compiled reader reads them as Java does, else None."""
    first, count = header.base_offset, header.record_count
    must_count_headers = False
    if measure(raw, HEADER_BYTES, count, len(raw), must_count_headers) != (count, len(raw)):
        return None
    try:
        records: list[SourceRecord] = list(private_api.compiled_records(raw))
    except Exception:  # noqa: BLE001 - what it cannot read is read field by field
        return None
    offsets = [record.offset for record in records]
    return records if offsets == list(range(first, first + count)) else None


def _objects_bytes(records: Sequence[SourceRecord]) -> int:
    """Return the size in memory of the records' objects, without their content."""
    size_bytes = len(records) * RECORD_OBJECT_BYTES
    for record in records:
        if record.headers:
            size_bytes += len(record.headers) * HEADER_OBJECT_BYTES
    return size_bytes


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
