"""Builders of dead letters: records of the input that could not be published.

A dead letter has the key, the value and the headers of its source record, and after them the
headers of the service. `REASONS` has every reason.
"""

import hashlib
from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import Any, Final, Literal, get_args

from checkpoint_ready_testkit.dead_letter_samples import REPARTITION_TOPIC, sample
from checkpoint_ready_testkit.kafka_records import KafkaRecord
from checkpoint_ready_testkit.ready_events import INPUT_TOPIC, ready_event
from checkpoint_ready_testkit.validation import require_origin

Reason = Literal[
    "tombstone",
    "malformed_json",
    "invalid_schema",
    "wrong_object_type",
    "too_deep",
    "too_large",
    "unreadable_batch",
    "conflicting_duplicate",
    "internal_error",
]

REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
TRAILING_NAMES: Final = (
    "__connect.errors.topic",
    "__connect.errors.partition",
    "__connect.errors.offset",
    "__connect.errors.stage",
    "__connect.errors.exception.class.name",
    "__connect.errors.exception.message",
    "checkpoint-ready.reason",
    "checkpoint-ready.timestamp",
)
"""The names of the headers at the end of every dead letter, in their order."""
SHA256_HEADER: Final = "checkpoint-ready.value.sha256"
SIZE_HEADER: Final = "checkpoint-ready.value.size"
MESSAGE_CHARS: Final = 500


def dead_letter(  # noqa: PLR0913 - one parameter for each part of the record
    reason: Reason,
    *,
    event: Mapping[str, Any] | None = None,
    key: bytes | EllipsisType | None = ...,
    value: bytes | EllipsisType | None = ...,
    headers: Sequence[tuple[str, bytes | None]] = (),
    topic: str | None = None,
    partition: int = 0,
    offset: int = 4712,
    timestamp_ms: int = 1_721_764_930_456,
    message: str | None = None,
    kept_bytes: int | None = None,
) -> KafkaRecord:
    """Return the dead letter of an invalid record.

    By default the record is made from the checkpoint of a ready event, with one change that causes
    the reason. Then the dead letter is exactly the one that the service writes. If `value` is
    given, the message still describes the default value, unless `message` is given too.

    Args:
        reason: why the service did not publish the record.
        event: the ready event of the checkpoint, by default `ready_event()`. Unknown fields of its
            checkpoint are left out.
        key: the producer's key, by default the id of the job (none for ``unreadable_batch``).
        value: the producer's value.
        headers: the producer's own headers.
        topic: the topic of the source record, by default the input topic. An ``internal_error`` has
            the repartition topic, which only the service itself may write.
        partition: the partition of the source record.
        offset: the offset of the source record.
        timestamp_ms: the timestamp of the source record in milliseconds, or -1 for none.
        message: what was wrong, at most 500 characters.
        kept_bytes: if given, the value is cut to this length, because the topic did not accept the
            whole record. Two more headers then describe the whole value.

    Raises:
        ValueError: `kept_bytes` is negative, or the value is not longer. Or there is no such
            reason, or no record can have this topic, partition, offset or timestamp.
    """
    require_origin(INPUT_TOPIC if topic is None else topic, partition, offset, timestamp_ms)
    source = sample(reason, event or ready_event(), headers, offset, timestamp_ms)
    key_bytes = source.key if key is ... else key
    value_bytes = source.value if value is ... else value
    if topic is None:
        topic = REPARTITION_TOPIC if reason == "internal_error" else INPUT_TOPIC
    all_headers = list(headers)
    if kept_bytes is not None:
        if value_bytes is None or not 0 <= kept_bytes < len(value_bytes):
            raise ValueError("kept_bytes must be from 0 to the length of the value, less 1")
        all_headers += _whole_value_headers(value_bytes)
        value_bytes = value_bytes[:kept_bytes]
    texts = (
        topic,
        str(partition),
        str(offset),
        source.stage,
        source.cause,
        (source.message if message is None else message)[:MESSAGE_CHARS],
        reason,
        str(timestamp_ms),
    )
    encoded = (text.encode("utf-8", "backslashreplace") for text in texts)
    all_headers += zip(TRAILING_NAMES, encoded, strict=True)
    return KafkaRecord(key_bytes, value_bytes, all_headers)


def _whole_value_headers(value: bytes) -> list[tuple[str, bytes | None]]:
    return [
        (SHA256_HEADER, hashlib.sha256(value).hexdigest().encode()),
        (SIZE_HEADER, str(len(value)).encode()),
    ]
