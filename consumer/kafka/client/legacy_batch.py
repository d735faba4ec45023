"""Reads batches of the message formats v0 and v1, from before Kafka 0.11, as the Java client does.

Brokers no longer write these formats, but a topic can still have segments from that time. Each
message is one batch. A compressed message is a *wrapper*: its value holds inner messages.
"""

import struct
import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from consumer.kafka.client.decompression import ZSTD, TakesTooMuch, inflater
from consumer.kafka.client.record_format import ReadRecord, UnreadableRecord
from consumer.pipeline.record_size import record_bytes
from consumer.pipeline.records import SourceRecord

_HEADS: Final = (struct.Struct(">qiIbb"), struct.Struct(">qiIbbq"))
_OVERHEAD: Final = struct.Struct(">qi")  # offset and length of every message
_MAGIC_POSITION: Final = 16
_CODEC_MASK, _LOG_APPEND_TIME = 0x07, 0x08
_LEAST_LENGTH: Final = 14  # of a v0 message without key and value
_MAX_INNER_MESSAGES: Final = 100_000  # 40 MB of objects
_NO_TIMESTAMP_MS: Final = -1


class LegacyMessage(NamedTuple):
    """One message. If it is compressed (a wrapper), its `value` holds the inner messages."""

    offset: int
    crc: int
    magic: int
    attributes: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    content: bytes
    """The bytes that the checksum covers."""

    @classmethod
    def of(cls, raw: bytes) -> "LegacyMessage":
        """Parse a message.

        Raises:
            UnreadableRecord: a field is longer than the message.
        """
        try:
            magic = raw[_MAGIC_POSITION]
            head = _HEADS[magic]
            offset, _, crc, _, attributes, *time = head.unpack_from(raw)
            key, position = _field(raw, head.size)
            value, _ = _field(raw, position)
        except (IndexError, struct.error):
            raise UnreadableRecord("a message with an unknown format or a cut field") from None
        timestamp = time[0] if time else _NO_TIMESTAMP_MS
        content = raw[_MAGIC_POSITION:]
        return cls(offset, crc, magic, attributes, timestamp, key, value, content)

    @property
    def codec(self) -> int:
        """The number of the compression codec; 0 is none."""
        return self.attributes & _CODEC_MASK

    @property
    def base_offset(self) -> int:
        """The lowest possible offset; 0 for a wrapper, which does not contain its first offset."""
        return 0 if self.codec else self.offset

    @property
    def last_offset(self) -> int:
        """The offset of the last record in it."""
        return self.offset

    @property
    def declared_records(self) -> str:
        """The number of records, as text for error messages. A wrapper does not declare it."""
        return "some" if self.codec else "1"

    @property
    def max_timestamp(self) -> int:
        """The latest timestamp in milliseconds; -1 if it has none."""
        return self.timestamp

    @property
    def has_valid_crc(self) -> bool:
        """Whether the checksum is that of the content."""
        return zlib.crc32(self.content) == self.crc


class LegacyRecords:
    """The records of a message: itself, or its inner messages if it is compressed."""

    def __init__(self, _raw: bytes, message: LegacyMessage) -> None:
        """Open a message.

        Raises:
            UnreadableRecord: the Java client would refuse it.
            TakesTooMuch: it holds too many bytes or messages.
            ValueError, zlib.error, cramjam.DecompressionError: it cannot be decompressed.
        """
        self._message = message
        self._messages = _inner_messages(message) if message.codec else [message]
        self._base_offset = 0
        self._read = 0
        if message.codec:
            if message.magic:  # the offsets of inner messages are relative in v1
                self._base_offset = message.offset - self._messages[-1].offset
            self._check_inner()

    @property
    def is_used_up(self) -> bool:
        """Whether every record was taken."""
        return self._read >= len(self._messages)

    @property
    def next_offset(self) -> int:
        """The lowest offset that the next record can have."""
        return self._base_offset + self._messages[self._read].offset

    def take(self, most_records: int, most_bytes: int) -> tuple[Sequence[SourceRecord], int]:
        """Return the next records, at least one, and their size in memory."""
        records: list[ReadRecord] = []
        size_bytes = 0
        for message in self._messages[self._read : self._read + most_records]:
            if size_bytes >= most_bytes:
                break
            records.append(self._record(message))
            size_bytes += record_bytes(records[-1])
        self._read += len(records)
        return records, size_bytes

    def _check_inner(self) -> None:
        """Check all inner messages: an invalid one makes the whole set unreliable."""
        last_offset = -1
        for message in self._messages:
            if not message.has_valid_crc:
                raise UnreadableRecord("an inner message has a wrong checksum")
            if message.codec:
                raise UnreadableRecord("an inner message is compressed")
            offset = self._base_offset + message.offset
            if not last_offset < offset <= self._message.offset:
                raise UnreadableRecord(f"offset {offset} is outside the batch, or repeated")
            last_offset = offset

    def _record(self, message: LegacyMessage) -> ReadRecord:
        wrapper, timestamp = self._message, message.timestamp
        if wrapper.magic and message.magic and wrapper.attributes & _LOG_APPEND_TIME:
            timestamp = wrapper.timestamp
        offset = self._base_offset + message.offset
        return ReadRecord(offset, timestamp, message.key, message.value, ())


def _inner_messages(message: LegacyMessage) -> list[LegacyMessage]:
    if message.value is None or message.codec == ZSTD:
        raise UnreadableRecord("a message is compressed by zstd, or is compressed without a value")
    inflated = inflater.inflate(message.codec, message.value)
    messages: list[LegacyMessage] = []
    position = 0
    # Ignore an incomplete message at the end, as the Java client does.
    while position + _OVERHEAD.size <= len(inflated):
        _, length = _OVERHEAD.unpack_from(inflated, position)
        if length < _LEAST_LENGTH:
            raise UnreadableRecord(f"an inner message of {length} bytes")
        end = position + _OVERHEAD.size + length
        if end > len(inflated):
            break
        messages.append(LegacyMessage.of(inflated[position:end]))
        if len(messages) > _MAX_INNER_MESSAGES:
            raise TakesTooMuch(f"has more than {_MAX_INNER_MESSAGES} inner messages")
        position = end
    if not messages:
        raise UnreadableRecord("a compressed message without inner messages")
    return messages


def _field(raw: bytes, position: int) -> tuple[bytes | None, int]:
    (size,) = struct.unpack_from(">i", raw, position)
    position += 4
    if size < 0:
        return None, position
    if position + size > len(raw):
        raise IndexError
    return raw[position : position + size], position + size
