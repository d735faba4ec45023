"""Decoding: one content in many spellings, and every kind of invalid value."""

import json
from hashlib import blake2b
from typing import Any

import pytest

from consumer.pipeline.decode.checkpoint import decode
from consumer.pipeline.records import InvalidRecord, Reason, Stage
from tests.builders import SDK_EXAMPLE, STRUCTURED, camel, checkpoint

METRICS = {"step": 88, "train_loss": 0.5}


def decode_json(fields: object) -> bytes:
    """Return the canonical bytes of a JSON value."""
    return decode(json.dumps(fields).encode()).canonical


def refusal_of(payload: bytes | None) -> InvalidRecord:
    """Return the error by which a value is refused."""
    with pytest.raises(InvalidRecord) as caught:
        decode(payload)
    return caught.value


def test_canonical_form() -> None:
    """Wire spelling, sorted keys, no white space. The digest begins with its version."""
    decoded = decode(json.dumps(checkpoint(metrics=METRICS), indent=3).encode())
    assert decoded.canonical == (
        b'{"created_at":1721764867,"fine_tuned_model_checkpoint":'
        b'"ft:gpt-4o-mini-2024-07-18:my-org:custom_suffix:9ABel2dg:ckpt-step-88",'
        b'"fine_tuning_job_id":"ftjob-abc123","id":"ftckpt_qtZ5Gyk4BLq1SfLFWp3RtO3P",'
        b'"metrics":{"step":88,"train_loss":0.5},"object":"fine_tuning.job.checkpoint",'
        b'"step_number":88}'
    )
    assert decoded.digest == b"\x01" + blake2b(decoded.canonical, digest_size=15).digest()
    assert (decoded.id, decoded.job_id) == ("ftckpt_qtZ5Gyk4BLq1SfLFWp3RtO3P", "ftjob-abc123")


@pytest.mark.parametrize(
    "fields",
    [
        camel(checkpoint(metrics=METRICS)),
        dict(reversed(checkpoint(metrics=METRICS).items())),
        checkpoint(metrics=METRICS, step_number=88.0, created_at=1721764867.0),
        checkpoint(metrics=METRICS | {"step": 88.0}),
        camel(checkpoint(metrics=METRICS | {"step": 88.0})),
        checkpoint(metrics=METRICS | {"valid_loss": None, "validLoss": None}),
        camel(checkpoint(metrics=METRICS | {"valid_loss": None})),
        checkpoint(metrics=camel(METRICS)),
        checkpoint(metrics=METRICS, createdAt=1721764867),
        checkpoint(metrics=METRICS | {"trainLoss": 0.5}),
        checkpoint(metrics=METRICS | {"trainLoss": None}),
    ],
)
def test_same_content(fields: dict[str, Any]) -> None:
    """Spelling, order, whole floats and null metrics make no difference."""
    assert decode_json(fields) == decode_json(checkpoint(metrics=METRICS))


def test_unknown_fields_count_and_are_kept_sorted() -> None:
    """Unknown fields are part of the content, at both levels."""
    fields = checkpoint(metrics={"f1": None, "step": 1}, zeta={"b": 1, "a": [None, 1.0]}, alpha=0)
    document = json.loads(decode_json(fields))
    assert document == fields
    assert list(document) == sorted(fields)
    assert list(document["zeta"]) == ["a", "b"]
    assert decode_json(fields) != decode_json(checkpoint(metrics={"step": 1}))


def test_the_sdk_documents_own_example() -> None:
    """The example of the SDK's document is a valid checkpoint."""
    decoded = decode(SDK_EXAMPLE)
    assert (decoded.id, decoded.job_id, decoded.checkpoint.step_number) == ("<id>", "<id>", 855804)


def test_duplicate_keys_the_last_wins() -> None:
    """A key given twice has its last value, even when only that one is valid."""
    for first in (b'"other"', b"5"):
        payload = json.dumps(checkpoint()).encode().replace(b"{", b'{"id":' + first + b",", 1)
        assert decode(payload).canonical == decode_json(checkpoint())


def test_huge_unknown_numbers_are_kept() -> None:
    """An integer beyond 64 bits in an unknown field is published digit by digit."""
    assert str(10**400).encode() in decode_json(checkpoint(total=10**400))


def test_a_fractional_step_metric_is_a_number_like_any_other() -> None:
    """Only the contract's integers must be whole; the metric `step` is a number."""
    assert b'"step":1.5' in decode_json(checkpoint(metrics={"step": 1.5}))


@pytest.mark.parametrize("payload", [b"", b" ", b"{", b'{"id":"\\ud800"}', b"\xff", b"NaN"])
def test_malformed(payload: bytes | None) -> None:
    """An empty value, or one that is not JSON, is malformed."""
    refused = refusal_of(payload)
    assert (refused.reason, refused.stage) == (Reason.MALFORMED_JSON, Stage.VALUE_CONVERTER)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        "text",
        None,
        5,
        {},
        checkpoint(id=...),
        checkpoint(id=""),
        checkpoint(id=5),
        checkpoint(fine_tuning_job_id=""),
        checkpoint(object=...),
        checkpoint(object=5),
        checkpoint(object=None),
        checkpoint(created_at="1721764867"),
        checkpoint(created_at=True),
        checkpoint(created_at=1.5),
        checkpoint(created_at=None),
        checkpoint(created_at=253_402_300_800),
        checkpoint(created_at=-62_135_596_801),
        checkpoint(created_at=10**400),
        checkpoint(created_at=1e300),
        checkpoint(step_number="88"),
        checkpoint(step_number=88.5),
        checkpoint(step_number=2**63),
        checkpoint(metrics=...),
        checkpoint(metrics=0),
        checkpoint(metrics=[]),
        checkpoint(metrics={"train_loss": "0.5"}),
        checkpoint(metrics={"train_loss": True}),
        checkpoint(metrics={"train_loss": 10**400}),
        checkpoint(stepNumber=89),
        checkpoint(step_number=1, stepNumber=True),
        {"stepNumber": True} | checkpoint(step_number=1),
        checkpoint(metrics={"train_loss": 0.5, "trainLoss": 0.6}),
    ],
)
def test_invalid(fields: object) -> None:
    """JSON that is not a checkpoint is invalid."""
    assert refusal_of(json.dumps(fields).encode()).reason is Reason.INVALID_SCHEMA


def test_a_null_value_is_a_tombstone() -> None:
    """A tombstone has its own reason, with any headers. An empty value is malformed."""
    for headers in ([], [STRUCTURED], [("ce_specversion", b"0.3")]):
        with pytest.raises(InvalidRecord) as caught:
            decode(None, headers)
        assert caught.value.reason is Reason.TOMBSTONE
    assert refusal_of(b"").reason is Reason.MALFORMED_JSON


def test_numbers_out_of_range_are_invalid() -> None:
    """`1e999` is JSON, but out of the range of a float."""
    payload = json.dumps(checkpoint()).replace("0.478", "1e999").encode()
    assert refusal_of(payload).reason is Reason.INVALID_SCHEMA


def test_milliseconds_are_named() -> None:
    """The message mentions milliseconds only if the time could be in milliseconds."""
    in_ms = json.dumps(checkpoint(created_at=1_721_764_867_000)).encode()
    assert "milliseconds" in refusal_of(in_ms).message
    absurd = json.dumps(checkpoint(created_at=-(10**15))).encode()
    assert "milliseconds" not in refusal_of(absurd).message


def test_other_objects_come_before_other_faults() -> None:
    """An object of another type is named so, whatever fields it lacks."""
    refused = refusal_of(b'{"object":"fine_tuning.job","id":5}')
    assert refused.reason is Reason.WRONG_OBJECT_TYPE
    assert "fine_tuning.job" in refused.message


def test_two_thousand_nested_arrays() -> None:
    """Too many levels have their own reason, in a known and in an unknown field."""
    deep = "[" * 2000 + "]" * 2000
    for name in ("metrics", "unknown"):
        payload = json.dumps(checkpoint(**{name: 0})).replace(f'"{name}": 0', f'"{name}":{deep}')
        assert refusal_of(payload.encode()).reason is Reason.TOO_DEEP
