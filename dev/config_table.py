"""The README's table of settings, made from the one place that defines them.

`python -m dev.config_table` prints it; `python -m dev.config_table README.md` puts it into a file.
"""

from __future__ import annotations

from consumer.config import VARIABLES
from dev.marked_table import MarkedTable, markdown


def config_table() -> MarkedTable:
    """Return the table; each variable stands there without its prefix."""
    rows = [
        (
            f"`{variable.short_name}`",
            f"`{variable.default}`" if variable.default else "",
            variable.description.replace("|", "\\|"),
        )
        for variable in VARIABLES
    ]
    return MarkedTable(
        holds="settings",
        command="python -m dev.config_table README.md",
        text=markdown(("Variable", "Default", "Meaning"), rows),
    )


if __name__ == "__main__":
    config_table().print_or_write()
