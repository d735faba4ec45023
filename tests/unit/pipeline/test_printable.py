"""Text of producers on a terminal: what the terminal would obey is spelled out."""

import json
import unicodedata

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from consumer.pipeline.printable import printable, printable_json, printable_line

SET_CLIPBOARD = "\x1b]52;c;aGk=\x07"
CLEAR_SCREEN = "\x1b[2J"
OBEYED = "".join(map(chr, [*range(32), *range(0x7F, 0xA0), 0x200B, 0x200E, 0x2028, 0x2029])) + (
    "".join(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF, 0xE0001]))
)


def test_escape_sequences_and_overrides_are_spelled_out() -> None:
    """C0, DEL, C1, bidirectional overrides, separators of lines, zero-width characters, tags."""
    assert printable(CLEAR_SCREEN + SET_CLIPBOARD) == r"\x1b[2J\x1b]52;c;aGk=\x07"
    assert printable(OBEYED).replace("\n", "").replace("\t", "").isprintable()
    assert printable("ä 漢 🙂\n\t") == "ä 漢 🙂\n\t"
    assert printable_line("a\nb\tc\x85d") == r"a b c\x85d"


@given(st.text())
def test_nothing_but_what_can_be_seen_is_left(text: str) -> None:
    """No control, format, surrogate, private or unassigned character is left."""
    shown = printable_line(text)
    assert shown.isprintable()
    assert not any(unicodedata.category(one).startswith("C") for one in shown)
    assert printable(printable(text)) == printable(text)


@given(st.recursive(st.text() | st.none() | st.integers(), st.lists, max_leaves=5))
def test_json_for_a_terminal_means_the_same(value: object) -> None:
    """The result is JSON with the same content and no character that controls a terminal."""
    shown = printable_json(json.dumps(value, ensure_ascii=False).encode()).decode()
    assert shown.isprintable()
    assert json.loads(shown) == value


def test_white_space_in_json_writes_over_nothing() -> None:
    """A carriage return is white space in JSON, and a terminal goes back to the line's start."""
    assert printable_json(b'{"id":"a"\r,"b":1}\n') == b'{"id":"a" ,"b":1}\n'


def test_json_keeps_characters_beyond_the_first_plane() -> None:
    """A character beyond the BMP becomes a surrogate pair, as RFC 8259 requires."""
    text = f"🙂\U000e0001{OBEYED}"
    document = msgspec.json.encode(text)
    shown = printable_json(document)
    assert b"\\udb40\\udc01" in shown
    assert "🙂".encode() in shown
    assert msgspec.json.decode(shown) == text
