"""CloudEvents envelopes: finds the checkpoint inside, in structured or in binary mode.

As in the Kafka binding of CloudEvents 1.0, the content type decides first. A record without
either header is taken as a bare checkpoint.
"""

import base64
import binascii
from typing import Any, Final

import msgspec

from consumer.pipeline.json_document import invalid, malformed, parse
from consumer.pipeline.records import Headers
from schemas.ready_event import SPEC_VERSION

_STRUCTURED_PREFIX: Final = "application/cloudevents"
_STRUCTURED_JSON: Final = "application/cloudevents+json"
_WHITE_SPACE: Final = " \t"
_BASE64_GROUP: Final = 4
_QUOTED_CHARS: Final = 80


class _Envelope(msgspec.Struct):
    data: msgspec.Raw


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def unwrap(value: bytes | None, headers: Headers) -> bytes | None:
    """Return the JSON text of the checkpoint that the record carries."""
    content_type = spec_version = None
    for name, content in headers:
        lowered = name.lower()
        if lowered == "content-type":
            content_type = content
        elif lowered == "ce_specversion":
            spec_version = content or b""
    if content_type is not None:
        # As bytes: a str would take more than ASCII's for white space and letters.
        text = content_type.strip().lower().decode("latin-1")
        if text.startswith(_STRUCTURED_PREFIX):
            return _unwrap_structured(value, text)
    if spec_version is not None:
        _check_version(spec_version.decode("latin-1"))
    return value


def is_envelope(document: dict[str, Any]) -> bool:
    """Tell whether a document has the marks of a structured CloudEvent."""
    return "specversion" in document and ("data" in document or "data_base64" in document)


def _unwrap_structured(value: bytes | None, content_type: str) -> bytes:
    if content_type.partition(";")[0].rstrip(_WHITE_SPACE) != _STRUCTURED_JSON:
        shown = content_type[:_QUOTED_CHARS]
        raise invalid(f"content type {shown!r}: of structured CloudEvents only +json is understood")
    if not value:
        raise malformed("the record has no value")
    document = parse(value)
    if not isinstance(document, dict):
        raise invalid("the CloudEvents envelope is not an object")
    _check_version(document.get("specversion"))
    if "data" in document:
        if "data_base64" in document:
            raise invalid("the CloudEvents envelope has both data and data_base64")
        return bytes(_decode_envelope(value).data)
    encoded = document.get("data_base64")
    if not isinstance(encoded, str):
        raise invalid("the CloudEvents envelope has no data")
    if len(encoded) % _BASE64_GROUP:  # Python takes more padding than there may be
        raise invalid("data_base64: its length is no multiple of 4")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"data_base64: {error}") from None


def _check_version(version: object) -> None:
    if version != SPEC_VERSION:
        # The repr of a list or an object may cost more than all the rest of the record.
        is_nested = isinstance(version, dict | list)
        shown = type(version).__name__ if is_nested else repr(version)[:_QUOTED_CHARS]
        raise invalid(f"CloudEvents specversion is {shown}, not {SPEC_VERSION!r}")
