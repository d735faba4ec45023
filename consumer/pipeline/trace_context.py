"""The W3C trace context that a producer may have given its record.

It is handed on as it stands, whatever it says, for we are a link of the way and not its owner: the
same source record always gives the same ready event. Here it is only read, and by the rules of the
specification: what is malformed, or said twice, is as if it were not there.
"""

import re
from typing import Final, NamedTuple

from consumer.pipeline.records import Header, Headers

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
_OWN: Final = frozenset({TRACEPARENT, TRACESTATE})
# As attributes of a CloudEvent in binary mode; the names of its headers know no case.
_OF_EVENT: Final = {f"ce_{name}": name for name in _OWN}
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16
_BLANKS: Final = b" \t"
_parse = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?").fullmatch


class TraceContext(NamedTuple):
    """Which span a record was sent by: its trace, itself and its flags, in lower-case hex."""

    trace_id: str
    span_id: str
    flags: str


def trace_context(headers: Headers) -> TraceContext | None:
    """Return the context that a record's headers name, if they name exactly one."""
    found = None
    for name, value in trace_headers(headers):
        if name == TRACEPARENT and value is not None:
            if found is not None:
                return None
            found = value
    return None if found is None else parse_traceparent(found)


def trace_headers(headers: Headers, of_envelope: Headers = ()) -> list[Header]:
    """Return the trace context of a source record as headers, each as it came.

    The first place with a `traceparent` counts, for a `tracestate` belongs to its own: the
    record's headers, the attributes of a CloudEvent in its headers, those in its envelope.
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
    """Return what a `traceparent` says; None: it is not valid.

    A later version than 00 may say more behind what is known, and is taken for what is known.
    """
    # The blanks are not part of the pattern: `.*` before them would try each of their splits.
    match = _parse(text.strip(_BLANKS))
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceContext(trace_id.decode(), span_id.decode(), flags.decode())
