"""Parses JSON text of unknown shape, and classifies every error by a reason.

The depth is checked before parsing. The parser's own limit depends on the current depth of the
interpreter's stack, but the same record must always get the same result.
"""

import math
import re
from functools import reduce
from operator import getitem
from typing import Any, Final

import msgspec

from consumer.pipeline.decode.wrappings import explain_not_utf8, explain_text
from consumer.pipeline.records import InvalidRecord, Reason, Stage

MAX_DEPTH: Final = 64
_CLOSE, _OPEN = 0, 1
_TO_STEPS: Final = bytes.maketrans(b"[]{}", bytes([_OPEN, _CLOSE, _OPEN, _CLOSE]))
_BEGINNING: Final = re.compile(rb'[ \t\r\n]*+[\[{"0-9tfn-]')
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_CHUNK_BRACKETS: Final = 65_536
_DEPTHS: Final[list[list[Any]]] = [[] for _ in range(MAX_DEPTH + 2)]
"""A state machine. Each depth is a list of the next depth after a closing bracket (item 0) and
after an opening bracket (item 1)."""
for _depth, _next in enumerate(_DEPTHS):
    _next[:] = [_DEPTHS[max(0, _depth - 1)], _DEPTHS[min(_depth + 1, MAX_DEPTH + 1)]]
_TOO_DEEP: Final = _DEPTHS[-1]
_TOO_DEEP[_CLOSE] = _TOO_DEEP  # no bracket leaves this state

# msgspec takes 6 µs for a number near either end of a float's range (1e290, 5e-324). That is 100
# times more than for other numbers: 1 MB of them takes a second. Python's `float` takes the same
# time for all numbers, but is slower for most. So `float` parses the numbers only if a text has
# such a number and more than this many commas.
_FEW_COMMAS: Final = 64
_SLOW_EXPONENT: Final = re.compile(rb"[0-9][eE][+-]?(?:[0-9]{3}|2)").search


def _may_contain_slow_numbers(payload: bytes) -> bool:
    return payload.count(b",") > _FEW_COMMAS and _SLOW_EXPONENT(payload) is not None


def _finite_float(text: str) -> float:
    """Return the number. msgspec turns the ValueError into its own error with the position."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("Number out of range")
    return number


_decode = msgspec.json.Decoder().decode
_decode_slow_numbers = msgspec.json.Decoder(float_hook=_finite_float).decode
_skip = msgspec.json.Decoder(msgspec.Raw).decode


def parse(payload: bytes) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return the parsed document.

    Raises:
        InvalidRecord: the text is not JSON, or too deep, or has a number out of range.
    """
    # In a value that does not begin like JSON, brackets mean nothing: the value may be compressed.
    if _BEGINNING.match(payload) and _is_too_deep(payload):
        raise _too_deep()
    try:
        try:
            return (_decode_slow_numbers if _may_contain_slow_numbers(payload) else _decode)(
                payload
            )
        except msgspec.ValidationError as error:  # a number out of range
            _require_json(payload)
            raise invalid(str(error)) from None
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError as error:
        message = f"{explain_not_utf8(payload)}; {error}"
        raise malformed(message, type(error).__name__) from None
    except ValueError as error:  # msgspec.DecodeError
        explained, message = explain_text(payload, str(error)), str(error)
        if explained is not None:
            message = f"{explained}; {message}"
        raise malformed(message, type(error).__name__) from None


def _require_json(payload: bytes) -> None:
    """Raise ValueError if the text is not JSON.

    It is called after the parser stopped at a number out of range, so the text after this number is
    not checked yet.
    """
    payload.decode()  # `_skip` does not check the encoding of what it skips
    _skip(payload)


def tombstone() -> InvalidRecord:
    """Return the error for a null value, which deletes a key in a compacted topic."""
    message = "the value is null (a tombstone): it holds no checkpoint, and nothing is deleted"
    return InvalidRecord(Reason.TOMBSTONE, message, Stage.VALUE_CONVERTER, "Tombstone")


def malformed(message: str, cause: str = "DecodeError") -> InvalidRecord:
    """Return the error for a text that is not JSON."""
    return InvalidRecord(Reason.MALFORMED_JSON, message, Stage.VALUE_CONVERTER, cause)


def invalid(message: str) -> InvalidRecord:
    """Return the error for JSON that violates the contract."""
    return InvalidRecord(Reason.INVALID_SCHEMA, message, Stage.VALUE_CONVERTER, "ValidationError")


def _too_deep() -> InvalidRecord:
    message = f"the document is nested deeper than {MAX_DEPTH} levels"
    return InvalidRecord(Reason.TOO_DEEP, message, Stage.VALUE_CONVERTER, "RecursionError")


def _is_too_deep(payload: bytes) -> bool:
    """Return whether more than 64 brackets are open at any position.

    A closing bracket without an opening one does not count. Each step is one pass in C, because a
    loop in Python over the brackets of 10 MB would block the process for ten seconds. So would a
    pattern that removes one level at a time.
    """
    if payload.count(b"{") + payload.count(b"[") <= MAX_DEPTH:
        return False
    brackets = _outside_strings(payload).translate(_TO_STEPS, _NO_BRACKETS)
    depth = _DEPTHS[0]
    for begin in range(0, len(brackets), _CHUNK_BRACKETS):
        depth = reduce(getitem, brackets[begin : begin + _CHUNK_BRACKETS], depth)
        if depth is _TOO_DEEP:
            return True
    return False


def _outside_strings(payload: bytes) -> bytes:
    """Return the text without its strings, up to the first backslash outside a string.

    Such a backslash is an error, so no parser reads further.
    """
    # Escapes are replaced in pairs from the left, because an escaped quote does not end a string.
    if b"\\" in payload:
        payload = payload.replace(b"\\\\", b"\\/").replace(b'\\"', b"\\/")
    return b"".join(payload.split(b'"')[::2]).partition(b"\\")[0]
