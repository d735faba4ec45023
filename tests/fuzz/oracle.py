"""What the contract says about a record: an independent reading, to judge the service by.

Nothing of `consumer` or `schemas` is used here, and nothing that they use: it is written from the
wire contract and docs/subscribing.md alone. Slow and plain on purpose.
"""

import base64
import contextlib
import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from tests.fuzz.strict_json import Refused, read_json

FIRST_SECOND: Final = int(datetime(1, 1, 1, tzinfo=UTC).timestamp())
LAST_SECOND: Final = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_FIELDS: Final = (
    "created_at",
    "fine_tuned_model_checkpoint",
    "fine_tuning_job_id",
    "id",
    "metrics",
    "object",
    "step_number",
)
_METRICS: Final = (
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
    "step",
    "train_loss",
    "train_mean_token_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
)
_CAMEL: Final = {
    name: re.sub("_([a-z])", lambda found: found[1].upper(), name) for name in _FIELDS + _METRICS
}
_KNOWN_METRICS: Final = {*_METRICS, *map(_CAMEL.__getitem__, _METRICS)}

Headers = Sequence[tuple[str, bytes | None]]


class Content(NamedTuple):
    """A checkpoint that is to be published."""

    id: str
    job_id: str
    document: dict[str, Any]
    """The source object in wire spelling, unknown fields kept."""
    text: str
    """The same as text: equal for equal contents, whatever the spelling, order and space."""


def read(value: bytes | None, headers: Headers) -> Content | str:
    """Return the checkpoint of a record, or the reason why it is poison."""
    try:
        return _content(_unwrapped(value or b"", headers))
    except Refused as refused:
        return refused.reason


def expected_time(created_at: int) -> str:
    """Return the CloudEvents attribute `time`."""
    return (_EPOCH + timedelta(seconds=created_at)).isoformat().replace("+00:00", "Z")


def expected_evaluation(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of the event, each only when it is known and finite."""
    names = [name for name in ("full_valid_loss", "valid_loss", "train_loss") if name in metrics]
    if not names:
        return {}
    loss = metrics[names[0]]
    figures: dict[str, Any] = {"loss": loss, "metric": names[0]}
    with contextlib.suppress(OverflowError):
        figures["perplexity"] = math.exp(loss)
    if names[0] != "train_loss" and "train_loss" in metrics:
        gap = loss - metrics["train_loss"]
        if math.isfinite(gap):
            figures["generalization_gap"] = gap
    return figures


def _unwrapped(value: bytes, headers: Headers) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return the JSON value that stands for the checkpoint, out of its CloudEvent if it has one."""
    last = {name.lower(): content for name, content in headers}
    media_type = (last.get("content-type") or b"").strip().lower()
    if media_type.startswith(b"application/cloudevents"):
        if media_type.split(b";")[0].rstrip(b" \t") != b"application/cloudevents+json":
            raise Refused("invalid_schema")
        return _structured(read_json(value))
    if "ce_specversion" in last and last["ce_specversion"] != b"1.0":
        raise Refused("invalid_schema")
    return read_json(value)


def _structured(event: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    if not isinstance(event, dict) or event.get("specversion") != "1.0":
        raise Refused("invalid_schema")
    if ("data" in event) == ("data_base64" in event):
        raise Refused("invalid_schema")
    if "data" in event:
        return event["data"]
    encoded = event["data_base64"]
    if not isinstance(encoded, str) or not _BASE64.fullmatch(encoded):
        raise Refused("invalid_schema")
    return read_json(base64.b64decode(encoded))


def _content(document: Any) -> Content:  # noqa: ANN401 - JSON of any shape
    if not isinstance(document, dict):
        raise Refused("invalid_schema")
    name = document.get("object")
    if isinstance(name, str) and name != "fine_tuning.job.checkpoint":
        raise Refused("wrong_object_type")
    fields = _in_wire_spelling(document, _FIELDS)
    _require(all(name in fields for name in _FIELDS))
    metrics = fields["metrics"]
    _require(isinstance(metrics, dict))
    fields["metrics"] = _metrics(metrics)
    _require(isinstance(fields["object"], str))
    _require(isinstance(fields["fine_tuned_model_checkpoint"], str))
    for name in ("id", "fine_tuning_job_id"):
        _require(isinstance(fields[name], str) and fields[name] != "")
    for name, first, last in (
        ("created_at", FIRST_SECOND, LAST_SECOND),
        ("step_number", -(2**63), 2**63 - 1),
    ):
        fields[name] = _whole(fields[name])
        _require(_is_integer(fields[name]) and first <= fields[name] <= last)
    text = json.dumps(fields, sort_keys=True)
    return Content(fields["id"], fields["fine_tuning_job_id"], fields, text)


def _metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    there = {
        name: found
        for name, found in metrics.items()
        if found is not None or name not in _KNOWN_METRICS
    }
    fields = _in_wire_spelling(there, _METRICS)
    for name in _METRICS:
        if name not in fields:
            continue
        found = fields[name]
        _require(isinstance(found, float) or _is_integer(found))
        try:
            fields[name] = _whole(found) if name == "step" else float(found)
        except OverflowError:
            raise Refused("invalid_schema") from None
    return fields


def _in_wire_spelling(document: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Rename SDK names; a field in both spellings must say the same in both."""
    fields = dict(document)
    for name in names:
        other = _CAMEL[name]
        if other == name or other not in fields:
            continue
        found = fields.pop(other)
        if name in fields:
            before = fields[name]
            _require(before == found and isinstance(before, bool) == isinstance(found, bool))
            # Of equal numbers the later one counts, as for a key that is there twice.
            if list(document).index(name) > list(document).index(other):
                found = before
        fields[name] = found
    return fields


def _whole(found: Any) -> Any:  # noqa: ANN401 - a number in JSON
    return int(found) if isinstance(found, float) and found.is_integer() else found


def _is_integer(found: object) -> bool:
    return isinstance(found, int) and not isinstance(found, bool)


def _require(is_so: bool) -> None:  # noqa: FBT001 - the one thing that it is told
    if not is_so:
        raise Refused("invalid_schema")
