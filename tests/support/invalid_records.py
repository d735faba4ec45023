"""Invalid records, each with the reason that its dead letter must give.

`internal_error` is not among the reasons: no record is known to cause it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.support.documents import SDK_EXAMPLE, camel, compact
from tests.support.sample_jobs import make_job
from tests.support.variants import Headers

if TYPE_CHECKING:
    import random

    from tests.support.documents import Document

CLOUDEVENT: Headers = [("content-type", b"application/cloudevents+json")]
DEEP_LEVELS = 2000
# A float of 4 characters, which is written again with 18: the event becomes larger than its source.
GROWING_NUMBER = b"1e15,"
GROWN_BYTES = 19
LARGE_BYTES = 60_000
HUGE = 10**400


class InvalidSample(NamedTuple):
    """An invalid record: the reason of its dead letter, its value and headers."""

    reason: str
    value: bytes | None
    headers: Headers


def make_invalid_records(rng: random.Random) -> list[InvalidSample]:
    """Return one record of every kind, made from a random checkpoint."""
    content = make_job(rng).checkpoints[0]
    return [
        InvalidSample("tombstone", None, []),
        *(InvalidSample("malformed_json", value, []) for value in _malformed(content)),
        *(InvalidSample("invalid_schema", compact(document), []) for document in _invalid(content)),
        *(
            InvalidSample("invalid_schema", value, headers)
            for value, headers in _bad_envelopes(content)
        ),
        *(
            InvalidSample("wrong_object_type", compact(document), [])
            for document in _others(content)
        ),
        *(InvalidSample("too_deep", value, []) for value in _deep(content)),
    ]


def make_hard_invalid_records(content: Document) -> list[InvalidSample]:
    """Return records of some more kinds: large ones, huge numbers, unpaired surrogates."""
    text = compact(content)
    return [
        InvalidSample("invalid_schema", value, [])
        for value in (
            compact({k: v for k, v in content.items() if k != "id"}),
            compact({**content, "step_number": 2**63}),
            compact({**content, "created_at": HUGE}),
            compact({**content, "metrics": [1, 2, 3]}),
            compact({**content, "id": ["a"]}),
            compact(["x" * 100] * (LARGE_BYTES // 100)),
        )
    ] + [
        InvalidSample("malformed_json", value, [])
        for value in (
            text.replace(b'"object"', b'"a":"\\ud800","object"'),
            text.replace(b'"object"', b'"a":"\xed\xa0\x80","object"'),
            b"\x00" * LARGE_BYTES,
            text + text,
        )
    ]


def make_too_large_records(rng: random.Random, max_bytes: int) -> list[InvalidSample]:
    """Return checkpoints whose events cannot fit a topic that takes `max_bytes`.

    The first is a small record whose event is too large. The second is itself larger than the
    topic takes; it fits only because its producer compresses it. Its dead letter must be cut.
    """
    grows, huge = (compact(content) for content in make_job(rng).checkpoints[:2])
    numbers = GROWING_NUMBER * (max_bytes // GROWN_BYTES + 1)
    return [
        InvalidSample("too_large", _with_field(grows, b"curve", b"[" + numbers[:-1] + b"]"), []),
        InvalidSample(
            "too_large", _with_field(huge, b"notes", b'"' + b"na " * (max_bytes // 3) + b'"'), []
        ),
    ]


def _with_field(document: bytes, name: bytes, value: bytes) -> bytes:
    return document[:-1] + b',"' + name + b'":' + value + b"}"


def _malformed(content: Document) -> list[bytes]:
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


def _invalid(content: Document) -> list[object]:
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
        {**content, **camel({**content, "created_at": created_at + 1})},
        # A change event of Debezium.
        {"before": None, "after": content, "source": {"connector": "postgresql"}, "op": "c"},
    ]


def _bad_envelopes(content: Document) -> list[tuple[bytes, Headers]]:
    attributes = {"specversion": "1.0", "id": "1", "source": "/x", "type": "y"}
    return [
        (compact(attributes), CLOUDEVENT),
        (compact({**attributes, "specversion": "0.3", "data": content}), CLOUDEVENT),
        (compact({**attributes, "data_base64": "not base64!"}), CLOUDEVENT),
        (compact([content]), [("content-type", b"application/cloudevents-batch+json")]),
        (SDK_EXAMPLE, [("ce_specversion", b"0.3"), ("ce_id", b"1")]),
    ]


def _others(content: Document) -> list[object]:
    """Return other objects of the API that lists checkpoints."""
    return [
        {"object": "list", "data": [content], "has_more": False},
        {"object": "fine_tuning.job", "id": content["fine_tuning_job_id"], "status": "running"},
        {**content, "object": "fine_tuning.job.event"},
    ]


def _deep(content: Document) -> list[bytes]:
    text = compact(content)
    return [
        b"[" * DEEP_LEVELS + b"]" * DEEP_LEVELS,
        _with_field(text, b"history", b'{"was":' * DEEP_LEVELS + b"0" + b"}" * DEEP_LEVELS),
    ]
