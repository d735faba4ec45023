"""Tables of commands on a terminal. Cells are safe to print even if a producer wrote their text."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from consumer.pipeline.printable import printable_line

Columns = tuple[tuple[str, int, int], ...]
"""For each column: its name, its minimum width, and its share of the remaining width."""


def one_line_table(title: str, columns: Columns) -> Table:
    """Return an empty table as wide as the terminal; it cuts each cell to one line."""
    table = Table(title=title, expand=True)
    for name, width, share in columns:
        # With a share of 0 rich would shrink the column to nothing; None keeps its width.
        table.add_column(
            name, min_width=width, ratio=share or None, overflow="ellipsis", no_wrap=True
        )
    return table


def folded_table(*columns: str) -> Table:
    """Return an empty table that continues a long cell on the next line."""
    table = Table()
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def add_row(table: Table, cells: Iterable[str], max_chars: int | None = None) -> None:
    """Add a row of untrusted texts, each cut to `max_chars` characters.

    A limit saves time: rich measures a cell character by character, and a text of a producer or of
    a forged dead letter can have a megabyte. Because of ``Text``, rich reads no cell as markup.
    """
    table.add_row(*(Text(printable_line(cell[:max_chars])) for cell in cells))
