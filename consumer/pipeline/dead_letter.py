"""Builds dead letters: the original record, and text headers that say what was wrong with it.

The headers are named as Kafka Connect names them, because tools already show those. They are
always the last eight, so whoever sends a record again takes them off by position.
"""

import hashlib
from itertools import accumulate
from typing import Final

from consumer.pipeline.records import DeadLetter, Header, Headers, PoisonRecord, SourceRecord
from consumer.pipeline.size import batch_bytes, header_bytes
from schemas.ready_event import Origin

VALUE_SHA256_HEADER: Final = "checkpoint-ready.value.sha256"
VALUE_SIZE_HEADER: Final = "checkpoint-ready.value.size"
REASON_HEADER: Final = "checkpoint-ready.reason"
TIMESTAMP_HEADER: Final = "checkpoint-ready.timestamp"
TRAILING_NAMES: Final = (
    "__connect.errors.topic",
    "__connect.errors.partition",
    "__connect.errors.offset",
    "__connect.errors.stage",
    "__connect.errors.exception.class.name",
    "__connect.errors.exception.message",
    REASON_HEADER,
    TIMESTAMP_HEADER,
)
TRAILING_HEADERS: Final = len(TRAILING_NAMES)
_MESSAGE_CHARS: Final = 500
_VARINT_SLACK_BYTES: Final = 16  # lengths of key, value, header list and record


def dead_letter(
    poison: PoisonRecord,
    origin: Origin,
    record: SourceRecord,
    headers: Headers,
    max_bytes: int,
) -> DeadLetter:
    """Return the dead letter of a record, cut down to `max_bytes` where it must be.

    `headers` are the producer's own: for a forwarded record those of the record less its origin.
    """
    key, value = record.key, record.value
    message = poison.message[:_MESSAGE_CHARS]
    complete = [*headers, *_trailing(poison, origin, message)]
    if batch_bytes(key, value, complete) <= max_bytes:
        return DeadLetter(poison.reason, origin, key, value, complete, message)
    return _cut(poison, origin, record, headers, max_bytes)


def _cut(
    poison: PoisonRecord,
    origin: Origin,
    record: SourceRecord,
    headers: Headers,
    max_bytes: int,
) -> DeadLetter:
    """Give up as little as possible, in this order: value, headers from the back, key."""
    key, value = record.key, record.value
    marks = _value_marks(value) if value is not None else []
    trailing = _trailing(poison, origin, poison.message[:_MESSAGE_CHARS])
    room = max_bytes - batch_bytes(key, b"", [*marks, *trailing]) - _VARINT_SLACK_BYTES
    ends = list(accumulate(map(header_bytes, headers), initial=0))
    if ends[-1] <= room:
        kept = headers
    else:
        note = f"{len(headers)} of {len(headers)} headers and the key's end dropped to fit; "
        room -= len(note)
        count = sum(end <= room for end in ends[1:])
        kept = headers[:count]
        dropped = f"{len(headers) - count} of {len(headers)} headers"
        if room < 0 and key is not None:
            key = key[: max(0, len(key) + room)]
            dropped += " and the key's end"
        message = f"{dropped} dropped to fit; {poison.message}"[: _MESSAGE_CHARS + len(note)]
        trailing = _trailing(poison, origin, message)
    room -= ends[len(kept)]
    value = None if value is None else value[: max(0, room)]
    message = (trailing[5][1] or b"").decode()
    return DeadLetter(poison.reason, origin, key, value, [*kept, *marks, *trailing], message)


def _value_marks(value: bytes) -> list[Header]:
    return [
        (VALUE_SHA256_HEADER, hashlib.sha256(value).hexdigest().encode()),
        (VALUE_SIZE_HEADER, str(len(value)).encode()),
    ]


def _trailing(poison: PoisonRecord, origin: Origin, message: str) -> list[Header]:
    texts = (
        origin.topic,
        str(origin.partition),
        str(origin.offset),
        poison.stage,
        poison.cause,
        message,
        poison.reason,
        str(origin.timestamp_ms),
    )
    encoded = (text.encode("utf-8", "backslashreplace") for text in texts)
    return list(zip(TRAILING_NAMES, encoded, strict=True))
