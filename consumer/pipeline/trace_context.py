"""Reads the W3C trace context that a producer may add to its record.

The service copies the context unchanged into the ready event, even if the context is not valid.
The context belongs to the producer, and the same source record must always give the same event.
Parsing follows the specification: a context that is malformed or occurs twice counts as absent.
"""

import re
from typing import Final, NamedTuple

from consumer.pipeline.records import Header, Headers

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
_OWN: Final = frozenset({TRACEPARENT, TRACESTATE})
# The attributes of a CloudEvent in binary mode. The names of its headers are case-insensitive.
_OF_EVENT: Final = {f"ce_{name}": name for name in _OWN}
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16
_BLANKS: Final = b" \t"
_parse = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?").fullmatch


class TraceContext(NamedTuple):
    """The span that sent a record: trace id, span id and flags, in lower-case hex."""

    trace_id: str
    span_id: str
    flags: str


def trace_context(headers: Headers) -> TraceContext | None:
    """Return the trace context in a record's headers; None unless there is exactly one, and valid.

    The envelope is not read.
    """
    found = None
    for name, value in trace_headers(headers):
        if name == TRACEPARENT and value is not None:
            if found is not None:
                return None
            found = value
    return None if found is None else parse_traceparent(found)


def trace_headers(headers: Headers, of_envelope: Headers = ()) -> list[Header]:
    """Return the trace context of a source record as headers with unchanged values.

    A `tracestate` belongs to the `traceparent` in the same place. So both come from the first of
    these places that has a `traceparent`: the headers `traceparent` and `tracestate`, the
    attributes of a CloudEvent in other headers (`ce_traceparent`), the attributes in the envelope.
    If no place has a `traceparent`, return the header `tracestate` alone.
    """
    own: list[Header] = []
    of_event: list[Header] = []
    for name, value in headers:
        if value is None:
            continue
        if name in _OWN:
            own.append((name, value))
        elif (lowered := name.lower()) in _OF_EVENT:
            of_event.append((_OF_EVENT[lowered], value))
    for found in (own, of_event):
        if any(name == TRACEPARENT for name, _ in found):
            return found
    return list(of_envelope) or own


def parse_traceparent(text: bytes) -> TraceContext | None:
    """Return the parsed `traceparent`, or None if it is not valid.

    A version later than 00 can have more fields at the end. Only the known fields are read.
    """
    # Blanks are stripped first: a pattern for blanks after `.*` would backtrack over them.
    match = _parse(text.strip(_BLANKS))
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceContext(trace_id.decode(), span_id.decode(), flags.decode())
