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
# Strings are skipped whole; one that never ends runs to the end, so that the scan stays linear.
_STRING_OR_BRACKET: Final = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL
)

_decode = msgspec.json.Decoder().decode


def parse(payload: bytes) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return the parsed document, or raise the poison that it is."""
    if _is_too_deep(payload):
        raise _too_deep()
    try:
        return _decode(payload)
    except RecursionError:
        raise _too_deep() from None
    except msgspec.ValidationError as error:  # well formed, but a number that no machine holds
        raise invalid(str(error)) from None
    except ValueError as error:  # msgspec.DecodeError and UnicodeDecodeError
        message = str(error)
        if payload.startswith(_BYTE_ORDER_MARK):
            message = f"the text starts with a byte order mark; {message}"
        raise malformed(message, type(error).__name__) from None


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
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(payload):
        token = match[0]
        if token in b"{[":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif token in b"}]":
            depth -= 1
    return False
