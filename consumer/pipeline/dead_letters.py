"""Builds dead letters: the original record, and text headers that say what was wrong with it.

The headers are named as Kafka Connect names them, because tools already show those. They are
always the last eight, so whoever sends a record again takes them off by position.
"""

import hashlib
import re
from itertools import accumulate
from typing import Annotated, Final

import msgspec

from consumer.pipeline.record_size import batch_bytes, header_bytes
from consumer.pipeline.records import (
    PACKED_CAUSES,
    DeadLetter,
    Header,
    Headers,
    InvalidRecord,
    Reason,
    SourceRecord,
)
from consumer.pipeline.routing import partition_for_key
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
    poison: InvalidRecord,
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
    poison: InvalidRecord,
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


def _trailing(poison: InvalidRecord, origin: Origin, message: str) -> list[Header]:
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


# Reads a dead letter back, and says how the record goes to its input again.
#
# What the service added stands at the end and is taken off by its position, so headers of the same
# names that a producer wrote stay where they are. Whoever forges the marks of a cut value, or the
# header of a redrive, as the very last of his own headers is believed: it concerns his record
# alone.

REDRIVE_HEADER: Final = "checkpoint-ready.redrive"
_MARK_NAMES: Final = [VALUE_SHA256_HEADER, VALUE_SIZE_HEADER]
_REASONS: Final = frozenset(Reason)
_SHA256: Final = re.compile(rb"[0-9a-f]{64}")
_SIZE: Final = re.compile(rb"[0-9]{1,10}")
_DROPPED: Final = re.compile(r"[0-9]+ of [0-9]+ headers(?: and the key's end)? dropped to fit; ")
# The names that Kafka takes: any other one is forged, and may have any length.
_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_PARTITION: Final = re.compile(r"[0-9]{1,9}")
_OFFSET: Final = re.compile(r"[0-9]{1,19}")
_TIMESTAMP: Final = re.compile(r"-?[0-9]{1,19}")


class Audit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the header of a record that was put back says."""

    attempt: Annotated[int, msgspec.Meta(ge=1)]
    dead_letter: str
    """topic/partition:offset of the dead letter that it was."""
    at: str
    by: str
    timestamp_ms: int
    """The timestamp of the source record, which has another one now."""


class WholeValue(msgspec.Struct, frozen=True):
    """What is known of a value of which a dead letter holds the beginning only."""

    sha256: str
    size_bytes: int


class DeadLetterRecord(msgspec.Struct, frozen=True):
    """A dead letter, read back: the original record and what was wrong with it."""

    reason: Reason
    stage: str
    cause: str
    message: str
    origin: Origin
    key: bytes | None
    value: bytes | None
    headers: list[Header]
    """The producer's own."""
    audit: Audit | None
    """How it was put back before; None: never."""
    is_cut: bool
    """Something of the original is missing."""
    whole_value: WholeValue | None
    """Known where the value was cut, or headers dropped beside it."""

    @property
    def attempts(self) -> int:
        """How often the record was put back and failed again."""
        return self.audit.attempt if self.audit else 0

    @property
    def is_packed(self) -> bool:
        """Whether its value is a whole record batch, not one that a producer sent as a record."""
        return self.cause in PACKED_CAUSES.values()


def parse_dead_letter(record: SourceRecord) -> DeadLetterRecord | None:
    """Return the dead letter that a record is, or None when this service did not write it."""
    texts = _trailing_texts(record.headers)
    if texts is None:
        return None
    topic, partition, offset, stage, cause, message, reason, timestamp_ms = texts
    if not (
        reason in _REASONS
        and _TOPIC.fullmatch(topic)
        and _PARTITION.fullmatch(partition)
        and _OFFSET.fullmatch(offset)
        and _TIMESTAMP.fullmatch(timestamp_ms)
    ):
        return None
    own = list(record.headers[:-TRAILING_HEADERS])
    whole_value = _whole_value(record.value, own, message)
    if whole_value is not None:
        own = own[: -len(_MARK_NAMES)]
    audit = _audit(own)
    if audit is not None:
        own = own[:-1]
    return DeadLetterRecord(
        reason=Reason(reason),
        stage=stage,
        cause=cause,
        message=message,
        origin=Origin(topic, int(partition), int(offset), int(timestamp_ms)),
        key=record.key,
        value=record.value,
        headers=own,
        audit=audit,
        is_cut=whole_value is not None or _DROPPED.match(message) is not None,
        whole_value=whole_value,
    )


def redriven_headers(letter: DeadLetterRecord, dead_letter: str, at: str, by: str) -> list[Header]:
    """Return the original headers and, at the end, the one that says that and why it is back."""
    audit = Audit(letter.attempts + 1, dead_letter, at, by, letter.origin.timestamp_ms)
    return [*letter.headers, (REDRIVE_HEADER, msgspec.json.encode(audit))]


def redriven_partition(letter: DeadLetterRecord, partitions: int) -> int:
    """Return the partition to put it back to: its own, if the topic still has that one."""
    if letter.origin.partition < partitions:
        return letter.origin.partition
    return 0 if letter.key is None else partition_for_key(letter.key, partitions)


def _trailing_texts(headers: Headers) -> list[str] | None:
    trailing = headers[-TRAILING_HEADERS:]
    if tuple(name for name, _ in trailing) != TRAILING_NAMES:
        return None
    try:
        return [(value or b"").decode() for _, value in trailing]
    except UnicodeDecodeError:
        return None


def _whole_value(value: bytes | None, own: Headers, message: str) -> WholeValue | None:
    """Return what the marks say, unless they are a producer's own headers of that name.

    Ours stand only behind a value that was cut, or beside the note that headers were dropped.
    """
    marks = own[-len(_MARK_NAMES) :]
    if value is None or [name for name, _ in marks] != _MARK_NAMES:
        return None
    sha256, size = (mark or b"" for _, mark in marks)
    if not (_SHA256.fullmatch(sha256) and _SIZE.fullmatch(size)):
        return None
    if int(size) <= len(value) and not _DROPPED.match(message):
        return None
    return WholeValue(sha256.decode(), int(size))


def _audit(own: Headers) -> Audit | None:
    """Return the redrive that the last header tells of; it must be spelled as we spell it."""
    if not own or own[-1][0] != REDRIVE_HEADER:
        return None
    value = own[-1][1] or b""
    try:
        audit = msgspec.json.decode(value, type=Audit)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return audit if msgspec.json.encode(audit) == value else None
