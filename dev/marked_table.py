"""Tables in documents that are made from the one place that defines their rows.

Each stands between two marks of its document. A test holds the document equal to its source, and
``python -m dev.<module> FILE`` puts the table into it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class MarkedTable(NamedTuple):
    """A table as Markdown, what it holds in one word, and how it is brought up to date."""

    holds: str
    command: str
    text: str

    def within(self, document: str) -> str:
        """Return a document with the table between its marks.

        Raises:
            ValueError: it has no such marks.
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
        """Print the table, or put it into the file that the program's argument names."""
        if len(sys.argv) == 1:
            print(self.text, end="")
            return
        path = Path(sys.argv[1])
        path.write_text(self.within(path.read_text()))


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
