"""CloudEvents around checkpoints: structured, binary, and what only looks like it."""

import base64
import json

import pytest

from consumer.pipeline.codec import decode
from consumer.pipeline.records import Header, PoisonRecord, Reason
from tests.builders import STRUCTURED, checkpoint, envelope

BARE = decode(json.dumps(checkpoint()).encode())


def test_structured_data_is_the_checkpoint() -> None:
    """The same checkpoint has the same content bare and in an envelope."""
    assert decode(json.dumps(envelope(checkpoint())).encode(), [STRUCTURED]) == BARE


def test_structured_data_in_base64() -> None:
    """Data in base64 is taken too."""
    encoded = base64.b64encode(json.dumps(checkpoint()).encode()).decode()
    value = json.dumps(envelope(..., data_base64=encoded)).encode()
    assert decode(value, [STRUCTURED]) == BARE


@pytest.mark.parametrize("name", ["content-type", "Content-Type"])
@pytest.mark.parametrize(
    "text", [b"application/cloudevents+json", b"Application/CloudEvents+JSON ;x"]
)
def test_content_type_in_any_case(name: str, text: bytes) -> None:
    """Header names and media types know no case, and parameters do not matter."""
    assert decode(json.dumps(envelope(checkpoint())).encode(), [(name, text)]) == BARE


def test_white_space_around_the_media_type_is_that_of_ascii() -> None:
    """A no-break space makes it another media type: the value is then taken as it is."""
    value = json.dumps(checkpoint()).encode()
    assert decode(value, [("content-type", b"\xa0application/cloudevents+json")]) == BARE
    spaced: Header = ("content-type", b" application/cloudevents+json\t")
    assert decode(json.dumps(envelope(checkpoint())).encode(), [spaced]) == BARE


def test_binary_mode() -> None:
    """With attributes in headers the value is the checkpoint itself."""
    headers: list[Header] = [("ce_specversion", b"1.0"), ("content-type", b"application/json")]
    assert decode(json.dumps(checkpoint()).encode(), headers) == BARE


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
        (envelope(checkpoint()), []),
    ],
)
def test_invalid_envelopes(value: object, headers: list[Header]) -> None:
    """Other versions, formats and shapes are refused as invalid."""
    with pytest.raises(PoisonRecord) as caught:
        decode(json.dumps(value).encode(), headers)
    assert caught.value.reason is Reason.INVALID_SCHEMA


def test_an_envelope_without_its_header_is_named() -> None:
    """The message says which header is missing."""
    with pytest.raises(PoisonRecord, match="no header content-type"):
        decode(json.dumps(envelope(checkpoint())).encode())


@pytest.mark.parametrize("value", [None, b"", b"{"])
def test_malformed_envelopes(value: bytes | None) -> None:
    """An envelope that is missing or no JSON is malformed."""
    with pytest.raises(PoisonRecord) as caught:
        decode(value, [STRUCTURED])
    assert caught.value.reason is Reason.MALFORMED_JSON
