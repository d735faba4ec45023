"""Makes untrusted text safe to print on a terminal: control characters are escaped.

Producers choose ids, model names, headers and payloads. Brokers and operators choose messages and
names. An escape sequence in such a text could clear the screen or set the clipboard (OSC 52). A
bidirectional override could display a different text. All code that prints such text on a terminal
calls one of these functions.
"""

import re
from typing import Final

_LINE_BREAKS: Final = "\n\t"
_BEYOND_BMP: Final = 0x10000
_NOT_ASCII_TEXT: Final = re.compile(r"[^\n\x20-\x7e]")


def printable(text: str) -> str:
    """Return the text with its unprintable characters escaped, except line feeds and tabs.

    Unprintable are control, format, surrogate, private and unassigned characters (Unicode
    categories Cc, Cf, Cs, Co, Cn) and every separator except the space.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in _LINE_BREAKS else one.encode("unicode_escape").decode()
        for one in text
    )


def printable_line(text: str) -> str:
    """Return `printable(text)` as one line: line feeds and tabs become spaces."""
    return printable(text).replace("\n", " ").replace("\t", " ")


def printable_json(document: bytes) -> bytes:
    """Return a JSON text of the same meaning, with characters that control a terminal escaped.

    In valid JSON such characters, except CR, occur only in strings, where an escape has the same
    meaning. A CR becomes a space.
    """
    text = document.decode("utf-8", "backslashreplace")
    return _NOT_ASCII_TEXT.sub(_json_escape, text).encode()


def _json_escape(found: re.Match[str]) -> str:
    one = found[0]
    if one == "\r":  # white space in JSON, but a terminal would overwrite the line
        return " "
    if one.isprintable() or one == "\t":
        return one
    number = ord(one)
    if number < _BEYOND_BMP:
        return f"\\u{number:04x}"
    number -= _BEYOND_BMP
    return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"
