"""JSON text of unknown shape, parsed with every refusal classified.

The depth is counted before anything is parsed: a parser's own limit depends on how deep the
interpreter's stack happens to be, and the same record must always get the same answer.
"""

import re
from typing import Any, Final

import msgspec

from consumer.pipeline.records import PoisonRecord, Reason, Stage

MAX_DEPTH: Final = 64
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# One that never ends runs to the end of the text, so that the scan stays linear.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_TO_PARENTHESES: Final = bytes.maketrans(b"[]{}", b"()()")
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")

_decode = msgspec.json.Decoder().decode
_skip = msgspec.json.Decoder(msgspec.Raw).decode


def parse(payload: bytes) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return the parsed document, or raise the poison that it is."""
    if _is_too_deep(payload):
        raise _too_deep()
    try:
        try:
            return _decode(payload)
        except msgspec.ValidationError as error:  # a number that no machine holds
            _require_json(payload)
            raise invalid(str(error)) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:  # msgspec.DecodeError and UnicodeDecodeError
        message = str(error)
        if payload.startswith(_BYTE_ORDER_MARK):
            message = f"the text starts with a byte order mark; {message}"
        raise malformed(message, type(error).__name__) from None


def _require_json(payload: bytes) -> None:
    """Raise ValueError where the text is not JSON behind the number that ended its parsing."""
    payload.decode()  # what is skipped is not looked at as text
    _skip(payload)


def malformed(message: str, cause: str = "DecodeError") -> PoisonRecord:
    """Return the poison of text that is not JSON."""
    return PoisonRecord(Reason.MALFORMED_JSON, message, Stage.VALUE_CONVERTER, cause)


def invalid(message: str) -> PoisonRecord:
    """Return the poison of JSON that is not what the contract asks for."""
    return PoisonRecord(Reason.INVALID_SCHEMA, message, Stage.VALUE_CONVERTER, "ValidationError")


def _too_deep() -> PoisonRecord:
    message = f"the document is nested deeper than {MAX_DEPTH} levels"
    return PoisonRecord(Reason.TOO_DEEP, message, Stage.VALUE_CONVERTER, "RecursionError")


def _is_too_deep(payload: bytes) -> bool:
    if payload.count(b"{") + payload.count(b"[") <= MAX_DEPTH:
        return False
    # One pass takes the innermost level off, so 64 take off all that may be there. A loop over the
    # brackets would hold up the whole process for ten seconds at a record of 10 MB.
    brackets = _STRING.sub(b"", payload).translate(_TO_PARENTHESES, _NO_BRACKETS)
    brackets += b")" * (MAX_DEPTH + 1)  # what is never closed has a depth too
    for _ in range(MAX_DEPTH):
        if b"()" not in brackets:
            return False
        brackets = brackets.replace(b"()", b"")
    return b"()" in brackets
