"""One invalid source record for each reason of a dead letter, and what the service says of it."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from checkpoint_ready_testkit.checkpoints import FIELD_NAMES, MAX_ID_CHARS, METRIC_NAMES
from checkpoint_ready_testkit.damaged_batches import CLAIMED_BYTES, RECORDS, damaged_batch
from checkpoint_ready_testkit.json_text import JsonObject, encode, in_name_order
from checkpoint_ready_testkit.validation import MAX_DEPTH

REPARTITION_TOPIC: Final = "checkpoint-ready.repartition"

_CONVERTER: Final = "VALUE_CONVERTER"
_TRANSFORMATION: Final = "TRANSFORMATION"
_PUT: Final = "TASK_PUT"
_QUOTED_CHARS: Final = 80
_CONTENT_VERSION: Final = b"\x01"
_CONTENT_DIGEST_BYTES: Final = 15
_OTHER_LOSSES: Final = (0.5, 0.25)
_OTHER_OBJECT: Final = "fine_tuning.job.event"


class Sample(NamedTuple):
    """A source record, and the stage, error class and message in its dead letter."""

    key: bytes | None
    value: bytes | None
    stage: str
    cause: str
    message: str


def sample(
    reason: str,
    event: Mapping[str, Any],
    headers: Sequence[tuple[str, bytes | None]],
    offset: int,
    timestamp_ms: int,
) -> Sample:
    """Return the record with this reason that is made from the checkpoint of an event.

    Raises:
        ValueError: there is no such reason.
    """
    key = event["partitionkey"].encode()
    if reason == "unreadable_batch":
        return _unreadable_batch(offset, timestamp_ms)
    checkpoint = _known_fields(event["data"]["checkpoint"])
    if reason == "internal_error":
        return _foreign_forward(key, checkpoint, headers)
    make = _MAKERS.get(reason)
    if make is None:
        raise ValueError(f"{reason!r} is no reason of a dead letter")
    return Sample(key, *make(checkpoint))


def _known_fields(checkpoint: Mapping[str, Any]) -> JsonObject:
    metrics = {
        name: checkpoint["metrics"][name] for name in METRIC_NAMES if name in checkpoint["metrics"]
    }
    fields = {name: checkpoint[name] for name in FIELD_NAMES if name in checkpoint}
    return {**fields, "metrics": metrics}


_Made = tuple[bytes | None, str, str, str]


def _tombstone(_: JsonObject) -> _Made:
    message = "the value is null (a tombstone): it holds no checkpoint, and nothing is deleted"
    return None, _CONVERTER, "Tombstone", message


def _malformed_json(checkpoint: JsonObject) -> _Made:
    message = (
        "the JSON text is cut off: check for a length limit in the producer, or in a field that it "
        "reads from; Input data was truncated"
    )
    return encode(checkpoint)[:-1], _CONVERTER, "DecodeError", message


def _invalid_schema(checkpoint: JsonObject) -> _Made:
    missing = "fine_tuning_job_id"
    others = {name: value for name, value in checkpoint.items() if name != missing}
    message = f"Object missing required field `{missing}`"
    return encode(others), _CONVERTER, "ValidationError", message


def _wrong_object_type(checkpoint: JsonObject) -> _Made:
    message = f"object is {_OTHER_OBJECT!r}, expected {checkpoint['object']!r}"
    value = encode({**checkpoint, "object": _OTHER_OBJECT})
    return value, _CONVERTER, "ValidationError", message


def _too_deep(checkpoint: JsonObject) -> _Made:
    history: list[Any] = []
    for _ in range(MAX_DEPTH - 1):
        history = [history]
    message = f"the document is nested deeper than {MAX_DEPTH} levels"
    return encode({**checkpoint, "history": history}), _CONVERTER, "RecursionError", message


def _too_large(checkpoint: JsonObject) -> _Made:
    chars = MAX_ID_CHARS + 1
    message = f"the id has {chars} characters, the limit is {MAX_ID_CHARS}"
    return encode({**checkpoint, "id": "x" * chars}), _PUT, "RecordTooLarge", message


def _conflicting_duplicate(checkpoint: JsonObject) -> _Made:
    metrics = checkpoint["metrics"]
    loss = next(one for one in _OTHER_LOSSES if one != metrics.get("train_loss"))
    other = {**checkpoint, "metrics": in_name_order({**metrics, "train_loss": loss})}
    message = (
        f"id {checkpoint['id'][:_QUOTED_CHARS]!r} was published with other content: published "
        f"digest {_content_digest(checkpoint)}, digest of this record {_content_digest(other)}"
    )
    return encode(other), _TRANSFORMATION, "ConflictingDuplicate", message


_MAKERS: Final[dict[str, Callable[[JsonObject], _Made]]] = {
    "tombstone": _tombstone,
    "malformed_json": _malformed_json,
    "invalid_schema": _invalid_schema,
    "wrong_object_type": _wrong_object_type,
    "too_deep": _too_deep,
    "too_large": _too_large,
    "conflicting_duplicate": _conflicting_duplicate,
}


def _unreadable_batch(offset: int, timestamp_ms: int) -> Sample:
    if offset < RECORDS - 1:
        raise ValueError(f"offset must be at least {RECORDS - 1}: the batch has {RECORDS} records")
    message = (
        f"offsets {offset - RECORDS + 1} to {offset} of a batch of {RECORDS} records cannot "
        f"be read (a record of {CLAIMED_BYTES} bytes is longer than the batch); the value is the "
        "batch as it is in the log"
    )
    value = damaged_batch(offset, timestamp_ms)
    return Sample(None, value, _CONVERTER, "RecordBatchUnreadable", message)


def _foreign_forward(
    key: bytes, checkpoint: JsonObject, headers: Sequence[tuple[str, bytes | None]]
) -> Sample:
    """Return a record that another program wrote to the service's repartition topic."""
    detail = (
        "its last header is not a valid checkpoint-ready.origin" if headers else "it has no headers"
    )
    message = f"a record in the repartition topic was not written by this service: {detail}"
    return Sample(key, encode(checkpoint), _TRANSFORMATION, "InvalidRecord", message)


def _content_digest(checkpoint: Mapping[str, Any]) -> str:
    """Return the digest by which the service compares contents. A metric of 0 counts as absent."""
    metrics = {name: value for name, value in checkpoint["metrics"].items() if value}
    content = encode({**checkpoint, "metrics": metrics})
    digest = blake2b(content, digest_size=_CONTENT_DIGEST_BYTES).digest()
    return (_CONTENT_VERSION + digest).hex()
