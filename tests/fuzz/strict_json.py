"""JSON as the contract reads it, by Python's own parser: the oracle's half that knows no field.

It shares nothing with `consumer.pipeline.json_document`: another parser, another count of depth.
What JSON's grammar leaves open is settled here as the contract and docs/subscribing.md have it:
the last of two equal keys wins, a lone surrogate is no text, a number must fit a 64-bit float or
have at most 4,300 characters as an integer, and nothing is nested deeper than 64 levels.
"""

import json
import re
from itertools import accumulate
from operator import sub
from typing import Any, Final

MAX_DEPTH: Final = 64
MAX_INTEGER_CHARS: Final = 4300
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_BEGINNINGS: Final = frozenset(bytes([mark]) for mark in b'[{"-0123456789tfn')
_INFINITY: Final = float("inf")


class Refused(Exception):
    """The text cannot be read; `reason` says why, in the words of docs/subscribing.md."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _OutOfRange(Exception):
    pass


def read_json(payload: bytes) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return what the text says, or raise `Refused`."""
    if not payload:
        raise Refused("malformed_json")
    if payload.lstrip(b" \t\r\n")[:1] not in _BEGINNINGS:
        raise Refused("malformed_json")
    if payload.count(b"[") + payload.count(b"{") > MAX_DEPTH and _is_too_deep(payload):
        raise Refused("too_deep")
    try:
        text = payload.decode()
        try:
            document = _strict(text)
        except _OutOfRange:
            _check_grammar(text)
            raise Refused("invalid_schema") from None
        if "\\u" in text:
            _check_surrogates(text)
    except ValueError:  # UnicodeError and JSONDecodeError are among them
        raise Refused("malformed_json") from None
    return document


def _is_too_deep(payload: bytes) -> bool:
    """Tell whether more than 64 brackets are ever open; one that closes nothing does not count.

    Behind a backslash outside a string no bracket is ever read.
    """
    outside = _STRING.sub(b"", payload).partition(b"\\")[0]
    depths = list(accumulate(_STEPS[mark] for mark in outside if mark in _STEPS))
    lowest = accumulate(depths, min, initial=0)
    return max(map(sub, depths, lowest), default=0) > MAX_DEPTH


def _finite(text: str) -> float:
    number = float(text)
    if number in {_INFINITY, -_INFINITY}:
        raise _OutOfRange
    return number


def _integer(text: str) -> int:
    if len(text) > MAX_INTEGER_CHARS:
        raise _OutOfRange
    return int(text)


def _no_constant(name: str) -> float:
    raise ValueError(name)  # NaN and Infinity, which Python takes and JSON does not know


def _text(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, found in pairs:
        name.encode()
        _check_text(found)
    return {}


def _check_text(found: object) -> None:
    if isinstance(found, str):
        found.encode()
    elif isinstance(found, list):
        for item in found:
            _check_text(item)


_decode_short = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant).decode
_decode_long = json.JSONDecoder(
    parse_float=_finite, parse_int=_integer, parse_constant=_no_constant
).decode
_decode_pairs = json.JSONDecoder(
    parse_float=len, parse_int=len, parse_constant=_no_constant, object_pairs_hook=_text
).decode


def _strict(text: str) -> Any:  # noqa: ANN401 - JSON of any shape
    # A hook for each integer costs as much as all the rest, so only where one can be too long.
    return (_decode_long if len(text) > MAX_INTEGER_CHARS else _decode_short)(text)


def _check_surrogates(text: str) -> None:
    """Raise UnicodeEncodeError for a lone surrogate in any string, overwritten keys included."""
    _check_text(_decode_pairs(text))


def _check_grammar(text: str) -> None:
    """Raise ValueError unless the whole text is JSON, whatever its numbers are."""
    _check_surrogates(text)
