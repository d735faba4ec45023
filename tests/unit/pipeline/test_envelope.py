"""Envelopes of checkpoints: structured and binary CloudEvents, Connect, and invalid envelopes."""

import base64
import json
import re
from collections.abc import Sequence
from contextlib import nullcontext

import pytest

from consumer.pipeline.decode.checkpoint import decode
from consumer.pipeline.decode.envelope import structured_type
from consumer.pipeline.records import Header, InvalidRecord, Reason
from tests.builders import STRUCTURED, camel, checkpoint, connect, envelope

BARE = decode(json.dumps(checkpoint()).encode())


def is_bare(value: bytes, headers: Sequence[Header] = ()) -> bool:
    """Return whether a record has content and canonical bytes of the bare checkpoint."""
    decoded = decode(value, headers)
    assert (decoded.id, decoded.job_id) == (BARE.id, BARE.job_id)
    return (decoded.canonical, decoded.digest) == (BARE.canonical, BARE.digest)


def test_structured_data_is_the_checkpoint() -> None:
    """The same checkpoint has the same content bare and in an envelope."""
    assert is_bare(json.dumps(envelope(checkpoint())).encode(), [STRUCTURED])


def test_structured_data_in_base64() -> None:
    """Data in base64 is accepted."""
    encoded = base64.b64encode(json.dumps(checkpoint()).encode()).decode()
    value = json.dumps(envelope(..., data_base64=encoded)).encode()
    assert is_bare(value, [STRUCTURED])


@pytest.mark.parametrize("headers", [[STRUCTURED], []])
@pytest.mark.parametrize("before", ["", " \r\n", "\ufeff"])
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", None])
def test_structured_data_as_text(
    headers: list[Header], before: str, content_type: str | None
) -> None:
    """An SDK that gets the JSON text as a string writes a string, whatever the content type."""
    document = envelope(before + json.dumps(checkpoint()), datacontenttype=content_type)
    assert is_bare(json.dumps(document).encode(), headers)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/cloudevents-batch+json", "send each event as a separate record"),
        ("application/cloudevents-batch+json; charset=utf-8", "send each event as a separate"),
        ("application/cloudevents+avro", "must have the format +json"),
    ],
)
def test_a_refused_content_type_is_explained(content_type: str, expected: str) -> None:
    """The message quotes the content type and says what to send."""
    value = json.dumps([envelope(checkpoint())]).encode()
    with pytest.raises(InvalidRecord, match=re.escape(repr(content_type))) as caught:
        decode(value, [("content-type", content_type.encode())])
    assert expected in caught.value.message


@pytest.mark.parametrize("name", ["content-type", "Content-Type"])
@pytest.mark.parametrize(
    "text", [b"application/cloudevents+json", b"Application/CloudEvents+JSON ;x"]
)
def test_content_type_in_any_case(name: str, text: bytes) -> None:
    """Header names and media types are case-insensitive. Parameters are ignored."""
    assert is_bare(json.dumps(envelope(checkpoint())).encode(), [(name, text)])


def test_white_space_around_the_media_type_is_that_of_ascii() -> None:
    """With a no-break space it is another media type, so the value is the checkpoint itself."""
    value = json.dumps(checkpoint()).encode()
    assert is_bare(value, [("content-type", b"\xa0application/cloudevents+json")])
    spaced: Header = ("content-type", b" application/cloudevents+json\t")
    assert is_bare(json.dumps(envelope(checkpoint())).encode(), [spaced])


def test_binary_mode() -> None:
    """With attributes in headers the value is the checkpoint itself."""
    headers: list[Header] = [("ce_specversion", b"1.0"), ("content-type", b"application/json")]
    assert is_bare(json.dumps(checkpoint()).encode(), headers)


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (envelope(checkpoint()), [("content-type", b"application/cloudevents-batch+json")]),
        (envelope(checkpoint()), [("content-type", b"application/cloudevents+avro")]),
        (envelope(checkpoint()), [("content-type", b"application/cloudevents")]),
        (envelope(checkpoint(), specversion="0.3"), [STRUCTURED]),
        (envelope(checkpoint(), specversion=...), [STRUCTURED]),
        (envelope(checkpoint(), data_base64=""), [STRUCTURED]),
        (envelope(...), [STRUCTURED]),
        (envelope(..., data_base64=5), [STRUCTURED]),
        (envelope(..., data_base64="!"), [STRUCTURED]),
        (envelope(..., data_base64="e30="), [STRUCTURED]),
        (envelope(..., data_base64="e30gIA====="), [STRUCTURED]),
        (envelope(..., data_base64="e30g="), [STRUCTURED]),
        (envelope(..., data_base64="é"), [STRUCTURED]),
        (envelope(None), [STRUCTURED]),
        (envelope("text"), [STRUCTURED]),
        ([envelope(checkpoint())], [STRUCTURED]),
        (checkpoint(), [STRUCTURED]),
        (checkpoint(), [("ce_specversion", b"0.3")]),
        (checkpoint(), [("ce_specversion", None)]),
        (envelope(checkpoint(), specversion="0.3"), []),
        (envelope(checkpoint(), data_base64=""), []),
        (envelope(envelope(checkpoint())), []),
        (envelope(json.dumps(envelope(checkpoint()))), []),
        (envelope(json.dumps(json.dumps(checkpoint()))), []),
        (envelope(json.dumps([checkpoint()])), []),
        (connect(connect(checkpoint())), []),
        (connect(None), []),
        (connect([checkpoint()]), []),
        (connect(5), []),
        (connect(checkpoint()) | {"more": 1}, []),
        ({"payload": checkpoint()}, []),
        (connect(checkpoint()), [STRUCTURED]),
    ],
)
def test_invalid_envelopes(value: object, headers: list[Header]) -> None:
    """Other versions, formats and shapes are refused as invalid."""
    with pytest.raises(InvalidRecord) as caught:
        decode(json.dumps(value).encode(), headers)
    assert caught.value.reason is Reason.INVALID_SCHEMA


@pytest.mark.parametrize(
    "value",
    [
        envelope(checkpoint()),
        envelope(..., data_base64=base64.b64encode(json.dumps(checkpoint()).encode()).decode()),
        envelope(camel(checkpoint())),
        envelope(checkpoint(), object=None),
        connect(checkpoint()),
        connect(camel(checkpoint())),
        connect(checkpoint(), schema=None),
        connect(json.dumps(checkpoint())),
        connect(" " + json.dumps(checkpoint(), indent=1)),
        connect(envelope(checkpoint())),
        connect(json.dumps(envelope(checkpoint()))),
        envelope(connect(checkpoint())),
    ],
)
@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf", b"\x00\x00\x00\x00\x07", b" \r\n"])
def test_layers_that_leave_no_doubt(value: object, prefix: bytes) -> None:
    """The members identify an envelope. Each kind is removed at most once."""
    assert is_bare(prefix + json.dumps(value).encode())


@pytest.mark.parametrize(
    "prefix",
    [
        b"\x00\x00\x01\x86\xa1",
        b"\x00\x7b\x7b\x7b\x7b",
        b"\x00" + bytes(7) + b"\x07",
        b"\x01" + bytes(range(16)),
        b"\xef\xbb\xbf",
        b"\x00\x00\x00\x00\x07\xef\xbb\xbf \n",
    ],
)
@pytest.mark.parametrize("headers", [[], [STRUCTURED], [("ce_specversion", b"1.0")]])
def test_prefixes_are_taken_off(prefix: bytes, headers: list[Header]) -> None:
    """A schema registry's prefix and a byte-order mark, before any kind of document."""
    document = envelope(checkpoint()) if STRUCTURED in headers else checkpoint()
    assert is_bare(prefix + json.dumps(document).encode(), headers)


def test_a_byte_order_mark_inside() -> None:
    """A mark before the text in base64 or in a payload is removed too."""
    marked = b"\xef\xbb\xbf" + json.dumps(checkpoint()).encode()
    encoded = base64.b64encode(marked).decode()
    assert is_bare(json.dumps(envelope(..., data_base64=encoded)).encode())
    assert is_bare(json.dumps(connect(marked.decode())).encode())


@pytest.mark.parametrize(
    "value",
    [
        b"\x00\x00\x00\x00\x07",
        b"\x00\x00\x00\x00\x07[]",
        b"\x00" + json.dumps(checkpoint()).encode(),
        b"\x02\x00\x00\x00\x07" + json.dumps(checkpoint()).encode(),
        b"\x00\x00\x00\x00\x07" * 2 + json.dumps(checkpoint()).encode(),
        b"\xef\xbb\xbf" * 2 + json.dumps(checkpoint()).encode(),
        b"\xef\xbb\xbf",
    ],
)
def test_what_is_no_prefix(value: bytes) -> None:
    """Only a prefix of a known length before an object is removed, and only once."""
    with pytest.raises(InvalidRecord) as caught:
        decode(value)
    assert caught.value.reason is Reason.MALFORMED_JSON


@pytest.mark.parametrize("name", ["contentType", "content-type", "ContentType"])
@pytest.mark.parametrize(
    "text",
    [
        b'"application/cloudevents+json"',
        b' "application/cloudevents+json;charset=UTF-8" ',
        b"application/cloudevents+json",
    ],
)
def test_springs_content_type(name: str, text: bytes) -> None:
    """Spring names the header its own way, and writes JSON quotes around the value."""
    assert structured_type([(name, text)]) is not None
    assert is_bare(json.dumps(envelope(checkpoint())).encode(), [(name, text)])


@pytest.mark.parametrize(("version", "is_right"), [(b'"1.0"', True), (b'"0.3"', False)])
def test_springs_version(version: bytes, *, is_right: bool) -> None:
    """Spring quotes the other headers of binary mode in the same way."""
    headers: list[Header] = [("contentType", b'"application/json"'), ("ce_specversion", version)]
    with nullcontext() if is_right else pytest.raises(InvalidRecord):
        assert is_bare(json.dumps(checkpoint()).encode(), headers)


def test_the_standard_content_type_goes_first() -> None:
    """With both headers, Spring's `contentType` describes only the body of the message."""
    both: list[Header] = [STRUCTURED, ("contentType", b"application/json")]
    for headers in (both, both[::-1]):
        assert structured_type(headers) is not None


@pytest.mark.parametrize("value", [b"", b"{"])
def test_malformed_envelopes(value: bytes) -> None:
    """An envelope that is missing or not JSON is malformed."""
    with pytest.raises(InvalidRecord) as caught:
        decode(value, [STRUCTURED])
    assert caught.value.reason is Reason.MALFORMED_JSON
