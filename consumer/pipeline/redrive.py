"""Reads a dead letter back, and says how the record goes to its input again.

What the service added stands at the end and is taken off by its position, so headers of the same
names that a producer wrote stay where they are. Whoever forges the marks of a cut value, or the
header of a redrive, as the very last of his own headers is believed: it concerns his record alone.
"""

import re
from typing import Annotated, Final

import msgspec

from consumer.pipeline.dead_letter import (
    TRAILING_HEADERS,
    TRAILING_NAMES,
    VALUE_SHA256_HEADER,
    VALUE_SIZE_HEADER,
)
from consumer.pipeline.home import partition_for_key
from consumer.pipeline.records import PACKED_CAUSES, Header, Headers, Reason, SourceRecord
from schemas.ready_event import Origin

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


class Letter(msgspec.Struct, frozen=True):
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


def read_back(record: SourceRecord) -> Letter | None:
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
    return Letter(
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


def redriven_headers(letter: Letter, dead_letter: str, at: str, by: str) -> list[Header]:
    """Return the original headers and, at the end, the one that says that and why it is back."""
    audit = Audit(letter.attempts + 1, dead_letter, at, by, letter.origin.timestamp_ms)
    return [*letter.headers, (REDRIVE_HEADER, msgspec.json.encode(audit))]


def redriven_partition(letter: Letter, partitions: int) -> int:
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
