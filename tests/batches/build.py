"""Builds record batches byte by byte, as any producer may send them (message format v2, KIP-98)."""

import struct
import zlib
from collections.abc import Sequence

from aiokafka.record.util import calc_crc32c

BASE_MS = 1_700_000_000_000
LENGTH_POSITION, CRC_POSITION, ATTRIBUTES_POSITION = 8, 17, 21


def varint(number: int) -> bytes:
    """Return a zigzag varint of a number of up to 64 bits."""
    rest = (number << 1 ^ number >> 63) & (1 << 64) - 1
    out = bytearray()
    while rest & ~0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def field(content: bytes | None) -> bytes:
    """Return a key, a value or a header's part behind its length."""
    return varint(-1) if content is None else varint(len(content)) + content


def record(  # noqa: PLR0913 - the parts of a record
    offset_delta: int,
    value: bytes | None = b"value",
    *,
    key: bytes | None = None,
    headers: Sequence[tuple[bytes, bytes | None]] = (),
    attributes: int = 0,
    timestamp_delta: int = 0,
) -> bytes:
    """Return one record, behind its length."""
    body = bytes([attributes]) + varint(timestamp_delta) + varint(offset_delta)
    body += field(key) + field(value) + varint(len(headers))
    body += b"".join(field(name) + field(content) for name, content in headers)
    return varint(len(body)) + body


def batch(  # noqa: PLR0913 - the fields of a batch
    records: bytes,
    count: int,
    *,
    base_offset: int = 0,
    attributes: int = 0,
    last_offset_delta: int | None = None,
    base_timestamp: int = BASE_MS,
    max_timestamp: int | None = None,
    producer: tuple[int, int, int] = (-1, -1, -1),
) -> bytes:
    """Return a batch with a valid checksum; `records` are compressed as `attributes` say."""
    covered = struct.pack(
        ">hiqqqhii",
        attributes,
        count - 1 if last_offset_delta is None else last_offset_delta,
        base_timestamp,
        base_timestamp if max_timestamp is None else max_timestamp,
        *producer,
        count,
    )
    covered += records
    head = struct.pack(">ibI", 0, 2, calc_crc32c(covered))
    return struct.pack(">qi", base_offset, len(head) + len(covered)) + head + covered


def repaired(raw: bytes) -> bytes:
    """Return a batch whose bytes were changed, with the length and checksum that they have now."""
    return (
        raw[:LENGTH_POSITION]
        + struct.pack(">i", len(raw) - LENGTH_POSITION - 4)
        + raw[LENGTH_POSITION + 4 : CRC_POSITION]
        + struct.pack(">I", calc_crc32c(raw[ATTRIBUTES_POSITION:]))
        + raw[ATTRIBUTES_POSITION:]
    )


def message(  # noqa: PLR0913 - the fields of a message
    offset: int,
    value: bytes | None,
    *,
    magic: int = 1,
    key: bytes | None = None,
    attributes: int = 0,
    timestamp: int = BASE_MS,
) -> bytes:
    """Return a message of format v0 or v1, which is a batch of its own."""
    covered = struct.pack(">bb", magic, attributes)
    covered += struct.pack(">q", timestamp) if magic else b""
    for content in (key, value):
        covered += struct.pack(">i", -1) if content is None else struct.pack(">i", len(content))
        covered += content or b""
    return struct.pack(">qiI", offset, len(covered) + 4, zlib.crc32(covered)) + covered
