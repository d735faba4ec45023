"""Arbitrary JSON text: what is parsed, and how each refusal is classified."""

import time

import pytest

from consumer.pipeline.decode.json_document import MAX_DEPTH, parse
from consumer.pipeline.records import InvalidRecord, Reason


def nested(depth: int) -> bytes:
    """Return arrays in arrays, `depth` levels deep."""
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"{", Reason.MALFORMED_JSON),
        (b"\xef\xbb\xbf{}", Reason.MALFORMED_JSON),
        (b'{"a":"\xff"}', Reason.MALFORMED_JSON),
        (b'{"a":"\\ud800"}', Reason.MALFORMED_JSON),
        (b'{"a":"\xed\xa0\x80"}', Reason.MALFORMED_JSON),
        (b'{"a":NaN}', Reason.MALFORMED_JSON),
        (b'{"a":-Infinity}', Reason.MALFORMED_JSON),
        ("{}".encode("utf-16"), Reason.MALFORMED_JSON),
        (b'{"a":1e999}', Reason.INVALID_SCHEMA),
        (b'{"a":' + b"9" * 5000 + b"}", Reason.INVALID_SCHEMA),
        (b"[1e999", Reason.MALFORMED_JSON),
        (b'[1e999,"\xff"]', Reason.MALFORMED_JSON),
        (b'[1e999,"\\ud800"]', Reason.MALFORMED_JSON),
        (nested(MAX_DEPTH + 1), Reason.TOO_DEEP),
        (b"]" * 9 + b"[" * (MAX_DEPTH + 1), Reason.MALFORMED_JSON),
        (b"[]]]" + b"[" * (MAX_DEPTH + 1), Reason.TOO_DEEP),
        (b" \t\r\n" + nested(MAX_DEPTH + 1), Reason.TOO_DEEP),
        (b"\x1f\x8b\x08" + nested(MAX_DEPTH + 1), Reason.MALFORMED_JSON),
        (b"[" * 30 + nested(MAX_DEPTH - 29), Reason.TOO_DEEP),
        (b"[" * 30 + nested(MAX_DEPTH - 30), Reason.MALFORMED_JSON),
        (nested(2000), Reason.TOO_DEEP),
        (nested(200_000), Reason.TOO_DEEP),
        (b'{"a":' * 2000, Reason.TOO_DEEP),
    ],
)
def test_refusals(payload: bytes, reason: Reason) -> None:
    """Text that is not JSON is malformed. A number out of range or too many levels is not."""
    with pytest.raises(InvalidRecord) as caught:
        parse(payload)
    assert caught.value.reason is reason


def test_brackets_in_strings_have_no_depth() -> None:
    """Only real nesting counts. Brackets in strings do not."""
    assert parse(b'["' + b"[" * 500 + b'\\"' + b"{" * 500 + b'"]') is not None
    assert parse(nested(MAX_DEPTH)) is not None
    assert parse(b"[" + b",".join([b"[]"] * 500) + b"]") is not None


def test_counting_depth_does_not_block() -> None:
    """Ten megabytes of empty objects are counted in C: a loop over them would take seconds."""
    payload = b'["\xff",' + b"{}," * 3_000_000 + b"0]"
    began = time.process_time()
    with pytest.raises(InvalidRecord) as caught:
        parse(payload)
    assert caught.value.reason is Reason.MALFORMED_JSON
    assert time.process_time() - began < 2


def test_counting_depth_is_linear() -> None:
    """A megabyte of escaped quotes in an open string is scanned once, not once per quote."""
    began = time.perf_counter()
    with pytest.raises(InvalidRecord):
        parse(b"[" * 64 + b'"[' + b'\\"' * 500_000)
    assert time.perf_counter() - began < 5
