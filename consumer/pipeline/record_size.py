"""Computes the size of a record: as a broker counts it, and in this process's memory.

A broker counts the batch that holds the record: `max.message.bytes` limits a batch, not a record.
The size must be known before the record is sent, because the whole transaction fails if the broker
refuses one batch.
"""

from typing import Final

from consumer.pipeline.records import Header, Headers, InvalidRecord, Reason, SourceRecord, Stage

BATCH_OVERHEAD_BYTES: Final = 61
RECORD_OBJECT_BYTES: Final = 250
"""The memory of the objects of one record (record, key, value, header list), without content.

Measured with CPython 3.11."""
HEADER_OBJECT_BYTES: Final = 150
"""The memory of the objects of one header (tuple, name, value, list slot), without content."""
_FIXED_RECORD_BYTES: Final = 3  # attributes, timestamp delta and offset delta of the first record
_LONGEST_VARINT_BYTES: Final = 5


def varint_bytes(number: int) -> int:
    """Return the length of the zigzag varint of a non-negative number."""
    return ((2 * number).bit_length() + 6) // 7 or 1


def header_bytes(header: Header) -> int:
    """Return the encoded length of one header."""
    name, value = header
    name_bytes = len(name) if name.isascii() else len(name.encode())
    value_bytes = 1 if value is None else varint_bytes(len(value)) + len(value)
    return varint_bytes(name_bytes) + name_bytes + value_bytes


def field_bytes(content: bytes | None) -> int:
    """Return the encoded length of a key or a value."""
    return 1 if content is None else varint_bytes(len(content)) + len(content)


def batch_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Return the exact length of an uncompressed batch that holds only this record."""
    record_bytes = (
        _FIXED_RECORD_BYTES
        + field_bytes(key)
        + field_bytes(value)
        + varint_bytes(len(headers))
        + sum(map(header_bytes, headers))
    )
    return BATCH_OVERHEAD_BYTES + varint_bytes(record_bytes) + record_bytes


def safe_size(headers: Headers, max_bytes: int) -> int:
    """Return a total size of key and value that always fits, a few bytes below the exact limit."""
    return max_bytes - batch_bytes(b"", b"", headers) - 3 * _LONGEST_VARINT_BYTES


def require_room(
    what: str, key: bytes | None, value: bytes | None, headers: Headers, max_bytes: int
) -> None:
    """Check that a record fits its topic; `what` names the record in the message.

    Raises:
        InvalidRecord: it does not fit.
    """
    size_bytes = batch_bytes(key, value, headers)
    if size_bytes > max_bytes:
        message = f"the {what} needs {size_bytes} bytes, the limit of its topic is {max_bytes}"
        raise InvalidRecord(Reason.TOO_LARGE, message, Stage.TASK_PUT, "RecordTooLarge")


def record_bytes(record: SourceRecord) -> int:
    """Return the bytes of memory that a record occupies, including its Python objects.

    The objects count because a producer chooses their number. Two bytes of a batch can become a
    header without content, which occupies 72 bytes.
    """
    size_bytes = RECORD_OBJECT_BYTES + len(record.key or b"") + len(record.value or b"")
    headers = record.headers
    if headers:
        size_bytes += len(headers) * HEADER_OBJECT_BYTES
        size_bytes += sum(len(name) + len(content or b"") for name, content in headers)
    return size_bytes
