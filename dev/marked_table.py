"""Writes generated tables into documents.

Each table is between two comment lines of its document. ``python -m dev.<module> FILE`` generates
the table from code and writes it there. A test fails if document and code differ.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class MarkedTable(NamedTuple):
    """A table as Markdown, a word for its content, and the command that writes it."""

    holds: str
    command: str
    text: str

    def within(self, document: str) -> str:
        """Return the document with the table between its comment lines.

        Raises:
            ValueError: the document lacks these lines.
        """
        begin = f"<!-- {self.holds}: written by `{self.command}` -->\n"
        end = f"<!-- end of {self.holds} -->\n"
        before, found_begin, rest = document.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found_begin and found_end):
            message = f"the text lacks the lines {begin!r} and {end!r}"
            raise ValueError(message)
        return f"{before}{begin}\n{self.text}\n{end}{after}"

    def print_or_write(self) -> None:
        """Print the table, or write it to the file named by the program's argument."""
        if len(sys.argv) == 1:
            print(self.text, end="")
            return
        path = Path(sys.argv[1])
        path.write_text(self.within(path.read_text()))


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
