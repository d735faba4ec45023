"""Decodes a record into a checkpoint and its canonical bytes.

The canonical form is published. It is JSON in wire spelling with sorted keys and no white space.
Metrics and optional fields that are null are absent, and a whole number is an integer where the
contract requires one.
Two records are compared in a different form; see the module `canonical`.

There are two decoders. The fast one accepts only documents of up to 4 KiB with known fields
only, in one spelling. The slow one handles all others: unknown fields, mixed spellings, `88.0`,
envelopes. If the slow one also refuses a document, it raises an error that says exactly what is
wrong. Both decoders give the same bytes and the same digest.
"""

from collections.abc import Container
from typing import Annotated, Any, Final

import msgspec

from consumer.pipeline.decode.canonical import (
    OPTIONAL_FIELDS,
    WRITTEN_FORM,
    document_digest,
    encode_sorted,
    in_snake_case,
    known_digest,
    known_form,
)
from consumer.pipeline.decode.envelope import (
    Inner,
    Layer,
    bare_text,
    open_envelope,
    open_structured,
    structured_type,
)
from consumer.pipeline.decode.json_document import invalid, malformed, parse, tombstone
from consumer.pipeline.decode.wrappings import explain_document
from consumer.pipeline.hashes import versioned_digest
from consumer.pipeline.records import (
    PACKED_CAUSES,
    Headers,
    InvalidRecord,
    PackedBatch,
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

_QUOTED_CHARS: Final = 80
# The slow decoder handles larger values, because its time for each number is bounded; see
# `json_document`. The fast decoder takes too long for many very large or very small numbers.
_FAST_BYTES: Final = 4096
_MS_PER_SECOND: Final = 1000


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """A valid checkpoint. Fields that are not in the contract are only in `canonical`."""

    id: str
    job_id: str
    checkpoint: Checkpoint
    canonical: bytes
    digest: bytes
    """Digest of the comparison form, see the module `canonical`."""
    trace: Headers = ()
    """The trace context in the envelope of the checkpoint, as headers."""


_Positive = Annotated[float, msgspec.Meta(gt=0)]
_PositiveStep = Annotated[int, msgspec.Meta(gt=0)]


class _StrictMetrics(
    Metrics, frozen=True, omit_defaults=True, gc=False, forbid_unknown_fields=True
):
    pass


class _StrictCheckpoint(
    Checkpoint, frozen=True, omit_defaults=True, kw_only=True, gc=False, forbid_unknown_fields=True
):
    metrics: _StrictMetrics


class _PositiveMetrics(_StrictMetrics, frozen=True, omit_defaults=True, gc=False):
    """Metrics above 0 only. Without a 0, their canonical bytes are also their comparison form."""

    full_valid_loss: _Positive | None = None
    full_valid_mean_token_accuracy: _Positive | None = None
    step: _PositiveStep | None = None
    train_loss: _Positive | None = None
    train_mean_token_accuracy: _Positive | None = None
    valid_loss: _Positive | None = None
    valid_mean_token_accuracy: _Positive | None = None


class _PositiveCheckpoint(
    Checkpoint, frozen=True, omit_defaults=True, kw_only=True, gc=False, forbid_unknown_fields=True
):
    metrics: _PositiveMetrics


class _StrictSdkMetrics(
    SdkMetrics, frozen=True, omit_defaults=True, gc=False, forbid_unknown_fields=True
):
    pass


class _StrictSdkCheckpoint(
    SdkCheckpoint,
    frozen=True,
    omit_defaults=True,
    kw_only=True,
    gc=False,
    forbid_unknown_fields=True,
):
    metrics: _StrictSdkMetrics


def _wire_names(wire: type[msgspec.Struct], sdk: type[msgspec.Struct]) -> dict[str, str]:
    names = dict(zip(sdk.__struct_encode_fields__, wire.__struct_encode_fields__, strict=True))
    return names | {name: name for name in wire.__struct_encode_fields__}


_CHECKPOINT_NAMES: Final = _wire_names(Checkpoint, SdkCheckpoint)
_METRIC_NAMES: Final = _wire_names(Metrics, SdkMetrics)
_OPTIONAL_NAMES: Final = frozenset(
    name for name, wire_name in _CHECKPOINT_NAMES.items() if wire_name in OPTIONAL_FIELDS
)
_INTEGERS: Final = frozenset({"created_at", "expires_at", "step_number", "step"})

_NO_LAYERS: Final = frozenset[Layer]()

_decode_positive = msgspec.json.Decoder(_PositiveCheckpoint).decode
_decode_wire = msgspec.json.Decoder(_StrictCheckpoint).decode
_decode_sdk = msgspec.json.Decoder(_StrictSdkCheckpoint).decode
_encode = msgspec.json.Encoder().encode


def decode_usual(value: bytes | None, headers: Headers = ()) -> Checkpoint | None:
    """Return the checkpoint of a usual record; None for any other record.

    A usual value is JSON of at most 4 KiB in wire spelling, with known fields only and without an
    envelope. Each of its metrics is above 0, null or absent. `decode_unusual` decodes or
    refuses other records. `complete` adds the canonical bytes and their digest. A shard that only
    forwards the record does not need them.

    Raises:
        InvalidRecord: the headers name a version of CloudEvents other than 1.0.
    """
    if not value or len(value) > _FAST_BYTES:
        return None
    if headers and structured_type(headers) is not None:
        return None
    try:
        checkpoint: Checkpoint = _decode_positive(value)
    except (ValueError, RecursionError):
        return None
    return checkpoint


def complete(checkpoint: Checkpoint) -> Decoded:
    """Return a checkpoint of `decode_usual` with its canonical bytes and their digest."""
    canonical = _encode(checkpoint)
    return Decoded(
        checkpoint.id,
        checkpoint.fine_tuning_job_id,
        checkpoint,
        canonical,
        versioned_digest(WRITTEN_FORM, canonical),
    )


def decode_unusual(value: bytes | None, headers: Headers = ()) -> Decoded:
    """Return the checkpoint of a record that `decode_usual` refused.

    Raises:
        InvalidRecord: the value is not a valid checkpoint.
    """
    if not value:
        raise tombstone() if value is None else malformed("the record has no value")
    if headers and (content_type := structured_type(headers)) is not None:
        return _decode_inner(open_structured(bare_text(value), content_type))
    return _decode_bare(value)


def decode(value: bytes | None, headers: Headers = ()) -> Decoded:
    """Return the checkpoint of a record.

    Raises:
        InvalidRecord: the value is not a valid checkpoint.
    """
    usual = decode_usual(value, headers)
    return decode_unusual(value, headers) if usual is None else complete(usual)


def _decode_bare(value: bytes) -> Decoded:
    if isinstance(value, PackedBatch):
        cause = PACKED_CAUSES[value.reason]
        raise InvalidRecord(value.reason, value.note, Stage.VALUE_CONVERTER, cause)
    return _decode_inner(Inner(bare_text(value)))


def _decode_inner(inner: Inner) -> Decoded:
    """Return the checkpoint of a JSON text, which may itself be an envelope."""
    decoded = _decode_known(inner.text)
    if decoded is None:
        decoded = _decode_slowly(inner.text, inner.opened)
    if inner.trace:
        return msgspec.structs.replace(decoded, trace=inner.trace)
    return decoded


def _decode_known(text: bytes) -> Decoded | None:
    """Return the checkpoint of a text that the fast decoder accepts, else None."""
    if len(text) > _FAST_BYTES:
        return None
    checkpoint: Checkpoint
    try:
        if b'"createdAt"' in text:
            checkpoint = _in_wire_spelling(_decode_sdk(text))
        else:
            checkpoint = _decode_wire(text)
    except (ValueError, RecursionError):
        return None
    if type(checkpoint.metrics.step) is float:
        return None
    return _decoded(checkpoint)


def _decoded(checkpoint: Checkpoint) -> Decoded:
    canonical = _encode(checkpoint)
    return Decoded(
        checkpoint.id,
        checkpoint.fine_tuning_job_id,
        checkpoint,
        canonical,
        known_digest(known_form(checkpoint, canonical)),
    )


def _in_wire_spelling(sdk: SdkCheckpoint) -> Checkpoint:
    metrics = sdk.metrics
    return Checkpoint(
        base_model=sdk.base_model,
        created_at=sdk.created_at,
        expires_at=sdk.expires_at,
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
        provider=sdk.provider,
        step_number=sdk.step_number,
        uri=sdk.uri,
    )


def _decode_slowly(text: bytes, opened: frozenset[Layer] = _NO_LAYERS) -> Decoded:
    document = parse(text)
    if isinstance(document, dict):
        inner = open_envelope(text, document, opened)
        if inner is not None:
            return _decode_inner(inner)
    try:
        return _decode_document(document, text.count(b":"))
    except InvalidRecord as error:
        explained = explain_document(document, in_connect=Layer.CONNECT in opened)
        if explained is None:
            raise
        message = f"{explained}; {error.message}"
        raise InvalidRecord(error.reason, message, error.stage, error.cause) from None


def _decode_document(document: object, most_members: int) -> Decoded:
    if not isinstance(document, dict):
        raise invalid(f"a checkpoint must be a JSON object, not a {type(document).__name__}")
    _check_object(document)
    fields = _without_nulls(document, _OPTIONAL_NAMES)
    known, unknown = _split_fields(fields, _CHECKPOINT_NAMES)
    if "metrics" in known and known["metrics"] is None:  # from servers without metrics
        known["metrics"] = {}
    metrics = known.get("metrics")
    unknown_metrics: dict[str, Any] = {}
    if isinstance(metrics, dict):
        measured = _without_nulls(metrics, _METRIC_NAMES)
        known["metrics"], unknown_metrics = _split_fields(measured, _METRIC_NAMES)
    for name in ("created_at", "expires_at"):
        _check_seconds(name, known.get(name))
    try:
        checkpoint = msgspec.convert(known, Checkpoint)
    except msgspec.ValidationError as error:
        raise invalid(str(error)) from None
    if not (unknown or unknown_metrics):
        return _decoded(checkpoint)
    published = msgspec.to_builtins(checkpoint)
    published["metrics"].update(in_snake_case(unknown_metrics))
    published.update(in_snake_case(unknown))
    canonical = encode_sorted(published, most_members)
    return Decoded(
        checkpoint.id,
        checkpoint.fine_tuning_job_id,
        checkpoint,
        canonical,
        document_digest(published, canonical),
    )


def _check_object(document: dict[str, Any]) -> None:
    name = document.get("object")
    if isinstance(name, str) and name != CHECKPOINT_OBJECT:
        message = f"object is {name[:_QUOTED_CHARS]!r}, expected {CHECKPOINT_OBJECT!r}"
        raise InvalidRecord(
            Reason.WRONG_OBJECT_TYPE, message, Stage.VALUE_CONVERTER, "ValidationError"
        )


def _check_seconds(name: str, seconds: object) -> None:
    if not isinstance(seconds, int) or FIRST_UNIX_SECOND <= seconds <= LAST_UNIX_SECOND:
        return
    message = f"{name} is not in the years 1 to 9999"
    if 0 < seconds <= LAST_UNIX_SECOND * _MS_PER_SECOND:
        message += "; it looks like milliseconds, but must be seconds"
    raise invalid(message)


def _without_nulls(members: dict[str, Any], optional: Container[str]) -> dict[str, Any]:
    """Return the members without those that are null and have an optional name."""
    return {
        name: item for name, item in members.items() if item is not None or name not in optional
    }


def _split_fields(
    document: dict[str, Any], wire_names: dict[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the known fields, in wire spelling with whole numbers as integers, and the others."""
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
            raise invalid(f"{wire_name} is present in both spellings, with different values")
        known[wire_name] = item
    return known, unknown


def _is_same(one: object, other: object) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)
