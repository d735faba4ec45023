"""Dead letters: complete when they fit, cut in a fixed order when they do not."""

import hashlib

import pytest

from consumer.pipeline.dead_letters import TRAILING_HEADERS, dead_letter
from consumer.pipeline.record_size import batch_bytes
from consumer.pipeline.records import Header, InvalidRecord, Reason, Stage
from schemas.ready_event import Origin
from tests.builders import record

ORIGIN = Origin("topic", 3, 42, 1_700_000_000_123)
NOT_JSON = InvalidRecord(
    Reason.MALFORMED_JSON, "not JSON \ud800", Stage.VALUE_CONVERTER, "DecodeError"
)


def test_original_and_eight_trailing_headers() -> None:
    """A record that fits is kept byte for byte. Exactly eight headers describe the error."""
    own: list[Header] = [("a", None), ("a", b"\xff")]
    letter = dead_letter(NOT_JSON, ORIGIN, record(raw=b"\x00{", headers=own), own, 10_000)
    assert (letter.key, letter.value, letter.reason) == (b"key", b"\x00{", Reason.MALFORMED_JSON)
    assert letter.headers == [
        *own,
        ("__connect.errors.topic", b"topic"),
        ("__connect.errors.partition", b"3"),
        ("__connect.errors.offset", b"42"),
        ("__connect.errors.stage", b"VALUE_CONVERTER"),
        ("__connect.errors.exception.class.name", b"DecodeError"),
        ("__connect.errors.exception.message", b"not JSON \\ud800"),
        ("checkpoint-ready.reason", b"malformed_json"),
        ("checkpoint-ready.timestamp", b"1700000000123"),
    ]


@pytest.mark.parametrize("value", [None, b""])
def test_a_missing_value_stays_as_it_is(value: bytes | None) -> None:
    """A tombstone stays a tombstone, and an empty value empty."""
    assert dead_letter(NOT_JSON, ORIGIN, record(raw=value), [], 10_000).value == value


def test_messages_are_bounded() -> None:
    """No message is longer than 500 characters."""
    error = InvalidRecord(Reason.INTERNAL_ERROR, "m" * 9999, Stage.TRANSFORMATION, "ValueError")
    letter = dead_letter(error, ORIGIN, record(raw=b""), [], 10_000)
    assert len(letter.message) == 500


@pytest.mark.parametrize("max_bytes", [1000, 1500, 5000, 9999])
def test_a_large_value_is_cut_with_digest_and_size(max_bytes: int) -> None:
    """The first bytes that fit are kept, with digest and size of the whole value."""
    value = bytes(range(256)) * 100
    own: list[Header] = [("own", b"kept")]
    letter = dead_letter(NOT_JSON, ORIGIN, record(raw=value, headers=own), own, max_bytes)
    assert letter.value is not None
    assert value.startswith(letter.value)
    size = batch_bytes(letter.key, letter.value, letter.headers)
    assert max_bytes - 32 < size <= max_bytes
    assert letter.headers[:3] == [
        ("own", b"kept"),
        ("checkpoint-ready.value.sha256", hashlib.sha256(value).hexdigest().encode()),
        ("checkpoint-ready.value.size", b"25600"),
    ]
    assert len(letter.headers) == 3 + TRAILING_HEADERS


def test_headers_that_do_not_fit_are_dropped_from_the_back() -> None:
    """Leading headers are kept as long as they fit. The message says how many were dropped."""
    own: list[Header] = [(f"h{number:04}", b"x" * 100) for number in range(2000)]
    letter = dead_letter(NOT_JSON, ORIGIN, record(raw=b"value", headers=own), own, 5000)
    kept = len(letter.headers) - TRAILING_HEADERS - 2
    assert letter.headers[:kept] == own[:kept]
    assert kept > 20
    assert letter.message.startswith(f"{2000 - kept} of 2000 headers dropped to fit; not JSON")
    assert batch_bytes(letter.key, letter.value, letter.headers) <= 5000


def test_even_a_key_that_does_not_fit_is_no_error() -> None:
    """The key is truncated last, and the message says so."""
    source = record(raw=None, key=b"k" * 9000, headers=[("own", b"x")])
    letter = dead_letter(NOT_JSON, ORIGIN, source, source.headers, 2000)
    assert letter.value is None
    assert letter.key is not None
    assert 0 < len(letter.key) < 2000
    assert "the key's end" in letter.message
    assert batch_bytes(letter.key, letter.value, letter.headers) <= 2000
