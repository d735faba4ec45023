"""Text that others wrote, made safe to show: what a terminal would obey is spelled out.

Producers choose ids, model names, headers and payloads, and brokers and operators choose messages
and names. An escape sequence among them could clear the screen, set the clipboard (OSC 52) or, by a
bidirectional override, show another text than there is. Whatever prints such text on a terminal
calls one of these functions.
"""

import re
from typing import Final

_LINE_BREAKS: Final = "\n\t"
_BEYOND_BMP: Final = 0x10000
_NOT_ASCII_TEXT: Final = re.compile(r"[^\n\x20-\x7e]")


def printable(text: str) -> str:
    """Return the text with everything escaped that is not printable, but line feeds and tabs.

    That is every control, format, surrogate, private and unassigned character (Unicode categories
    Cc, Cf, Cs, Co, Cn) and every separator but the space.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in _LINE_BREAKS else one.encode("unicode_escape").decode()
        for one in text
    )


def printable_line(text: str) -> str:
    """Return the same as one line: line feeds and tabs are spaces."""
    return printable(text).replace("\n", " ").replace("\t", " ")


def printable_json(document: bytes) -> bytes:
    """Return a JSON text with the same meaning and nothing in it that a terminal would obey.

    In valid JSON such characters occur in strings alone, where an escape means the same.
    """
    text = document.decode("utf-8", "backslashreplace")
    return _NOT_ASCII_TEXT.sub(_json_escape, text).encode()


def _json_escape(found: re.Match[str]) -> str:
    one = found[0]
    if one == "\r":  # white space here, but a terminal writes over the line
        return " "
    if one.isprintable() or one == "\t":
        return one
    number = ord(one)
    if number < _BEYOND_BMP:
        return f"\\u{number:04x}"
    number -= _BEYOND_BMP
    return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"
