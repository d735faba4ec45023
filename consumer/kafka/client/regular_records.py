"""Reads the regular records of a batch by compiled code. `read_record` reads the other ones.

A record is regular if compiled code reads it exactly as the Java client does. There are two readers
with one interface. ``_record_reader.c`` is used if it was built. Otherwise the compiled classes of
aiokafka are used. They check less, so `measure` checks each record before they read it.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, islice, pairwise
from typing import Any, Final, Protocol

from consumer.kafka.client import private_api
from consumer.kafka.client.record_format import BatchHeader, measure
from consumer.pipeline.records import SourceRecord

try:
    from consumer.kafka.client._record_reader import BatchReader
except ImportError:  # it was installed without a C compiler
    compiled_reader: "type[BatchReader] | None" = None
else:
    compiled_reader = BatchReader

# Two bytes of a record can become a header without content, which takes 72 bytes of memory. A batch
# of up to this size that holds only such headers takes at most 40 MB. So in these batches `measure`
# counts the headers only of records of 8 KiB or more. In larger batches it counts all headers.
TRUSTED_BYTES: Final = 1024 * 1024
_MAX_INT64: Final = 2**63 - 1


class RegularReader(Protocol):
    """Reads regular records of one uncompressed batch."""

    def read(
        self,
        position: int,
        index: int,
        next_offset: int,
        most_records: int,
        limit: int,
        /,
    ) -> tuple[Sequence[SourceRecord], int, int]:
        """Return records, the position after them, and the number of their headers.

        The records begin at `position`. `index` is the number of records before that position, and
        `next_offset` is the lowest offset that the next record can have. No returned record begins
        at `limit` or after it. If no record is returned, the next one is not regular, or has too
        many headers.
        """


def regular_reader(raw: bytes, header: BatchHeader, most_headers: int) -> RegularReader:
    """Return the reader for an uncompressed batch.

    `most_headers` limits the headers of all records that one call of `read` returns. Only the
    reader in C has this limit.
    """
    if compiled_reader is None or header.next_offset > _MAX_INT64:
        return LibraryReader(raw, header)
    return compiled_reader(
        raw,
        header.base_offset,
        header.next_offset,
        header.record_count,
        header.base_timestamp,
        header.max_timestamp if header.has_append_time else None,
        most_headers,
    )


class LibraryReader:
    """Reads regular records by the compiled classes of aiokafka.

    These classes do not check a record. They read the attributes byte as a varint, so a byte of
    0x80, which brokers accept, shifts all fields after it. They read lengths as 64-bit numbers
    where Java reads 32 bits. They refuse header names that are not UTF-8, and they build any number
    of header objects. `measure` limits the headers of one record.
    """

    def __init__(self, raw: bytes, header: BatchHeader) -> None:
        self._header = header
        self._buffer = raw
        self._index = 0
        self._must_count_headers = len(raw) > TRUSTED_BYTES
        # One iterator for all calls, because a new one would begin at the first record. It is None
        # after an error, or after a record that must be read field by field.
        self._records: Iterator[Any] | None = chain(private_api.compiled_records(raw))

    def read(
        self,
        position: int,
        index: int,
        next_offset: int,
        most_records: int,
        limit: int,
        /,
    ) -> tuple[Sequence[SourceRecord], int, int]:
        """Return the next records, see `RegularReader`."""
        records: Sequence[SourceRecord] | None = None
        end = position
        if index == self._index:
            count, end = self._measure(position, most_records, limit)
            if index + count == self._header.record_count and end != len(self._buffer):
                # Bytes follow the last record, so it is unreadable: return those before it.
                count, end = self._measure(position, count - 1, limit)
            records = self._take(count, next_offset) if count > 0 else None
        if not records:
            self._records = None
            return [], position, 0
        self._index += len(records)
        return records, end, sum(len(record.headers) for record in records)

    def _measure(self, position: int, most: int, limit: int) -> tuple[int, int]:
        return measure(self._buffer, position, most, limit, self._must_count_headers)

    def _take(self, count: int, next_offset: int) -> Sequence[SourceRecord] | None:
        """Return the next records as the library builds them; None if it cannot."""
        try:
            records = list(islice(self._records or (), count))
        except Exception:  # noqa: BLE001 - what it cannot read is read field by field
            return None
        offsets = [record.offset for record in records]
        if self._header.is_complete:
            is_possible = offsets == list(range(next_offset, next_offset + count))
        else:
            is_possible = are_possible(offsets, next_offset, self._header)
        return records if is_possible else None


def are_possible(offsets: Sequence[int], next_offset: int, header: BatchHeader) -> bool:
    """Return whether the offsets rise, from `next_offset` on, and are within the batch."""
    rising = [next_offset - 1, *offsets, header.next_offset]
    return all(one < other for one, other in pairwise(rising))
