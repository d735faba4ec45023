"""Splits a backfill's file into checkpoints, each as the original bytes.

A file has one of two forms: JSON lines, or one JSON document that spans several lines. The document
and each JSON line are a checkpoint, an array of checkpoints or a list response (an object with
``"object": "list"`` and ``"data"``). The first line shows which form the file has: the first line
of a document is not a complete JSON value.
"""

from collections.abc import Iterator
from typing import IO, Final

import msgspec

from consumer.errors import CheckpointReadyError
from consumer.jobs.backfill.file import Content
from consumer.pipeline.decode.lists import list_members
from consumer.pipeline.records import Reason

# Limits memory use: a line or a document is held in memory as a whole.
LIMIT_BYTES: Final = 256 * 1024 * 1024
_PROBE_BYTES: Final = 1024 * 1024
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_WHITE_SPACE: Final = b" \t\r\n"
_TRUNCATED: Final = "truncated"  # part of msgspec's error message for an incomplete document
_ADVICE: Final = "convert it to JSON lines, for example with `jq -c '.data[]'`"


class Element(msgspec.Struct, frozen=True):
    """A value, its line in the file (from 1), and its index in a list (from 0; None: no list)."""

    line: int
    index: int | None
    value: bytes


class Rejected(msgspec.Struct, frozen=True):
    """An element that is not sent, and the reason."""

    line: int
    index: int | None
    reason: Reason
    message: str


_skip = msgspec.json.Decoder(msgspec.Raw).decode


def read_elements(content: Content) -> Iterator[Element | Rejected]:
    """Yield the elements in file order.

    The same content always gives the same elements in the same order. A resumed backfill relies on
    this: it skips as many elements as earlier runs have handled.

    Raises:
        CheckpointReadyError: the file is one document, and this document is broken or too large.
    """
    document = _document(content)
    if document is not None:
        yield from _of_document(document)
        return
    for number, line in _lines(content.rewound()):
        if line is None:
            message = f"the line is longer than {LIMIT_BYTES} bytes; {_ADVICE}"
            yield Rejected(number, None, Reason.TOO_LARGE, message)
        else:
            yield from _of_line(number, line)


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Yield number and text of each line that is not blank.

    The text is None if the line is longer than `LIMIT_BYTES`.
    """
    number = 0
    while line := file.readline(LIMIT_BYTES + 1):
        number += 1
        is_cut = len(line) > LIMIT_BYTES and not line.endswith(b"\n")
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(_PROBE_BYTES)
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        text = line.strip(_WHITE_SPACE)
        if is_cut:  # even if the part that was read is blank: the rest of the line is not known
            yield number, None
        elif text:
            yield number, text


def _of_line(number: int, text: bytes) -> Iterator[Element | Rejected]:
    elements = list_members(text)
    if elements is None:
        yield Element(number, None, text)
        return
    for index, element in enumerate(elements):
        yield Element(number, index, bytes(element))


def _of_document(text: bytes) -> Iterator[Element]:
    members = list_members(text)
    if members is None:
        yield Element(1, None, text.strip(_WHITE_SPACE))
        return
    line, counted = 1, 0
    search_from = 0 if text.lstrip(_WHITE_SPACE).startswith(b"[") else text.find(b'"data"')
    for index, member in enumerate(members):
        value = bytes(member)
        position = text.find(value, search_from)
        line += text.count(b"\n", counted, position)
        yield Element(line, index, value)
        counted, search_from = position, position + len(value)


def _document(content: Content) -> bytes | None:
    """Return the text if the file is one document of many lines; None if it is JSON lines."""
    lines = _lines(content.rewound())
    _, first = next(lines, (0, b""))
    _, second = next(lines, (0, b""))
    if second == b"" or first is None or not _is_incomplete(first):
        return None
    second = second or b""  # a line that is too long is not a complete object
    # A file of JSON lines whose first line is truncated begins like a document. The first
    # `_PROBE_BYTES` usually show the difference. Then a large file need not be read completely.
    head = content.rewound().read(_PROBE_BYTES).removeprefix(_BYTE_ORDER_MARK)
    if content.size_bytes > _PROBE_BYTES and not _is_incomplete(head):
        _refuse_broken(content, second, head)
        return None
    if content.size_bytes > LIMIT_BYTES:
        raise CheckpointReadyError(
            f"{content.name} is one document of more than {LIMIT_BYTES} bytes; {_ADVICE}"
        )
    text = content.rewound().read().removeprefix(_BYTE_ORDER_MARK)
    if _problem(text) is None:
        return text
    _refuse_broken(content, second, text)
    return None


def _refuse_broken(content: Content, second_line: bytes, text: bytes) -> None:
    """Refuse a broken document, but accept a file whose second line is a complete JSON object.

    Such a file is JSON lines, and its first line is truncated.
    """
    if second_line.startswith(b"{") and _problem(second_line) is None:
        return
    raise CheckpointReadyError(
        f"{content.name} is one document of many lines, and it is broken: {_problem(text)}; "
        "nothing was sent"
    )


def _is_incomplete(text: bytes) -> bool:
    """Return whether the text is the beginning of a JSON document, without its end."""
    return text[:1] in (b"{", b"[") and _TRUNCATED in (_problem(text) or "")


def _problem(text: bytes) -> str | None:
    try:
        _skip(text)
    except (ValueError, RecursionError) as error:
        return str(error)
    return None
