"""Routes records: the home shard of an id, the default partitioner, and the origin header.

The home shard of an id is the one shard that decides about the id, whichever partition its records
arrive in. Any other shard forwards a record of the id to the home shard, byte for byte, through the
repartition topic, and appends the origin as the last header. The home shard reads and removes only
the last header. So a producer's own header of the same name is kept, and never used as an origin.
"""

import struct
from typing import Final

from consumer.pipeline.hashes import default_partition
from consumer.pipeline.record_size import require_room
from consumer.pipeline.records import (
    ForwardRecord,
    Headers,
    InvalidRecord,
    Reason,
    SourceRecord,
    Stage,
)
from schemas.ready_event import Origin

ORIGIN_HEADER: Final = "checkpoint-ready.origin"
_ORIGIN: Final = struct.Struct(">iqq")
"""Partition, offset and timestamp of the source record. The topic's name follows."""
_NUMBERS_BYTES: Final = _ORIGIN.size
_pack_origin: Final = _ORIGIN.pack
_unpack_origin: Final = _ORIGIN.unpack_from
_NO_HEADERS: Final[Headers] = ()
# An upper limit of the bytes of a forward besides its key, its value and the topic's name, if the
# origin is its only header: 61 bytes of batch header, 43 for the name and the numbers of the origin
# header, and at most five bytes for each length. Topic names are ASCII.
_MOST_OVERHEAD_BYTES: Final = 256


home: Final = default_partition
"""Returns the home shard of an id, from the id and the number of shards. It is the partition that
Kafka's default partitioner selects for the id as a key."""
partition_for_key: Final = default_partition
"""Returns the partition that Kafka's default partitioner selects for a key."""


def forward(
    record: SourceRecord, topic: bytes, partition: int, shard: int, max_bytes: int
) -> ForwardRecord:
    """Return a record of this topic and partition for its home `shard`.

    The origin header is at the end of its headers.

    Raises:
        InvalidRecord: the record is too large for the repartition topic.
    """
    key, value, headers = record.key, record.value, record.headers
    timestamp_ms = record.timestamp
    origin = (ORIGIN_HEADER, _pack_origin(partition, record.offset, timestamp_ms) + topic)
    content_bytes = len(key or b"") + len(value or b"") + len(topic)
    if headers or content_bytes + _MOST_OVERHEAD_BYTES > max_bytes:
        all_headers = [*headers, origin]
        require_room("record with its origin", key, value, all_headers, max_bytes)
    else:
        all_headers = [origin]
    return ForwardRecord(shard, key, value, all_headers, timestamp_ms)


def strip_origin(headers: Headers) -> tuple[Headers, Origin]:
    """Return the producer's own headers of a forwarded record, and its origin.

    Raises:
        InvalidRecord: the last header is no valid origin, so this service did not write the record.
    """
    if not headers:
        raise _foreign_forward("it has no headers")
    name, packed = headers[-1]
    if name != ORIGIN_HEADER or packed is None or len(packed) <= _NUMBERS_BYTES:
        raise _foreign_forward(f"its last header is not a valid {ORIGIN_HEADER}")
    partition, offset, timestamp_ms = _unpack_origin(packed)
    try:
        topic = str(packed[_NUMBERS_BYTES:], "utf-8")
    except UnicodeDecodeError:
        raise _foreign_forward(f"the topic in {ORIGIN_HEADER} is not UTF-8") from None
    own = headers[:-1] if len(headers) > 1 else _NO_HEADERS
    return own, Origin(topic, partition, offset, timestamp_ms)


def misdirected(home_shard: int, shard: int) -> InvalidRecord:
    """Return the error for a forwarded record that reached the wrong shard."""
    return _foreign_forward(f"its home is shard {home_shard}, not shard {shard}")


def _foreign_forward(detail: str) -> InvalidRecord:
    message = f"a record in the repartition topic was not written by this service: {detail}"
    return InvalidRecord(Reason.INTERNAL_ERROR, message, Stage.TRANSFORMATION, "InvalidRecord")
