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
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple

from tests.fuzz.strict_json import Refused, read_json

FIRST_SECOND: Final = int(datetime(1, 1, 1, tzinfo=UTC).timestamp())
LAST_SECOND: Final = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_MARK: Final = b"\xef\xbb\xbf"
_WORD: Final = re.compile(r"[a-z][a-z0-9]*|[A-Z][a-z0-9]+|[A-Z]\Z")
_FIELDS: Final = (
    "created_at",
    "fine_tuned_model_checkpoint",
    "fine_tuning_job_id",
    "id",
    "metrics",
    "object",
    "step_number",
)
_OPTIONAL: Final = ("base_model", "expires_at", "provider", "uri")
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
    name: re.sub("_([a-z])", lambda found: found[1].upper(), name)
    for name in _FIELDS + _OPTIONAL + _METRICS
}
_KNOWN_OPTIONAL: Final = {*_OPTIONAL, *map(_CAMEL.__getitem__, _OPTIONAL)}
_KNOWN_METRICS: Final = {*_METRICS, *map(_CAMEL.__getitem__, _METRICS)}

Header = tuple[str, bytes | None]
Headers = Sequence[Header]


class Content(NamedTuple):
    """A checkpoint that is to be published."""

    id: str
    job_id: str
    document: dict[str, Any]
    """The source object in wire spelling, unknown fields kept."""
    text: str
    """The same as text: what is published."""
    same: str
    """Equal for equal contents, whatever the spelling, order and space."""
    trace: list[Header]
    """The headers of the trace context that the event carries."""


def read(value: bytes | None, headers: Headers) -> Content | str:
    """Return the checkpoint of a record, or the reason why it is poison."""
    if value is None:
        return "tombstone"
    if not value:
        return "malformed_json"
    try:
        document, attributes = _unwrapped(value, headers)
        return _content(document, expected_trace(headers, attributes))
    except Refused as refused:
        return refused.reason


def expected_trace(headers: Headers, attributes: Headers) -> list[Header]:
    """Return the trace context of the event: of the first place that has a traceparent."""
    names = ("traceparent", "tracestate")
    own = [header for header in headers if header[0] in names and header[1] is not None]
    binary: list[Header] = [
        (name.lower().removeprefix("ce_"), found)
        for name, found in headers
        if name.lower() in {"ce_traceparent", "ce_tracestate"} and found is not None
    ]
    for place in (own, binary, list(attributes)):
        if "traceparent" in dict(place):
            return place
    return own


def expected_time(created_at: int) -> str:
    """Return the CloudEvents attribute `time`."""
    return (_EPOCH + timedelta(seconds=created_at)).isoformat().replace("+00:00", "Z")


def expected_evaluation(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of the event, each only when it is known and finite."""
    losses = {
        "full_valid_loss": "full_valid_mean_token_accuracy",
        "valid_loss": "valid_mean_token_accuracy",
        "train_loss": "train_mean_token_accuracy",
    }
    # A loss of 0 beside an accuracy of 0 was not measured.
    names = [
        loss
        for loss, accuracy in losses.items()
        if loss in metrics and not (metrics[loss] == 0 == metrics.get(accuracy))
    ]
    if not names:
        return {}
    loss = metrics[names[0]]
    figures: dict[str, Any] = {"loss": loss, "metric": names[0]}
    with contextlib.suppress(OverflowError):
        figures["perplexity"] = math.exp(loss)
    if names[0] != "train_loss" and "train_loss" in names:
        gap = loss - metrics["train_loss"]
        if math.isfinite(gap):
            figures["generalization_gap"] = gap
    return figures


def _unwrapped(value: bytes, headers: Headers) -> tuple[Any, Headers]:
    """Return the JSON value that stands for the checkpoint, and the trace of its envelope."""
    last = {name.lower(): content for name, content in headers}
    media_type = last.get("content-type")
    if media_type is None:
        media_type = last.get("contenttype") or b""
    media_type = media_type.strip().lower()
    if media_type.startswith(b'"') and media_type.endswith(b'"'):
        media_type = media_type[1:-1].strip()
    if media_type.startswith(b"application/cloudevents"):
        if not _is_event_json(media_type):
            raise Refused("invalid_schema")
        event = read_json(_without_prefix(value))
        return _peeled(_structured(event), {"event"}, _trace_of(event))
    if "ce_specversion" in last and last["ce_specversion"] not in {b"1.0", b'"1.0"'}:
        raise Refused("invalid_schema")
    return _peeled(read_json(_without_prefix(value)), set(), ())


def _is_event_json(media_type: bytes) -> bool:
    return media_type.split(b";")[0].rstrip(b" \t") == b"application/cloudevents+json"


def _without_prefix(value: bytes) -> bytes:
    """Take off a schema registry's prefix before an object, then a byte-order mark."""
    for magic, size in ((0, 5), (0, 9), (1, 17)):
        rest = value[size:].removeprefix(_MARK).lstrip(b" \t\r\n")
        if value[:1] == bytes([magic]) and rest.startswith(b"{"):
            return value[size:].removeprefix(_MARK)
    return value.removeprefix(_MARK)


def _peeled(document: Any, taken: set[str], trace: Headers) -> tuple[Any, Headers]:  # noqa: ANN401 - JSON of any shape
    """Take off envelopes that are known by their members, each kind once."""
    while isinstance(document, dict) and document.get("object") is None:
        is_event = "specversion" in document and {"data", "data_base64"} & set(document)
        if is_event and "event" not in taken:
            taken, trace = taken | {"event"}, _trace_of(document)
            document = _structured(document)
        elif set(document) == {"schema", "payload"} and "connect" not in taken:
            taken, document = taken | {"connect"}, document["payload"]
            if isinstance(document, str):
                document = read_json(document.encode().removeprefix(_MARK))
            elif not isinstance(document, dict):
                raise Refused("invalid_schema")
        else:
            break
    return document, trace


def _trace_of(event: Any) -> list[Header]:  # noqa: ANN401 - JSON of any shape
    found = [(name, event.get(name)) for name in ("traceparent", "tracestate")]
    texts: list[Header] = [(name, text.encode()) for name, text in found if isinstance(text, str)]
    return texts if texts and texts[0][0] == "traceparent" else []


def _structured(event: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    if not isinstance(event, dict) or event.get("specversion") != "1.0":
        raise Refused("invalid_schema")
    if ("data" in event) == ("data_base64" in event):
        raise Refused("invalid_schema")
    if "data" in event:
        data = event["data"]
        text = data.encode().removeprefix(_MARK) if isinstance(data, str) else b""
        return read_json(text) if text.lstrip(b" \t\r\n").startswith(b"{") else data
    encoded = event["data_base64"]
    if not isinstance(encoded, str) or not _BASE64.fullmatch(encoded):
        raise Refused("invalid_schema")
    return read_json(base64.b64decode(encoded).removeprefix(_MARK))


def _content(document: Any, trace: list[Header]) -> Content:  # noqa: ANN401 - JSON of any shape
    if not isinstance(document, dict):
        raise Refused("invalid_schema")
    name = document.get("object")
    if isinstance(name, str) and name != "fine_tuning.job.checkpoint":
        raise Refused("wrong_object_type")
    there = {
        name: found
        for name, found in document.items()
        if found is not None or name not in _KNOWN_OPTIONAL
    }
    fields = _in_wire_spelling(there, _FIELDS + _OPTIONAL)
    _require(all(name in fields for name in _FIELDS))
    metrics = {} if fields["metrics"] is None else fields["metrics"]
    _require(isinstance(metrics, dict))
    fields["metrics"] = _metrics(metrics)
    _require(isinstance(fields["object"], str))
    _require(isinstance(fields["fine_tuned_model_checkpoint"], str))
    texts = [name for name in ("base_model", "provider", "uri") if name in fields]
    for name in ("id", "fine_tuning_job_id", *texts):
        _require(isinstance(fields[name], str) and fields[name] != "")
    for name, first, last in (
        ("created_at", FIRST_SECOND, LAST_SECOND),
        ("expires_at", FIRST_SECOND, LAST_SECOND),
        ("step_number", -(2**63), 2**63 - 1),
    ):
        if name not in fields:
            continue
        fields[name] = _whole(fields[name])
        _require(_is_integer(fields[name]) and first <= fields[name] <= last)
    fields["metrics"] = _renamed(fields["metrics"])
    fields = _renamed(fields)
    text = json.dumps(fields, sort_keys=True)
    return Content(fields["id"], fields["fine_tuning_job_id"], fields, text, _same(fields), trace)


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


def _renamed(members: dict[str, Any]) -> dict[str, Any]:
    """Rename unknown SDK names too, unless the other spelling is there as well."""
    return {
        name if _snake(name) in members else _snake(name): found for name, found in members.items()
    }


def _snake(name: str) -> str:
    """Return the snake_case name that an SDK's camelCase name stands for; others as they are."""
    words = _WORD.findall(name)
    if "".join(words) != name or not name[:1].islower():
        return name
    return "_".join(words).lower()


def _same(fields: dict[str, Any]) -> str:
    """Return a text in which no spelling is left: numbers exact, no nulls, no zero metrics."""
    metrics = fields["metrics"].items()
    measured = {name: found for name, found in metrics if name not in _METRICS or found != 0}
    return json.dumps(_plain(fields | {"metrics": measured}), sort_keys=True)


def _plain(found: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    if isinstance(found, dict):
        there = {name: item for name, item in found.items() if item is not None}
        return {name: _plain(item) for name, item in _renamed(there).items()}
    if isinstance(found, list):
        return [_plain(item) for item in found]
    if isinstance(found, bool) or not isinstance(found, int | float):
        return found
    return _exact(str(found))


@lru_cache(maxsize=4096)
def _exact(number: str) -> dict[str, Any]:
    """Return a number's digits and power of ten, from its shortest text."""
    sign, digits, power = Decimal(number).as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    kept = text.rstrip("0")
    exponent = int(power) + len(text) - len(kept) if kept else 0
    return {"": [sign if kept else 0, kept, exponent]}


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
