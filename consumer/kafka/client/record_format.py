"""Message format v2 (KIP-98) on the wire: the header of a batch, and the fields of its records.

Brokers accept header names that are not UTF-8, so a shard must read and write them. A
``RawHeaderName`` keeps their bytes.
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple, Self

from consumer.kafka.client.decompression import TakesTooMuch
from consumer.pipeline.records import Header

MAX_HEADERS: Final = 30_000
_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES: Final = _HEADER.size
CODEC_MASK: Final = 0x07
_LOG_APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x08, 0x10, 0x20
TRANSACTIONAL_OR_CONTROL: Final = _TRANSACTIONAL | _CONTROL
_MORE: Final = 0x80  # this bit is set in every byte of a varint except the last
_INT32_VARINT_BYTES, _INT64_VARINT_BYTES = 5, 10


class UnreadableRecord(Exception):
    """The next record of a batch cannot be read; the message is the reason."""


class BatchHeader(NamedTuple):
    """The fields before the records, in the order of the wire."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @classmethod
    def of(cls, raw: bytes) -> "BatchHeader":
        """Return the header of a batch."""
        return cls(*_HEADER.unpack_from(raw))

    @property
    def codec(self) -> int:
        """The number of the compression codec; 0 is none."""
        return self.attributes & CODEC_MASK

    @property
    def is_transactional(self) -> bool:
        """Whether the batch is part of a transaction."""
        return bool(self.attributes & _TRANSACTIONAL)

    @property
    def has_append_time(self) -> bool:
        """Whether the broker has set the timestamps, when it wrote the batch to its log."""
        return bool(self.attributes & _LOG_APPEND_TIME)

    @property
    def is_control(self) -> bool:
        """Whether the batch is a control batch, such as the marker that ends a transaction."""
        return bool(self.attributes & _CONTROL)

    @property
    def next_offset(self) -> int:
        """The offset after the batch; compaction does not change it."""
        return self.base_offset + self.last_offset_delta + 1

    @property
    def last_offset(self) -> int:
        """The last offset of the batch."""
        return self.base_offset + self.last_offset_delta

    @property
    def declared_records(self) -> str:
        """The number of records that the batch declares, as text for error messages."""
        return str(self.record_count)

    @property
    def is_complete(self) -> bool:
        """Whether every offset of the batch has a record: compaction removed none."""
        return self.record_count == self.last_offset_delta + 1


class ReadRecord(NamedTuple):
    """A record that was read field by field. It has the attributes of aiokafka's compiled class."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]


class RawHeaderName(str):
    """A header name that encodes to the bytes from which it was read."""

    __slots__ = ("raw",)
    raw: bytes

    def __new__(cls, raw: bytes) -> Self:
        """Make a name from bytes; invalid UTF-8 becomes surrogates."""
        name = super().__new__(cls, raw.decode("utf-8", "surrogateescape"))
        name.raw = raw
        return name

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:  # noqa: ARG002
        """Return the bytes from which the name was read, for any encoding."""
        return self.raw


def header_name(raw: bytes) -> str:
    """Return a header name that keeps its bytes if they are not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return RawHeaderName(raw)


def measure(
    buffer: bytes,
    position: int,
    most: int,
    limit: int,
    must_count_headers: bool,  # noqa: FBT001 - called by position in the hot path
) -> tuple[int, int]:
    """Return how many records aiokafka can read like Java, and the position after them.

    Count at most `most` records, and none that begins at `limit` or later. Stop before a record
    that the two may read differently: its length is negative or takes more than four bytes, or its
    attributes byte is 0x80 or more. Also stop before a record with more than MAX_HEADERS headers.
    Headers are counted only in records of 8 KiB or more, or if `must_count_headers`.
    """
    count = 0
    begin = position
    try:
        while count < most and position < limit:
            begin = position
            size = buffer[position]
            position += 1
            if size & 0x80:
                second = buffer[position]
                position += 1
                size = size & 0x7F | (second & 0x7F) << 7
                if second & 0x80:
                    size, position = _short_varint(buffer, begin)
                    if _header_count(buffer, position) > MAX_HEADERS:
                        return count, begin
            if size & 1 or buffer[position] & 0x80:  # a negative length; the attributes byte
                return count, begin
            if must_count_headers and _header_count(buffer, position) > MAX_HEADERS:
                return count, begin
            position += size >> 1
            count += 1
    except (IndexError, UnreadableRecord):
        return count, begin
    return count, position


def read_record(buffer: bytes, position: int, header: BatchHeader) -> tuple[ReadRecord, int]:
    """Return the record at a position, and the position after it.

    Raises:
        UnreadableRecord: the Java client would refuse it.
        TakesTooMuch: it has more than MAX_HEADERS headers.
    """
    try:
        size, position = _varint(buffer, position, _INT32_VARINT_BYTES)
        end = position + size
        if size < 0 or end > len(buffer):
            raise UnreadableRecord(f"a record of {size} bytes is longer than the batch")
        timestamp_delta, position = _varint(buffer, position + 1, _INT64_VARINT_BYTES)
        offset_delta, position = _varint(buffer, position, _INT32_VARINT_BYTES)
        key, position = _field(buffer, position)
        value, position = _field(buffer, position)
        headers, position = _headers(buffer, position, end)
    except IndexError:
        raise UnreadableRecord("a field is longer than the batch") from None
    if position != end:
        raise UnreadableRecord(f"a record of {size} bytes has fields of {position - end + size}")
    timestamp = header.max_timestamp
    if not header.has_append_time:
        timestamp = _signed(header.base_timestamp + timestamp_delta, 64)
    return ReadRecord(header.base_offset + offset_delta, timestamp, key, value, headers), end


def _headers(buffer: bytes, position: int, end: int) -> tuple[list[Header], int]:
    count, position = _varint(buffer, position, _INT32_VARINT_BYTES)
    if not 0 <= count <= end - position:
        raise UnreadableRecord(f"a record says that it has {count} headers")
    if count > MAX_HEADERS:
        raise TakesTooMuch(f"has a record with more than {MAX_HEADERS} headers")
    headers: list[Header] = []
    for _ in range(count):
        name, position = _field(buffer, position)
        if name is None:
            raise UnreadableRecord("a header without a name")
        content, position = _field(buffer, position)
        headers.append((header_name(name), content))
    return headers, position


def _field(buffer: bytes, position: int) -> tuple[bytes | None, int]:
    """Return the bytes of a field (None if its length is below 0), and the position after it."""
    size = buffer[position]
    if size & 0x81:  # a length below 0, or one that takes more than one byte
        size, position = _varint(buffer, position, _INT32_VARINT_BYTES)
    else:
        size, position = size >> 1, position + 1
    if size < 0:
        return None, position
    if position + size > len(buffer):
        raise IndexError
    return buffer[position : position + size], position + size


def _varint(buffer: bytes, position: int, most_bytes: int) -> tuple[int, int]:
    """Return a zigzag varint and the position after it; drop bits beyond the type's width."""
    number = shift = 0
    for position in range(position, position + most_bytes):  # noqa: B020, PLR1704 - the loop moves the position
        byte = buffer[position]
        number |= (byte & 0x7F) << shift
        if byte < _MORE:
            bits = 32 if most_bytes == _INT32_VARINT_BYTES else 64
            number &= (1 << bits) - 1
            return number >> 1 ^ -(number & 1), position + 1
        shift += 7
    raise UnreadableRecord(f"a number of more than {most_bytes} bytes")


def _short_varint(buffer: bytes, position: int) -> tuple[int, int]:
    """Return a varint without decoding its zigzag, and the position after it.

    Raises:
        UnreadableRecord: it has more than four bytes. aiokafka and Java can read such a varint
            differently.
    """
    number = shift = 0
    while shift < 28:  # noqa: PLR2004 - seven bits of each of four bytes
        byte = buffer[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < _MORE:
            return number, position
        shift += 7
    raise UnreadableRecord("an unusually long number")


def _header_count(buffer: bytes, position: int) -> int:
    """Return the number of headers of a record; its attributes byte is at this position.

    Raises:
        UnreadableRecord: a length, the offset or the number of headers takes more than four bytes.
        IndexError: the record is longer than the batch.
    """
    position += 1
    while buffer[position] & _MORE:  # the timestamp
        position += 1
    _, position = _short_varint(buffer, position + 1)  # the offset
    for _ in range(2):  # key and value
        size, position = _short_varint(buffer, position)
        position += 0 if size & 1 else size >> 1
    count, _ = _short_varint(buffer, position)
    return 0 if count & 1 else count >> 1


def _signed(number: int, bits: int) -> int:
    """Return the value of a number in Java's signed type of this width."""
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> (bits - 1) else number
