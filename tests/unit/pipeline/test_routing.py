"""The way to the home shard and back out of the header."""

import pytest

from consumer.pipeline.records import Header, InvalidRecord, Reason
from consumer.pipeline.routing import ORIGIN_HEADER, forward, strip_origin
from schemas.ready_event import Origin
from tests.builders import record

ORIGIN = Origin("töpic", 7, 2**40, -1)
MAX_BYTES = 1_048_588


def test_origin_survives_byte_for_byte() -> None:
    """Key, value, headers and origin arrive unchanged."""
    sent = record(
        raw=b"\xff", key=None, headers=[("a", None), ("b", b"\x00")], offset=2**40, timestamp_ms=-1
    )
    forwarded = forward(sent, "töpic".encode(), 7, 3, MAX_BYTES)
    headers, origin = strip_origin(forwarded.headers)
    assert (forwarded.shard, forwarded.key, forwarded.value) == (3, None, b"\xff")
    assert (headers, origin) == (sent.headers, ORIGIN)


def test_a_producers_own_origin_header_is_not_believed() -> None:
    """Only the last header counts. A forged one before it is kept."""
    spoofed: Header = forward(record(raw=b""), b"forged", 7, 0, MAX_BYTES).headers[-1]
    sent = record(raw=b"", headers=[spoofed], offset=2, timestamp_ms=3)
    headers, origin = strip_origin(forward(sent, b"true", 1, 0, MAX_BYTES).headers)
    assert spoofed[0] == ORIGIN_HEADER
    assert (headers, origin) == ([spoofed], Origin("true", 1, 2, 3))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("other", b"x" * 30)],
        [(ORIGIN_HEADER, None)],
        [(ORIGIN_HEADER, b"short")],
        [(ORIGIN_HEADER, b"\x00" * 20)],
        [(ORIGIN_HEADER, b"\x00" * 20 + b"\xff")],
    ],
)
def test_a_missing_or_broken_origin_is_invalid(headers: list[Header]) -> None:
    """A record in the repartition topic without the origin header is invalid."""
    with pytest.raises(InvalidRecord) as caught:
        strip_origin(headers)
    assert caught.value.reason is Reason.INTERNAL_ERROR
