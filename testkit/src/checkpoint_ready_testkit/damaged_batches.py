"""A record batch that no consumer can read to its end, as the value of a dead letter.

The format is that of Kafka's record batches with magic 2: https://kafka.apache.org/documentation/
"""

import struct
from typing import Final

RECORDS: Final = 2
"""The number of records in a batch of `damaged_batch`. Neither can be read."""

CLAIMED_BYTES: Final = 2000
"""The length of the first record, as it says itself."""

_CRC_32C: Final = 0x82F63B78
_MASK: Final = 0xFFFFFFFF
_MAGIC: Final = 2
_NO_PRODUCER: Final = -1
# A record that says it has `CLAIMED_BYTES` (as a zigzag varint). The batch ends before.
_CUT_RECORD: Final = b"\xa0\x1f" + bytes(500)


def damaged_batch(last_offset: int, timestamp_ms: int) -> bytes:
    """Return an uncompressed batch with a valid checksum, whose first record is cut off.

    Args:
        last_offset: the offset of its second record.
        timestamp_ms: the largest timestamp of its records.
    """
    checked = struct.pack(
        ">hiqqqhii",
        0,  # attributes: not compressed
        RECORDS - 1,
        timestamp_ms,
        timestamp_ms,
        _NO_PRODUCER,
        _NO_PRODUCER,
        _NO_PRODUCER,
        RECORDS,
    )
    checked += _CUT_RECORD
    body = struct.pack(">ibI", 0, _MAGIC, _crc_32c(checked)) + checked
    return struct.pack(">qi", last_offset - RECORDS + 1, len(body)) + body


def _crc_32c(data: bytes) -> int:
    remainder = _MASK
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (_CRC_32C if remainder & 1 else 0)
    return remainder ^ _MASK
