"""Records that can never be published, each with the reason that its dead letter must give.

`internal_error` is not among them: it means that a record met a bug, and no record is known to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dev.demo_variants import Headers, compact, to_sdk
from dev.sample_events import SDK_EXAMPLE, make_job

if TYPE_CHECKING:
    import random

    from dev.sample_events import Content

CLOUDEVENT: Headers = [("content-type", b"application/cloudevents+json")]
DEEP_LEVELS = 2000
# A float of 4 characters that is 18 when it is written again: the event outgrows its source.
GROWING_NUMBER = b"1e15,"
GROWN_BYTES = 19


class Poison(NamedTuple):
    """A poison record, and why it is one."""

    reason: str
    value: bytes | None
    headers: Headers


def make_poison(rng: random.Random) -> list[Poison]:
    """Return one of every kind, about checkpoints made up for them."""
    content = make_job(rng).checkpoints[0]
    return [
        Poison("tombstone", None, []),
        *(Poison("malformed_json", value, []) for value in _malformed(content)),
        *(Poison("invalid_schema", compact(document), []) for document in _invalid(content)),
        *(Poison("invalid_schema", value, headers) for value, headers in _bad_envelopes(content)),
        *(Poison("wrong_object_type", compact(document), []) for document in _others(content)),
        *(Poison("too_deep", value, []) for value in _deep(content)),
    ]


def make_too_large(rng: random.Random, max_bytes: int) -> list[Poison]:
    """Return checkpoints whose events cannot fit a topic that takes `max_bytes`.

    The first is a small record whose event is too large. The second is itself larger than the
    topic takes: compressed by its producer it got in all the same. Its dead letter must be cut.
    """
    grows, huge = (compact(content) for content in make_job(rng).checkpoints[:2])
    numbers = GROWING_NUMBER * (max_bytes // GROWN_BYTES + 1)
    return [
        Poison("too_large", _with_field(grows, b"curve", b"[" + numbers[:-1] + b"]"), []),
        Poison(
            "too_large", _with_field(huge, b"notes", b'"' + b"na " * (max_bytes // 3) + b'"'), []
        ),
    ]


def _with_field(document: bytes, name: bytes, value: bytes) -> bytes:
    return document[:-1] + b',"' + name + b'":' + value + b"}"


def _malformed(content: Content) -> list[bytes]:
    text = compact(content)
    return [
        b"",
        text[: len(text) // 2],
        b"<html><body><h1>502 Bad Gateway</h1></body></html>",
        text[:-1] + b",}",
        text.replace(b'"step_number":', b'"step_number":NaN,"was":'),
        text.replace(b'"object"', b'"note":"\xff\xfe","object"'),
        text.decode().encode("utf-16"),
    ]


def _invalid(content: Content) -> list[object]:
    created_at = content["created_at"]
    return [
        None,
        [content, content],
        {name: value for name, value in content.items() if name != "fine_tuning_job_id"},
        {**content, "id": ""},
        {**content, "id": 12345},
        {**content, "step_number": "88"},
        {**content, "step_number": 88.5},
        {**content, "step_number": True},
        {**content, "metrics": 0},
        {**content, "metrics": {"train_loss": "0.5"}},
        {**content, "created_at": created_at * 1000},
        {**content, "created_at": 253_402_300_800},  # the year 10000
        {**content, **to_sdk({**content, "created_at": created_at + 1})},
        # A change event of Debezium.
        {"before": None, "after": content, "source": {"connector": "postgresql"}, "op": "c"},
    ]


def _bad_envelopes(content: Content) -> list[tuple[bytes, Headers]]:
    attributes = {"specversion": "1.0", "id": "1", "source": "/x", "type": "y"}
    return [
        (compact(attributes), CLOUDEVENT),
        (compact({**attributes, "specversion": "0.3", "data": content}), CLOUDEVENT),
        (compact({**attributes, "data_base64": "not base64!"}), CLOUDEVENT),
        (compact([content]), [("content-type", b"application/cloudevents-batch+json")]),
        (SDK_EXAMPLE, [("ce_specversion", b"0.3"), ("ce_id", b"1")]),
    ]


def _others(content: Content) -> list[object]:
    """Return what else lies about where checkpoints are listed."""
    return [
        {"object": "list", "data": [content], "has_more": False},
        {"object": "fine_tuning.job", "id": content["fine_tuning_job_id"], "status": "running"},
        {**content, "object": "fine_tuning.job.event"},
    ]


def _deep(content: Content) -> list[bytes]:
    text = compact(content)
    return [
        b"[" * DEEP_LEVELS + b"]" * DEEP_LEVELS,
        _with_field(text, b"history", b'{"was":' * DEEP_LEVELS + b"0" + b"}" * DEEP_LEVELS),
    ]
