"""Writes and parses dead letters: the original record, and headers that describe the error.

The last eight headers describe the error. Six of them have names of Kafka Connect, because existing
tools display those. The parser recognises the eight headers by their position at the end, and
removes only them. So headers of the same names that a producer wrote are kept.

A producer can end its own headers with a copy of the headers for a truncated value or a redrive.
The parser takes this copy for headers of the service. That affects only the producer's own record.
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
REDRIVE_HEADER: Final = "checkpoint-ready.redrive"
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
_WHOLE_VALUE_NAMES: Final = [VALUE_SHA256_HEADER, VALUE_SIZE_HEADER]
_MESSAGE_CHARS: Final = 500
# An upper limit of the varints that hold the lengths of key, value, header list and record.
_VARINT_SLACK_BYTES: Final = 16

_REASONS: Final = frozenset(Reason)
_SHA256: Final = re.compile(rb"[0-9a-f]{64}")
_SIZE: Final = re.compile(rb"[0-9]{1,10}")
# Kafka accepts only such topic names. If the value of the topic header is no such name, another
# program wrote the record.
_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_PARTITION: Final = re.compile(r"[0-9]{1,9}")
_OFFSET: Final = re.compile(r"[0-9]{1,19}")
_TIMESTAMP: Final = re.compile(r"-?[0-9]{1,19}")


class Audit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the redrive header: how a record was sent to its input again."""

    attempt: Annotated[int, msgspec.Meta(ge=1)]
    dead_letter: str
    """topic/partition:offset of the dead letter."""
    at: str
    by: str
    timestamp_ms: int
    """The timestamp of the source record. The redriven record has a new timestamp."""


class WholeValue(msgspec.Struct, frozen=True):
    """Digest and size of the producer's complete value, for a truncated dead letter."""

    sha256: str
    size_bytes: int


class DeadLetterRecord(msgspec.Struct, frozen=True):
    """A parsed dead letter: the original record and the error."""

    reason: Reason
    stage: str
    cause: str
    message: str
    origin: Origin
    key: bytes | None
    value: bytes | None
    headers: list[Header]
    """The producer's own headers."""
    audit: Audit | None
    """The last redrive of the record, or None if it was never redriven."""
    is_cut: bool
    """Whether a part of the original record is missing."""
    whole_value: WholeValue | None
    """Present if the value was truncated, or if headers of a record with a value were dropped."""

    @property
    def attempts(self) -> int:
        """The number of times that the record was redriven and failed again."""
        return self.audit.attempt if self.audit else 0

    @property
    def is_packed(self) -> bool:
        """Whether the dead letter's value is a whole record batch, not a value of a producer."""
        return self.cause in PACKED_CAUSES.values()


def _dropped_note(dropped: int, headers: int, *, key: bool) -> str:
    """Return the beginning of the message of a dead letter with dropped headers; see `_DROPPED`."""
    and_key = " and the key's end" if key else ""
    return f"{dropped} of {headers} headers{and_key} dropped to fit; "


_DROPPED: Final = re.compile(r"[0-9]+ of [0-9]+ headers(?: and the key's end)? dropped to fit; ")


def dead_letter(
    error: InvalidRecord,
    origin: Origin,
    record: SourceRecord,
    headers: Headers,
    max_bytes: int,
) -> DeadLetter:
    """Return the dead letter of a record, truncated to `max_bytes` if necessary.

    `headers` are the producer's own headers. `record.headers` can also hold the origin header.
    """
    key, value = record.key, record.value
    message = error.message[:_MESSAGE_CHARS]
    complete = [*headers, *_trailing_headers(error, origin, message)]
    if batch_bytes(key, value, complete) <= max_bytes:
        return DeadLetter(error.reason, origin, key, value, complete, message)
    return _truncated(error, origin, record, headers, max_bytes)


def _truncated(
    error: InvalidRecord,
    origin: Origin,
    record: SourceRecord,
    headers: Headers,
    max_bytes: int,
) -> DeadLetter:
    """Return a dead letter that loses no more than needed to fit into `max_bytes`.

    The value is cut first, then headers are dropped from the end, then the key is cut.
    """
    key, value = record.key, record.value
    whole_value = _whole_value_headers(value) if value is not None else []
    message = error.message[:_MESSAGE_CHARS]
    trailing = _trailing_headers(error, origin, message)
    room = max_bytes - batch_bytes(key, b"", [*whole_value, *trailing]) - _VARINT_SLACK_BYTES
    ends = list(accumulate(map(header_bytes, headers), initial=0))
    if ends[-1] <= room:
        kept = headers
    else:
        longest_note = len(_dropped_note(len(headers), len(headers), key=True))
        room -= longest_note
        count = sum(end <= room for end in ends[1:])
        kept = headers[:count]
        is_key_cut = room < 0 and key is not None
        if room < 0 and key is not None:
            key = key[: max(0, len(key) + room)]
        note = _dropped_note(len(headers) - count, len(headers), key=is_key_cut)
        message = f"{note}{error.message}"[: _MESSAGE_CHARS + longest_note]
        trailing = _trailing_headers(error, origin, message)
    room -= ends[len(kept)]
    value = None if value is None else value[: max(0, room)]
    encoded_message = dict(trailing)[TRAILING_NAMES[5]] or b""
    all_headers = [*kept, *whole_value, *trailing]
    return DeadLetter(error.reason, origin, key, value, all_headers, encoded_message.decode())


def parse_dead_letter(record: SourceRecord) -> DeadLetterRecord | None:
    """Return the parsed dead letter, or None if this service did not write the record."""
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
    whole_value = _parse_whole_value(record.value, own, message)
    if whole_value is not None:
        own = own[: -len(_WHOLE_VALUE_NAMES)]
    audit = _parse_audit(own)
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


def _trailing_headers(error: InvalidRecord, origin: Origin, message: str) -> list[Header]:
    texts = (
        origin.topic,
        str(origin.partition),
        str(origin.offset),
        error.stage,
        error.cause,
        message,
        error.reason,
        str(origin.timestamp_ms),
    )
    encoded = (text.encode("utf-8", "backslashreplace") for text in texts)
    return list(zip(TRAILING_NAMES, encoded, strict=True))


def _trailing_texts(headers: Headers) -> list[str] | None:
    trailing = headers[-TRAILING_HEADERS:]
    if tuple(name for name, _ in trailing) != TRAILING_NAMES:
        return None
    try:
        return [(value or b"").decode() for _, value in trailing]
    except UnicodeDecodeError:
        return None


def _whole_value_headers(value: bytes) -> list[Header]:
    return [
        (VALUE_SHA256_HEADER, hashlib.sha256(value).hexdigest().encode()),
        (VALUE_SIZE_HEADER, str(len(value)).encode()),
    ]


def _parse_whole_value(value: bytes | None, own: Headers, message: str) -> WholeValue | None:
    """Return digest and size of the whole value, or None if this service wrote no such headers.

    This service writes them only if it truncated the value or dropped headers. In any other case
    they are headers of the producer.
    """
    last = own[-len(_WHOLE_VALUE_NAMES) :]
    if value is None or [name for name, _ in last] != _WHOLE_VALUE_NAMES:
        return None
    sha256, size = (content or b"" for _, content in last)
    if not (_SHA256.fullmatch(sha256) and _SIZE.fullmatch(size)):
        return None
    if int(size) <= len(value) and not _DROPPED.match(message):
        return None
    return WholeValue(sha256.decode(), int(size))


def redriven_headers(parsed: DeadLetterRecord, dead_letter: str, at: str, by: str) -> list[Header]:
    """Return the original headers with the redrive header appended."""
    audit = Audit(parsed.attempts + 1, dead_letter, at, by, parsed.origin.timestamp_ms)
    return [*parsed.headers, (REDRIVE_HEADER, msgspec.json.encode(audit))]


def _parse_audit(own: Headers) -> Audit | None:
    """Return the content of the redrive header, or None.

    The header counts only if it is the last one, with exactly the bytes that this service writes.
    """
    if not own or own[-1][0] != REDRIVE_HEADER:
        return None
    value = own[-1][1] or b""
    try:
        audit = msgspec.json.decode(value, type=Audit)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return audit if msgspec.json.encode(audit) == value else None


def redriven_partition(parsed: DeadLetterRecord, partitions: int) -> int:
    """Return the input partition for a redriven record: its original one, if that still exists.

    Otherwise the default partitioner selects it by the key; without a key, it is partition 0.
    """
    if parsed.origin.partition < partitions:
        return parsed.origin.partition
    return 0 if parsed.key is None else partition_for_key(parsed.key, partitions)
