"""The README's table of settings, made from the one place that defines them.

`python -m dev.config_table` prints it; `python -m dev.config_table README.md` puts it into a file,
between its two marks. A test holds the README equal to it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from consumer.config import PREFIX, VARIABLES

BEGIN = "<!-- settings: written by `python -m dev.config_table README.md` -->\n"
END = "<!-- end of settings -->\n"


def config_table() -> str:
    """Return the table as Markdown."""
    rows = [("Variable", "Default", "Meaning"), ("---", "---", "---")]
    for variable in VARIABLES:
        default = f"`{variable.default}`" if variable.default else ""
        rows.append((f"`{variable.short_name}`", default, variable.description.replace("|", "\\|")))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def with_table(text: str) -> str:
    """Return a text with the table between its marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        message = f"the text lacks the lines {BEGIN!r} and {END!r}"
        raise ValueError(message)
    return f"{before}{BEGIN}\n{config_table()}\n{END}{after}"


def main() -> None:
    """Print the table, or put it into the file that is named."""
    if len(sys.argv) == 1:
        print(f"Each with the prefix `{PREFIX}`:\n\n{config_table()}", end="")
        return
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text()))


if __name__ == "__main__":
    main()
