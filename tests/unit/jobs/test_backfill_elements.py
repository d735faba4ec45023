"""Splitting a backfill's file: lines, list responses, documents, and invalid text."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import CheckpointReadyError
from consumer.jobs.backfill import elements as backfill_elements
from consumer.jobs.backfill.elements import Element, Rejected, read_elements
from consumer.jobs.backfill.file import Content, open_content
from consumer.pipeline.records import Reason
from tests.builders import checkpoint
from tests.property.strategies import checkpoints, spellings

A, B, C = (json.dumps(checkpoint(id=one)).encode() for one in "abc")


def listed(*values: bytes) -> bytes:
    """Return a list response as the API sends it."""
    data = b", ".join(values)
    return b'{"object": "list", "data": [' + data + b'], "has_more": false}'


def pretty(document: object) -> bytes:
    """Return a document of many lines."""
    return json.dumps(document, indent=2).encode()


def elements(tmp_path: Path, text: bytes) -> list[tuple[int, int | None, bytes]]:
    """Return line, index and bytes of each element of a file."""
    path = tmp_path / "file"
    path.write_bytes(text)
    with open_content(str(path)) as content:
        found = list(read_elements(content))
        assert list(read_elements(content)) == found
    assert all(isinstance(one, Element) for one in found)
    return [(one.line, one.index, one.value) for one in found if isinstance(one, Element)]


def test_lines(tmp_path: Path) -> None:
    """Each line gives its bytes, with any line end; blank lines only count as lines."""
    expected = [(1, None, A), (3, None, B), (5, None, b"rubbish"), (6, None, C)]
    text = A + b"\n\n" + B + b"\n \t\nrubbish\n  " + C
    assert elements(tmp_path, text) == expected
    assert elements(tmp_path, b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")) == expected
    assert elements(tmp_path, text + b" \n\n") == expected


@pytest.mark.parametrize("text", [b"", b"\n", b"\xef\xbb\xbf\r\n \n"])
def test_nothing(tmp_path: Path, text: bytes) -> None:
    """An empty file has no elements."""
    assert elements(tmp_path, text) == []


def test_lines_that_are_lists(tmp_path: Path) -> None:
    """List responses and arrays on one line are split; checkpoints may be between them."""
    text = b"\n".join([listed(A, B), C, listed(), b"[" + A + b",1]", listed(b" {} ")])
    assert elements(tmp_path, text) == [
        (1, 0, A),
        (1, 1, B),
        (2, None, C),
        (4, 0, A),
        (4, 1, b"1"),
        (5, 0, b"{}"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b'{"object": "list"}',
        b'{"object": "list", "data": {}}',
        b'{"object": "list", "data": [{"a": 1}',
        b'{"object": "lists", "data": [1], "x": "list"}',
        b"[1, 2",
        b"[" * 100_000,
        b'{"object": "list", "data": ' + b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_other_values_are_not_split(tmp_path: Path, line: bytes) -> None:
    """The pipeline gives the reason why such an element is invalid."""
    assert elements(tmp_path, line) == [(1, None, line)]
    assert elements(tmp_path, line + b"\n" + A) == [(1, None, line), (2, None, A)]


def test_one_document(tmp_path: Path) -> None:
    """A list response, an array or a checkpoint may have many lines."""
    one = checkpoint(id="a")
    response = {"first_id": "x", "object": "list", "data": [one, {}, one], "has_more": False}
    for before in (b"", b"\xef\xbb\xbf"):
        found = elements(tmp_path, before + pretty(response) + b"\n")
        assert [(line, index) for line, index, _ in found] == [(5, 0), (18, 1), (19, 2)]
        assert [json.loads(value) for *_, value in found] == [one, {}, one]
    assert [line for line, *_ in elements(tmp_path, pretty([one, one]))] == [2, 15]
    assert elements(tmp_path, b"[\n" + A + b",\n" + B + b"\n]\n") == [(2, 0, A), (3, 1, B)]
    assert elements(tmp_path, b"[\n" + A + b"\n]\n") == [(2, 0, A)]
    assert elements(tmp_path, pretty(one)) == [(1, None, pretty(one))]


@pytest.mark.parametrize(
    "text",
    [
        pretty({"object": "list", "data": [checkpoint()]})[:-8],
        pretty([checkpoint()]).replace(b"object", b'"'),
        b"[\n" + A + b"\n" + B + b",\n" + A[:-3],
    ],
    ids=["cut", "damaged", "no comma"],
)
def test_a_broken_document(tmp_path: Path, text: bytes) -> None:
    """An incomplete document is refused as a whole; its lines are not elements."""
    if text.startswith(b"[\n{"):  # its second line is whole: these might as well be JSON lines
        assert len(elements(tmp_path, text)) == 4
        return
    with pytest.raises(CheckpointReadyError, match="one document of many lines, and it is broken"):
        elements(tmp_path, text)


def test_a_truncated_first_line_is_not_a_document(tmp_path: Path) -> None:
    """If the first of the JSON lines is truncated, the others are read, also in a large file."""
    for count in (2, 5_000):
        found = elements(tmp_path, A[:50] + (b"\n" + B) * count)
        assert found[:2] == [(1, None, A[:50]), (2, None, B)]
        assert len(found) == count + 1


@pytest.mark.parametrize("blank", [1_001, 2_000], ids=["cut in the blanks", "all blank"])
def test_blanks_do_not_hide_the_end_of_a_too_long_line(
    blank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is not read, so it is rejected even if the part that was read is blank."""
    monkeypatch.setattr(backfill_elements, "LIMIT_BYTES", 1000)
    path = tmp_path / "file"
    path.write_bytes(A + b"\n" + B + b" " * blank + C + b"\n" + b" " * blank + C + b"\n" + B)
    with open_content(str(path)) as content:
        found = [(type(one), one.line) for one in read_elements(content)]
    assert found == [(Element, 1), (Rejected, 2), (Rejected, 3), (Element, 4)]


def test_too_long_lines_and_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the too long line is rejected, but a too long document is refused as a whole."""
    monkeypatch.setattr(backfill_elements, "LIMIT_BYTES", 1000)
    path = tmp_path / "file"
    path.write_bytes(A + b"\n" + listed(A, B, C, A) + b"\n" + B + b"\n" + b"x" * 1001)
    with open_content(str(path)) as content:
        found = list(read_elements(content))
    assert [type(one) for one in found] == [Element, Rejected, Element, Rejected]
    assert [one.line for one in found] == [1, 2, 3, 4]
    assert {one.reason for one in found if isinstance(one, Rejected)} == {Reason.TOO_LARGE}
    with pytest.raises(CheckpointReadyError, match="one document of more than 1000 bytes; convert"):
        elements(tmp_path, pretty([checkpoint()] * 4))


@given(st.data())
def test_every_form_gives_the_same_bytes(data: st.DataObject) -> None:
    """Every form of a file gives the original bytes of its checkpoints."""
    fields: list[dict[str, Any]] = data.draw(st.lists(checkpoints(), min_size=1, max_size=4))
    values = [data.draw(spellings(one)).strip() for one in fields]
    lines = [value.replace(b"\n", b" ") for value in values]
    forms = {
        b"\n".join(lines): lines,
        b"\r\n".join(lines): lines,
        b"\n".join(listed(line) for line in lines): lines,
        listed(*values).replace(b"\n", b" "): lines,
        b"[" + b",".join(lines) + b"]": lines,
        listed(*values): values,
        b"[\n" + b",\n".join(values) + b"\n]": values,
    }
    for text, expected in forms.items():
        with tempfile.TemporaryFile() as file:
            file.write(text)
            file.flush()
            found = list(read_elements(Content("drawn", file)))
        assert [one.value for one in found if isinstance(one, Element)] == expected, text
