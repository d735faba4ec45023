"""Validates all checkpoints of a request with the decoder of the pipeline, before any is sent."""

import asyncio
import contextlib
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from consumer.kafka.types import NewRecord
from consumer.pipeline.decode.checkpoint import decode
from consumer.pipeline.ready_event import MAX_ID_CHARS
from consumer.pipeline.record_size import batch_bytes
from consumer.pipeline.records import Header, InvalidRecord, Reason
from consumer.pipeline.trace_context import TRACEPARENT, trace_headers
from consumer.sources.problems import Refusal
from consumer.sources.request_elements import Element
from consumer.sources.validation_messages import for_http

ELEMENTS_BETWEEN_PAUSES: Final = 100
MAX_SHOWN: Final = 100
"""After this number of invalid elements the validation of a request ends."""
_SHOWN_ID_CHARS: Final = 200
_SHOWN_MESSAGE_CHARS: Final = 500


class InvalidElement(msgspec.Struct, frozen=True, omit_defaults=True):
    """An element that the service would not publish: where it is, and why."""

    index: int
    """Position in the request, from 0."""
    reason: Reason
    message: str
    id: str | None = None


class _Identity(msgspec.Struct):
    id: Any = None
    specversion: Any = None
    data: Any = None
    """In a CloudEvent the checkpoint, which has an id of its own."""


_decode_identity = msgspec.json.Decoder(_Identity).decode


async def to_records(
    elements: Sequence[Element], trace: tuple[Header, ...], max_message_bytes: int
) -> list[NewRecord]:
    """Return the record of each element: the key is the id, the value is the original bytes.

    `trace` is the trace context of the request. An element with a trace context of its own keeps
    that one. Large requests give other requests time in between.

    Raises:
        Refusal: 422, at least one element is invalid; the answer names the elements.
    """
    records: list[NewRecord] = []
    invalid: list[InvalidElement] = []
    for index, element in enumerate(elements):
        if index % ELEMENTS_BETWEEN_PAUSES == ELEMENTS_BETWEEN_PAUSES - 1:
            await asyncio.sleep(0)
        try:
            records.append(_record(element, trace, max_message_bytes))
        except InvalidRecord as error:
            invalid.append(_describe(index, element, error.reason, error.message))
        if len(invalid) == MAX_SHOWN:
            break
    if not invalid:
        return records
    raise Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "no checkpoint of the request was accepted, because some are invalid",
        elements=len(elements),
        invalid=msgspec.to_builtins(invalid),
        complete=len(invalid) < MAX_SHOWN,
    )


def _record(element: Element, trace: tuple[Header, ...], max_message_bytes: int) -> NewRecord:
    """Return the record of an element.

    Raises:
        InvalidRecord: the service could not publish it.
    """
    value, headers, problem = element
    if problem is not None:
        raise problem
    decoded = decode(value, headers)
    if len(decoded.id) > MAX_ID_CHARS:
        message = f"the id has {len(decoded.id)} characters, but at most {MAX_ID_CHARS} are allowed"
        raise InvalidRecord(Reason.TOO_LARGE, message, "", "")
    if trace and not any(n == TRACEPARENT for n, _ in trace_headers(headers, decoded.trace)):
        headers = (*headers, *trace)
    key = decoded.id.encode()
    size_bytes = batch_bytes(key, value, headers)
    if size_bytes > max_message_bytes:
        message = (
            f"the checkpoint needs {size_bytes} bytes in Kafka, but max.message.bytes of the topic "
            f"is {max_message_bytes}"
        )
        raise InvalidRecord(Reason.TOO_LARGE, message, "", "")
    return NewRecord(key, value, headers)


def _describe(index: int, element: Element, reason: Reason, message: str) -> InvalidElement:
    identity = None
    with contextlib.suppress(ValueError, RecursionError):  # the element is no object
        found = _decode_identity(element.value)
        is_event = isinstance(found.specversion, str)
        data = found.data if isinstance(found.data, dict) else {}
        identity = data.get("id") if is_event else found.id
    shown = identity[:_SHOWN_ID_CHARS] if isinstance(identity, str) else None
    return InvalidElement(index, reason, for_http(message)[:_SHOWN_MESSAGE_CHARS], shown)
