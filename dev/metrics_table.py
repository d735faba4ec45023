"""Generates the table of metrics in docs/operations/reference.md from ``METRICS``.

`python -m dev.metrics_table` prints the table. `python -m dev.metrics_table
docs/operations/reference.md` writes it to the file.
"""

from __future__ import annotations

from consumer.service.metrics import METRICS
from dev.marked_table import MarkedTable, markdown


def metrics_table() -> MarkedTable:
    """Return the table with one row for each metric."""
    rows = [
        (
            f"`{metric.full_name}`",
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.unit,
            metric.help,
        )
        for metric in METRICS
    ]
    return MarkedTable(
        holds="metrics",
        command="python -m dev.metrics_table docs/operations/reference.md",
        text=markdown(("Metric", "Type", "Labels", "Unit", "Meaning"), rows),
    )


if __name__ == "__main__":
    metrics_table().print_or_write()
