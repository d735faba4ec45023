"""The table of metrics in docs/operations.md, made from the one place that defines them.

`python -m dev.metrics_table` prints it; `python -m dev.metrics_table docs/operations.md` puts it
into a file, between its two marks. A test holds the document equal to it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from consumer.service.metrics import METRICS

BEGIN = "<!-- metrics: written by `python -m dev.metrics_table docs/operations.md` -->\n"
END = "<!-- end of metrics -->\n"


def metrics_table() -> str:
    """Return the table as Markdown."""
    rows = [("Metric", "Type", "Labels", "Unit", "Meaning"), ("---",) * 5]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append((f"`{metric.full_name}`", metric.kind, labels, metric.unit, metric.help))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def with_table(text: str) -> str:
    """Return a text with the table between its marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        message = f"the text lacks the lines {BEGIN!r} and {END!r}"
        raise ValueError(message)
    return f"{before}{BEGIN}\n{metrics_table()}\n{END}{after}"


def main() -> None:
    """Print the table, or put it into the file that is named."""
    if len(sys.argv) == 1:
        print(metrics_table(), end="")
        return
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text()))


if __name__ == "__main__":
    main()
