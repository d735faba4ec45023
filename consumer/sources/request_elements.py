"""Splits the body of a request into checkpoints, each as its original bytes. Pure.

==============================================  ==================================================
content type                                    body
==============================================  ==================================================
``application/json``                            a checkpoint, an array, or a list response
``application/json`` with ``ce-`` headers       a CloudEvent in binary mode: the body is its data
``application/x-ndjson``, ``application/jsonl``  one of these in each line
``application/cloudevents+json``                a CloudEvent in structured mode
``application/cloudevents-batch+json``          an array of such events
==============================================  ==================================================

A CloudEvent becomes a record as the Kafka binding of CloudEvents 1.0 says. The pipeline reads both
modes.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple, TypeVar
from urllib.parse import unquote_to_bytes

from consumer.pipeline.decode.json_document import malformed
from consumer.pipeline.decode.lists import list_members
from consumer.pipeline.records import Header, InvalidRecord
from consumer.sources.problems import Refusal, too_large

T = TypeVar("T")

JSON: Final = "application/json"
STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
LINES: Final = frozenset({"application/x-ndjson", "application/jsonl", "application/x-jsonlines"})
ACCEPTED: Final = (JSON, *sorted(LINES), STRUCTURED, BATCH)
_CONTENT_TYPE: Final = "content-type"
_ATTRIBUTE: Final = re.compile(rb"ce-([a-z0-9]{1,40})")
_WHITE_SPACE: Final = b" \t\r\n"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_UTF_8: Final = frozenset({"", "utf-8", "utf8", '"utf-8"'})


class Element(NamedTuple):
    """A value of a request, and the headers of its record."""

    value: bytes
    headers: tuple[Header, ...] = ()
    problem: InvalidRecord | None = None
    """Why it is invalid, if this is known before the pipeline decodes it."""


_EMPTY: Final = Element(b"", problem=malformed("the body is empty"))


def content_type_of(headers: Mapping[bytes, Sequence[bytes]]) -> str:
    """Return the media type of a request, in lower case.

    Raises:
        Refusal: 415, the media type, its charset or the content encoding is not accepted.
    """
    encodings = headers.get(b"content-encoding", ())
    if any(one.strip().lower() not in (b"", b"identity") for one in encodings):
        raise _unsupported("the body must not be compressed (Content-Encoding)")
    values = headers.get(b"content-type", ())
    text = values[0].decode("latin-1") if len(values) == 1 else ""
    media_type, *parameters = (part.strip().lower() for part in text.split(";"))
    if media_type not in ACCEPTED:
        raise _unsupported(f"Content-Type must be one of {', '.join(ACCEPTED)}")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip() not in _UTF_8:
            raise _unsupported("the charset must be UTF-8")
    return media_type


def split_elements(
    content_type: str, headers: Mapping[bytes, Sequence[bytes]], body: bytes, max_elements: int
) -> list[Element]:
    """Return the elements of a body in their order.

    A body of another shape is one element, which the pipeline refuses with the reason.

    Raises:
        Refusal: 413, there are more than `max_elements`.
    """
    text = json_text(body)
    if not text:
        return [_EMPTY]
    if content_type == STRUCTURED:
        return [Element(text, ((_CONTENT_TYPE, STRUCTURED.encode()),))]
    if content_type == BATCH:
        events = _bounded(_array(text), max_elements)
        return [Element(bytes(one), ((_CONTENT_TYPE, STRUCTURED.encode()),)) for one in events]
    if content_type in LINES:
        elements: list[Element] = []
        for line in _lines(text):
            elements += _of_text(line)
            _bounded(elements, max_elements)
        return elements
    if b"ce-specversion" in headers:
        return [Element(text, _binary_headers(headers))]
    return _bounded(_of_text(text), max_elements)


def split_texts(content_type: str, body: bytes, max_elements: int) -> list[bytes]:
    """Return the JSON texts of a body: its lines, or the body itself.

    Raises:
        Refusal: 413, there are more than `max_elements`.
    """
    text = json_text(body)
    if content_type not in LINES or not text:
        return [text]
    return _bounded([*_lines(text)], max_elements)


def json_text(body: bytes) -> bytes:
    """Return a body without its byte order mark and the white space around it."""
    return body.removeprefix(_BYTE_ORDER_MARK).strip(_WHITE_SPACE)


def _lines(text: bytes) -> Iterator[bytes]:
    for line in text.split(b"\n"):
        stripped = line.strip(_WHITE_SPACE)
        if stripped:
            yield stripped


def _of_text(text: bytes) -> list[Element]:
    members = list_members(text)
    return [Element(text)] if members is None else [Element(bytes(one)) for one in members]


def _array(text: bytes) -> list[bytes]:
    members = list_members(text) if text.startswith(b"[") else None
    return [text] if members is None else [bytes(one) for one in members]


def _binary_headers(headers: Mapping[bytes, Sequence[bytes]]) -> tuple[Header, ...]:
    """Return the attributes of a CloudEvent in binary mode as headers of a record.

    In HTTP, characters of their values are percent-encoded. In Kafka the values are UTF-8.
    """
    found: list[Header] = [(_CONTENT_TYPE, JSON.encode())]
    for name, values in headers.items():
        attribute = _ATTRIBUTE.fullmatch(name)
        if attribute:
            found.append((f"ce_{attribute[1].decode()}", unquote_to_bytes(values[0])))
    return tuple(found)


def _bounded(elements: list[T], most: int) -> list[T]:
    if len(elements) > most:
        raise too_large(f"the request has more than {most} checkpoints")
    return elements


def _unsupported(detail: str) -> Refusal:
    return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
