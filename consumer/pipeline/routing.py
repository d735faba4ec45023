"""The home of an id: the one shard that decides about it, wherever its records arrive."""

import struct
from typing import Final

from murmurhash2 import murmurhash2

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

_KAFKA_SEED: Final = 0x9747B28C
_POSITIVE: Final = 0x7FFFFFFF


def home(checkpoint_id: str, shards: int) -> int:
    """Return the shard that decides about `checkpoint_id`."""
    return (murmurhash2(checkpoint_id.encode(), _KAFKA_SEED) & _POSITIVE) % shards


def partition_for_key(key: bytes, partitions: int) -> int:
    """Return the partition that Kafka's default partitioner picks for `key`."""
    return (murmurhash2(key, _KAFKA_SEED) & _POSITIVE) % partitions


# Sends a record to its home shard byte for byte, and reads on arrival where it came from.
#
# The origin is one header at the very end, and it is taken off by its position. So a producer may
# write a header of that name: it stays where it stands and is believed by nobody.

ORIGIN_HEADER: Final = "checkpoint-ready.origin"
_ORIGIN: Final = struct.Struct(">iqq")


def forward(record: SourceRecord, origin: Origin, shard: int, max_bytes: int) -> ForwardRecord:
    """Return the record addressed to `shard`, with its origin at the end.

    Raise the poison that is too large for the repartition topic.
    """
    place = _ORIGIN.pack(origin.partition, origin.offset, origin.timestamp_ms)
    headers = [*record.headers, (ORIGIN_HEADER, place + origin.topic.encode())]
    require_room("record with its origin", record.key, record.value, headers, max_bytes)
    return ForwardRecord(shard, record.key, record.value, headers, origin.timestamp_ms)


def strip_origin(headers: Headers) -> tuple[Headers, Origin]:
    """Return the producer's own headers of a forwarded record, and the origin."""
    if not headers:
        raise _not_ours("it has no headers")
    name, place = headers[-1]
    if name != ORIGIN_HEADER or place is None or len(place) <= _ORIGIN.size:
        raise _not_ours(f"its last header is not a valid {ORIGIN_HEADER}")
    partition, offset, timestamp_ms = _ORIGIN.unpack_from(place)
    try:
        topic = place[_ORIGIN.size :].decode()
    except UnicodeDecodeError:
        raise _not_ours(f"the topic in {ORIGIN_HEADER} is not UTF-8") from None
    return headers[:-1], Origin(topic, partition, offset, timestamp_ms)


def misdirected(home_shard: int, shard: int) -> InvalidRecord:
    """Return the poison of a forwarded record that reached the wrong shard."""
    return _not_ours(f"its home is shard {home_shard}, not shard {shard}")


def _not_ours(what: str) -> InvalidRecord:
    message = f"a record in the repartition topic was not written by this service: {what}"
    return InvalidRecord(Reason.INTERNAL_ERROR, message, Stage.TRANSFORMATION, "InvalidRecord")
