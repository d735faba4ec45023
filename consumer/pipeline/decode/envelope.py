"""Removes the envelopes around a checkpoint, layer by layer, each kind at most once.

=========================  ====================================================================
schema registry's prefix   before the JSON: byte 0 and 4 bytes (Confluent, Apicurio 3) or 8 bytes
                           (Apicurio 2), byte 1 and 16 bytes (a GUID). Removed only if `{` follows.
byte-order mark            of UTF-8, before any JSON text
CloudEvents 1.0            structured JSON, with or without its content type; binary mode. The data
                           is an object, the JSON text of one, or JSON text in base64
Kafka Connect              ``{"schema", "payload"}`` of its JsonConverter: the payload is an object
                           or the JSON text of one
=========================  ====================================================================

The content type has priority, as in the Kafka binding of CloudEvents 1.0. If it does not name a
structured CloudEvent, a document counts as an envelope only if its `object` is absent or null,
because a document without `object` cannot be a checkpoint.
"""

import base64
import binascii
import re
from enum import Enum, auto
from typing import Any, Final

import msgspec

from consumer.pipeline.decode.json_document import invalid, malformed, parse
from consumer.pipeline.decode.wrappings import BATCH_OF_EVENTS, explain_document
from consumer.pipeline.records import Header, Headers
from consumer.pipeline.trace_context import TRACEPARENT, TRACESTATE
from schemas.ready_event import SPEC_VERSION

_STRUCTURED_PREFIX: Final = "application/cloudevents"
_STRUCTURED_JSON: Final = "application/cloudevents+json"
_BATCH_PREFIX: Final = "application/cloudevents-batch"
_WHITE_SPACE: Final = " \t"
_BASE64_GROUP: Final = 4
_QUOTED_CHARS: Final = 80
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_MARKED_OBJECT: Final = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*+\{")
_REGISTRY_PREFIXES: Final = {b"\x00": (5, 9), b"\x01": (17,)}
_CONNECT_MEMBERS: Final = frozenset({"schema", "payload"})


class Layer(Enum):
    """A kind of envelope. A record may have at most one of each kind."""

    EVENT = auto()
    CONNECT = auto()


class Inner(msgspec.Struct, frozen=True):
    """The JSON text inside an envelope."""

    text: bytes
    opened: frozenset[Layer] = frozenset()
    """The envelopes that were removed."""
    trace: tuple[Header, ...] = ()
    """The trace context in the CloudEvents envelope, as headers."""


class _Event(msgspec.Struct):
    data: msgspec.Raw


class _Connect(msgspec.Struct):
    payload: msgspec.Raw


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_connect = msgspec.json.Decoder(_Connect).decode


def bare_text(value: bytes) -> bytes:
    """Return the value without a schema registry's prefix and without a byte-order mark."""
    for length in _REGISTRY_PREFIXES.get(value[:1], ()):
        if _MARKED_OBJECT.match(value, length):
            value = value[length:]
            break
    return value.removeprefix(_BYTE_ORDER_MARK)


def structured_type(headers: Headers) -> str | None:
    """Return the content type of a structured CloudEvent, or None if the record is not one.

    Also accepts the header as Spring writes it: with the name `contentType`, and with a value that
    is quoted as a JSON string.

    Raises:
        InvalidRecord: the headers name a version of CloudEvents other than 1.0.
    """
    content_type = springs_type = spec_version = None
    for name, content in headers:
        lowered = name.lower()
        if lowered == "content-type":
            content_type = content
        elif lowered == "contenttype":
            springs_type = content
        elif lowered == "ce_specversion":
            spec_version = content or b""
    if content_type is None:
        content_type = springs_type
    if content_type is not None:
        # Strip and lower bytes, because the methods of str would also change characters outside of
        # ASCII.
        content_type = _unquoted(content_type.strip()).strip().lower()
        if content_type.startswith(_STRUCTURED_PREFIX.encode()):
            return content_type.decode("latin-1")
    if spec_version is not None:
        _check_version(_unquoted(spec_version).decode("latin-1"))
    return None


def _unquoted(content: bytes) -> bytes:
    """Return a header's value without the quotes of a JSON string around it."""
    return content[1:-1] if content[:1] == content[-1:] == b'"' else content


def open_structured(text: bytes, content_type: str) -> Inner:
    """Return the data of a structured CloudEvent of this content type."""
    if content_type.partition(";")[0].rstrip(_WHITE_SPACE) != _STRUCTURED_JSON:
        shown = content_type[:_QUOTED_CHARS]
        if content_type.startswith(_BATCH_PREFIX):
            raise invalid(f"content type {shown!r}: {BATCH_OF_EVENTS}")
        raise invalid(f"content type {shown!r}: a structured CloudEvent must have the format +json")
    if not text:
        raise malformed("the record has no value")
    document = parse(text)
    if not isinstance(document, dict):
        raise _not_an_envelope("the CloudEvents envelope is not an object", document)
    return _open_event(text, document, frozenset())


def open_envelope(text: bytes, document: dict[str, Any], opened: frozenset[Layer]) -> Inner | None:
    """Return the content of a document if its members show that it is an envelope, else None.

    Also return None for an envelope of a kind in `opened`, since each kind is removed only once.
    """
    if document.get("object") is not None:
        return None
    if _is_event(document) and Layer.EVENT not in opened:
        return _open_event(text, document, opened)
    if document.keys() == _CONNECT_MEMBERS and Layer.CONNECT not in opened:
        return _open_connect(text, document, opened)
    return None


def _is_event(document: dict[str, Any]) -> bool:
    return "specversion" in document and ("data" in document or "data_base64" in document)


def _open_event(text: bytes, document: dict[str, Any], opened: frozenset[Layer]) -> Inner:
    if "specversion" not in document:
        raise _not_an_envelope("the CloudEvents envelope has no specversion", document)
    _check_version(document["specversion"])
    opened |= {Layer.EVENT}
    trace = _trace(document)
    if "data" in document:
        if "data_base64" in document:
            raise invalid("the CloudEvents envelope has both data and data_base64")
        return Inner(_data_text(text, document["data"]), opened, trace)
    encoded = document.get("data_base64")
    if not isinstance(encoded, str):
        raise invalid("the CloudEvents envelope has no data")
    if len(encoded) % _BASE64_GROUP:  # Python accepts more padding than the standard allows
        raise invalid("data_base64: its length is not a multiple of 4")
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"data_base64: {error}") from None
    return Inner(data.removeprefix(_BYTE_ORDER_MARK), opened, trace)


def _data_text(text: bytes, data: object) -> bytes:
    """Return the data of an event as JSON text.

    If a program gives the JSON text to an SDK as a string, the SDK writes the data as a string. In
    the content type text/plain, the specification requires this.
    """
    if isinstance(data, str) and _MARKED_OBJECT.match(encoded := data.encode()):
        return encoded.removeprefix(_BYTE_ORDER_MARK)
    return bytes(_decode_event(text).data)


def _open_connect(text: bytes, document: dict[str, Any], opened: frozenset[Layer]) -> Inner:
    payload = document["payload"]
    opened |= {Layer.CONNECT}
    if isinstance(payload, str):
        return Inner(payload.encode().removeprefix(_BYTE_ORDER_MARK), opened)
    if not isinstance(payload, dict):
        raise _not_an_envelope("the payload is neither an object nor a text", document)
    return Inner(bytes(_decode_connect(text).payload), opened)


def _trace(document: dict[str, Any]) -> tuple[Header, ...]:
    """Return the attributes of the Distributed Tracing extension, if there is a traceparent."""
    if not isinstance(document.get(TRACEPARENT), str):
        return ()
    names = (name for name in (TRACEPARENT, TRACESTATE) if isinstance(document.get(name), str))
    return tuple((name, document[name].encode()) for name in names)


def _check_version(version: object) -> None:
    if version != SPEC_VERSION:
        # The repr of a list or an object may take longer than all other work for this record.
        is_nested = isinstance(version, dict | list)
        shown = type(version).__name__ if is_nested else repr(version)[:_QUOTED_CHARS]
        raise invalid(f"CloudEvents specversion is {shown}, expected {SPEC_VERSION!r}")


def _not_an_envelope(message: str, document: object) -> Exception:
    explained = explain_document(document)
    return invalid(message if explained is None else f"{explained}; {message}")
