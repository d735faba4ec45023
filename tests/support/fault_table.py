"""The table of the runbook about faults at the brokers that end the process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

RUNBOOK: Final = Path(__file__).parents[2] / "docs" / "operations" / "runbook.md"
SECTION: Final = "## When a process ends because of the brokers"
COLUMNS: Final = ["Fault", "Last line", "Exit code", "After", "What to do"]
CHECKED: Final = " (checked)"


class DocumentedFault(NamedTuple):
    """One row of the table; `…` in its line matches any text."""

    line: str
    exit_code: int
    after: str

    def matches(self, line: str) -> bool:
        """Return whether a process that ends by this fault may write this line."""
        parts = map(re.escape, self.line.split("…"))
        return re.fullmatch(".*".join(parts), line) is not None


def documented_faults() -> dict[str, DocumentedFault]:
    """Return the rows by the name of the fault.

    Raises:
        ValueError: a row lacks a column, or its exit code is no number.
    """
    section = RUNBOOK.read_text().partition(SECTION)[2].partition("\n## ")[0]
    head, _, *rows = (
        [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|"))]
        for row in re.findall(r"^\|.+\|$", section, re.MULTILINE)
    )
    if head != COLUMNS:
        raise ValueError(f"the columns are {head}")
    faults = {}
    for name, line, exit_code, after, _ in rows:
        fault = DocumentedFault(line.strip("`"), int(exit_code), after)
        faults[name.removesuffix(CHECKED)] = fault
    return faults
