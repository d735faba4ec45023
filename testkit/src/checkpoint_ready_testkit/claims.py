"""What every ready event and every dead letter has, as assertions for the tests of subscribers.

Each function reports all violations at once, in plain words. Unknown members are accepted at each
level, because a later minor version may add some.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeGuard
from urllib.parse import unquote

from checkpoint_ready_testkit.checkpoints import (
    CHECKPOINT_OBJECT,
    FIRST_UNIX_SECOND,
    LAST_UNIX_SECOND,
    METRIC_NAMES,
    STEP_BITS,
)
from checkpoint_ready_testkit.dead_letters import REASONS, TRAILING_NAMES
from checkpoint_ready_testkit.json_text import JsonObject
from checkpoint_ready_testkit.kafka_records import (
    BINARY_CONTENT_TYPE,
    STRUCTURED_CONTENT_TYPE,
    KafkaRecord,
    event_of,
)
from checkpoint_ready_testkit.ready_events import (
    DATA_CONTENT_TYPE,
    READY_TYPE,
    SPEC_VERSION,
    rfc3339,
)
from checkpoint_ready_testkit.validation import is_absolute_uri

Check = Callable[[object], bool]

_SOURCE_PREFIX: Final = "/fine_tuning/jobs/"
_LOSSES: Final = ("full_valid_loss", "valid_loss", "train_loss")
_STAGES: Final = ("VALUE_CONVERTER", "TRANSFORMATION", "TASK_PUT")
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_step(value: object) -> bool:
    return _is_integer(value) and -(2**STEP_BITS) <= value < 2**STEP_BITS


def _is_time(value: object) -> bool:
    return _is_integer(value) and FIRST_UNIX_SECOND <= value <= LAST_UNIX_SECOND


def _is_number(value: object) -> bool:
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def _is_boolean(value: object) -> bool:
    return isinstance(value, bool)


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _one_of(*values: object) -> Check:
    return lambda value: value in values


_ATTRIBUTES: Final[Mapping[str, tuple[Check, str]]] = {
    "specversion": (_one_of(SPEC_VERSION), f"must be {SPEC_VERSION!r}"),
    "id": (_is_name, "must be a text with at least one character"),
    "source": (_is_name, "must be a text with at least one character"),
    "type": (_one_of(READY_TYPE), f"must be {READY_TYPE!r}"),
    "subject": (_is_name, "must be a text with at least one character"),
    "time": (_is_name, "must be a time in RFC 3339"),
    "datacontenttype": (_one_of(DATA_CONTENT_TYPE), f"must be {DATA_CONTENT_TYPE!r}"),
    "dataschema": (is_absolute_uri, "must be an absolute URI"),
    "partitionkey": (_is_name, "must be a text with at least one character"),
}
_CHECKPOINT: Final[Mapping[str, tuple[Check, str]]] = {
    "created_at": (_is_time, "must be seconds in the years 1 to 9999"),
    "fine_tuned_model_checkpoint": (_is_text, "must be a text"),
    "fine_tuning_job_id": (_is_name, "must be a text with at least one character"),
    "id": (_is_name, "must be a text with at least one character"),
    "object": (_one_of(CHECKPOINT_OBJECT), f"must be {CHECKPOINT_OBJECT!r}"),
    "step_number": (_is_step, "must be an integer of 64 bits"),
}
_CHECKPOINT_OPTIONAL: Final[Mapping[str, tuple[Check, str]]] = {
    "base_model": (_is_name, "must be a text with at least one character"),
    "expires_at": (_is_time, "must be seconds in the years 1 to 9999"),
    "provider": (_is_name, "must be a text with at least one character"),
    "uri": (_is_name, "must be a text with at least one character"),
}
_MODEL: Final[Mapping[str, tuple[Check, str]]] = {
    "provider": (_is_name, "must be a text with at least one character"),
    "base_model": (_or_null(_is_text), "must be a text or null"),
    "organization": (_or_null(_is_text), "must be a text or null"),
    "suffix": (_or_null(_is_text), "must be a text or null"),
    "step": (_or_null(_is_integer), "must be an integer or null"),
    "is_final": (_is_boolean, "must be true or false"),
}
_EVALUATION: Final[Mapping[str, tuple[Check, str]]] = {
    "loss": (_is_number, "must be a number"),
    "metric": (_one_of(*_LOSSES), f"must be one of {', '.join(_LOSSES)}"),
    "perplexity": (_is_number, "must be a number"),
    "generalization_gap": (_is_number, "must be a number"),
}
_METRICS: Final = dict.fromkeys(METRIC_NAMES, (_is_number, "must be a number"))
_ORIGIN: Final[Mapping[str, tuple[Check, str]]] = {
    "topic": (_is_name, "must be a text with at least one character"),
    "partition": (_is_integer, "must be an integer"),
    "offset": (_is_integer, "must be an integer"),
    "timestamp_ms": (_is_integer, "must be an integer"),
}


def assert_ready_event(event: object) -> None:
    """Check that a value is a ready event.

    Raises:
        AssertionError: it is not. The message lists every violation.
    """
    problems: list[str] = []
    members = _object(event, "the event", problems)
    _check(members, _ATTRIBUTES, "", problems)
    if "replayid" in members and not _is_name(members["replayid"]):
        problems.append("replayid must be a text with at least one character")
    data = _object(members.get("data"), "data", problems)
    checkpoint = _object(data.get("checkpoint"), "data.checkpoint", problems)
    _check(checkpoint, _CHECKPOINT, "data.checkpoint.", problems)
    _check(checkpoint, _CHECKPOINT_OPTIONAL, "data.checkpoint.", problems, optional=True)
    metrics = _object(checkpoint.get("metrics"), "data.checkpoint.metrics", problems)
    _check(metrics, _METRICS, "data.checkpoint.metrics.", problems, optional=True)
    for name, checks in (("model", _MODEL), ("origin", _ORIGIN)):
        _check(_object(data.get(name), f"data.{name}", problems), checks, f"data.{name}.", problems)
    evaluation = _object(data.get("evaluation"), "data.evaluation", problems)
    _check(evaluation, _EVALUATION, "data.evaluation.", problems, optional=True)
    if not problems:
        _check_agreement(members, checkpoint, problems)
    _report("a ready event", problems)


def assert_ready_record(record: KafkaRecord) -> JsonObject:
    """Check that a record of the ready topic has a ready event, in either mode, and return it.

    Raises:
        AssertionError: it has none. The message lists every violation.
    """
    content_type = (record.header("content-type") or b"").decode("utf-8", "replace")
    known = (STRUCTURED_CONTENT_TYPE, BINARY_CONTENT_TYPE)
    if content_type not in known:
        _report("a record of the ready topic", [f"the header content-type is {content_type!r}"])
    try:
        event = event_of(record)
    except ValueError as error:
        raise AssertionError(f"not a record of the ready topic: {error}") from None
    assert_ready_event(event)
    if record.key != event["partitionkey"].encode():
        _report("a record of the ready topic", ["the key must be the id of the job"])
    return event


def assert_dead_letter(record: KafkaRecord) -> str:
    """Check that a record is a dead letter of the service, and return its reason.

    Raises:
        AssertionError: it is not. The message lists every violation.
    """
    trailing = record.headers[-len(TRAILING_NAMES) :]
    if tuple(name for name, _ in trailing) != TRAILING_NAMES:
        _report("a dead letter", [f"its last headers must be {', '.join(TRAILING_NAMES)}"])
    texts = {name: (value or b"").decode("utf-8", "replace") for name, value in trailing}
    topic, partition, offset, stage, _, _, reason, timestamp = TRAILING_NAMES
    numbers = [
        f"the header {name} must be an integer, not {texts[name]!r}"
        for name in (partition, offset, timestamp)
        if not _INTEGER.fullmatch(texts[name])
    ]
    choices = [
        f"the header {name} must be one of {', '.join(values)}, not {texts[name]!r}"
        for name, values in ((stage, _STAGES), (reason, REASONS))
        if texts[name] not in values
    ]
    names = [] if texts[topic] else [f"the header {topic} must not be empty"]
    _report("a dead letter", names + numbers + choices)
    return texts[reason]


def _object(value: object, path: str, problems: list[str]) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    problems.append(f"{path} must be an object, not {value!r}")
    return {}


def _check(
    members: Mapping[str, Any],
    checks: Mapping[str, tuple[Check, str]],
    path: str,
    problems: list[str],
    *,
    optional: bool = False,
) -> None:
    for name, (check, claim) in checks.items():
        if name not in members:
            if not optional:
                problems.append(f"{path}{name} is missing")
        elif not check(members[name]):
            problems.append(f"{path}{name} {claim}, not {members[name]!r}")


def _check_agreement(
    event: Mapping[str, Any], checkpoint: Mapping[str, Any], problems: list[str]
) -> None:
    """Check the values that an event has in several places."""
    job_id = checkpoint["fine_tuning_job_id"]
    pairs = (
        ("id", event["id"], "data.checkpoint.id", checkpoint["id"]),
        ("subject", event["subject"], "data.checkpoint.id", checkpoint["id"]),
        ("partitionkey", event["partitionkey"], "data.checkpoint.fine_tuning_job_id", job_id),
        ("time", event["time"], "data.checkpoint.created_at", rfc3339(checkpoint["created_at"])),
    )
    problems += [
        f"{name} is {found!r}, but {other} says {expected!r}"
        for name, found, other, expected in pairs
        if found != expected
    ]
    if unquote(event["source"]) != f"{_SOURCE_PREFIX}{job_id}":
        problems.append(f"source must be {_SOURCE_PREFIX} and the id of the job")
    model = event["data"]["model"]
    problems += [
        f"data.model.{name} is {model[name]!r}, but data.checkpoint.{name} says {found!r}"
        for name in ("provider", "base_model")
        if (found := checkpoint.get(name)) is not None and model[name] != found
    ]
    evaluation = event["data"]["evaluation"]
    if ("loss" in evaluation) != ("metric" in evaluation):
        problems.append("data.evaluation must have both loss and metric, or neither")


def _report(what: str, problems: list[str]) -> None:
    if problems:
        lines = "".join(f"\n- {problem}" for problem in problems)
        raise AssertionError(f"not {what}:{lines}")
