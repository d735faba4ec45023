"""Decodes a record into a checkpoint and its canonical bytes.

The canonical form is JSON in wire spelling with sorted keys and no white space, in which a metric
that is null is absent and a whole number is an integer where the contract asks for one. It is what
is digested (so that spelling, order and white space make no difference) and what is published.

Two ways lead to it. The fast one takes a document that has exactly the known fields, in one
spelling. Whatever it refuses goes the slow way, which accepts the rest (unknown fields, mixed
spellings, `88.0`) and otherwise says exactly what is wrong. Both give the same bytes.
"""

from hashlib import blake2b
from typing import Any, Final

import msgspec

from consumer.pipeline.envelope import is_envelope, unwrap
from consumer.pipeline.json_document import invalid, malformed, parse
from consumer.pipeline.records import (
    PACKED_CAUSES,
    Headers,
    PackedBatch,
    PoisonRecord,
    Reason,
    Stage,
)
from schemas.checkpoint import (
    CHECKPOINT_OBJECT,
    FIRST_UNIX_SECOND,
    LAST_UNIX_SECOND,
    Checkpoint,
    Metrics,
    SdkCheckpoint,
    SdkMetrics,
)

DIGEST_BYTES: Final = 16
_QUOTED_CHARS: Final = 80
# Larger ones take the slow way: there, no number costs more than its length (`json_document`).
_FAST_BYTES: Final = 4096
_MS_PER_SECOND: Final = 1000


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """A checkpoint that can be published. Fields the contract does not know are in `canonical`."""

    id: str
    job_id: str
    checkpoint: Checkpoint
    canonical: bytes
    digest: bytes


class _StrictMetrics(
    Metrics, frozen=True, omit_defaults=True, gc=False, forbid_unknown_fields=True
):
    pass


class _StrictCheckpoint(Checkpoint, frozen=True, gc=False, forbid_unknown_fields=True):
    metrics: _StrictMetrics


class _StrictSdkMetrics(
    SdkMetrics, frozen=True, omit_defaults=True, gc=False, forbid_unknown_fields=True
):
    pass


class _StrictSdkCheckpoint(SdkCheckpoint, frozen=True, gc=False, forbid_unknown_fields=True):
    metrics: _StrictSdkMetrics


def _wire_names(wire: type[msgspec.Struct], sdk: type[msgspec.Struct]) -> dict[str, str]:
    names = dict(zip(sdk.__struct_encode_fields__, wire.__struct_encode_fields__, strict=True))
    return names | {name: name for name in wire.__struct_encode_fields__}


_CHECKPOINT_NAMES: Final = _wire_names(Checkpoint, SdkCheckpoint)
_METRIC_NAMES: Final = _wire_names(Metrics, SdkMetrics)
_INTEGERS: Final = frozenset({"created_at", "step_number", "step"})

# A copy of a fresh hasher costs 0.4 µs less than a new one with its keyword argument.
_new_hasher = blake2b(digest_size=DIGEST_BYTES).copy
_decode_wire = msgspec.json.Decoder(_StrictCheckpoint).decode
_decode_sdk = msgspec.json.Decoder(_StrictSdkCheckpoint).decode
_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def decode(value: bytes | None, headers: Headers = ()) -> Decoded:
    """Return the checkpoint of a record's value, or raise the poison that it is."""
    payload = unwrap(value, headers) if headers else value
    if not payload:
        raise malformed("the record has no value")
    if len(payload) > _FAST_BYTES:
        return _decode_other_spelling(payload)
    try:
        checkpoint: Checkpoint = _decode_wire(payload)
    except (ValueError, RecursionError):
        return _decode_other_spelling(payload)
    if type(checkpoint.metrics.step) is float:
        return _decode_slowly(payload)
    return _decoded(checkpoint, _encode(checkpoint))


def _decoded(checkpoint: Checkpoint, canonical: bytes) -> Decoded:
    hasher = _new_hasher()
    hasher.update(canonical)
    return Decoded(
        checkpoint.id, checkpoint.fine_tuning_job_id, checkpoint, canonical, hasher.digest()
    )


def _decode_other_spelling(payload: bytes) -> Decoded:
    if isinstance(payload, PackedBatch):
        cause = PACKED_CAUSES[payload.reason]
        raise PoisonRecord(payload.reason, payload.note, Stage.VALUE_CONVERTER, cause)
    if len(payload) > _FAST_BYTES or b'"createdAt"' not in payload:
        return _decode_slowly(payload)
    try:
        sdk = _decode_sdk(payload)
    except (ValueError, RecursionError):
        return _decode_slowly(payload)
    if type(sdk.metrics.step) is float:
        return _decode_slowly(payload)
    metrics = sdk.metrics
    checkpoint = Checkpoint(
        created_at=sdk.created_at,
        fine_tuned_model_checkpoint=sdk.fine_tuned_model_checkpoint,
        fine_tuning_job_id=sdk.fine_tuning_job_id,
        id=sdk.id,
        metrics=Metrics(
            full_valid_loss=metrics.full_valid_loss,
            full_valid_mean_token_accuracy=metrics.full_valid_mean_token_accuracy,
            step=metrics.step,
            train_loss=metrics.train_loss,
            train_mean_token_accuracy=metrics.train_mean_token_accuracy,
            valid_loss=metrics.valid_loss,
            valid_mean_token_accuracy=metrics.valid_mean_token_accuracy,
        ),
        object=sdk.object,
        step_number=sdk.step_number,
    )
    return _decoded(checkpoint, _encode(checkpoint))


def _decode_slowly(payload: bytes) -> Decoded:
    document = parse(payload)
    if not isinstance(document, dict):
        raise invalid(f"a checkpoint is a JSON object, not a {type(document).__name__}")
    _check_object(document)
    known, unknown = _sort_out(document, _CHECKPOINT_NAMES)
    metrics = known.get("metrics")
    unknown_metrics: dict[str, Any] = {}
    if isinstance(metrics, dict):
        known_metrics, unknown_metrics = _sort_out(_without_nulls(metrics), _METRIC_NAMES)
        known["metrics"] = known_metrics
    _check_created_at(known.get("created_at"))
    try:
        checkpoint = msgspec.convert(known, Checkpoint)
    except msgspec.ValidationError as error:
        raise invalid(str(error)) from None
    if not (unknown or unknown_metrics):
        return _decoded(checkpoint, _encode(checkpoint))
    canonical = msgspec.to_builtins(checkpoint)
    canonical["metrics"].update(unknown_metrics)
    canonical.update(unknown)
    return _decoded(checkpoint, _encode_sorted(canonical))


def _check_object(document: dict[str, Any]) -> None:
    name = document.get("object")
    if isinstance(name, str) and name != CHECKPOINT_OBJECT:
        message = f"object is {name[:_QUOTED_CHARS]!r}, not {CHECKPOINT_OBJECT!r}"
        raise PoisonRecord(
            Reason.WRONG_OBJECT_TYPE, message, Stage.VALUE_CONVERTER, "ValidationError"
        )
    if name is None and is_envelope(document):
        message = (
            "this looks like a CloudEvents envelope, but the record has no header "
            "content-type: application/cloudevents+json"
        )
        raise invalid(message)


def _check_created_at(created_at: object) -> None:
    if not isinstance(created_at, int) or FIRST_UNIX_SECOND <= created_at <= LAST_UNIX_SECOND:
        return
    message = "created_at is not within the years 1 to 9999"
    if 0 < created_at <= LAST_UNIX_SECOND * _MS_PER_SECOND:
        message += "; it looks like milliseconds, seconds are expected"
    raise invalid(message)


def _without_nulls(metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        name: item
        for name, item in metrics.items()
        if item is not None or name not in _METRIC_NAMES
    }


def _sort_out(
    document: dict[str, Any], wire_names: dict[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the known fields in wire spelling with whole numbers as integers, and the others."""
    known: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for name, found in document.items():
        wire_name = wire_names.get(name)
        if wire_name is None:
            unknown[name] = found
            continue
        whole = wire_name in _INTEGERS and isinstance(found, float) and found.is_integer()
        item = int(found) if whole else found
        if wire_name in known and not _is_same(known[wire_name], item):
            raise invalid(f"{wire_name} is there in both spellings, with different values")
        known[wire_name] = item
    return known, unknown


def _is_same(one: object, other: object) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)
