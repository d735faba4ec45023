"""The table of metrics in docs/operations.md, made from the one place that defines them.

`python -m dev.metrics_table` prints it; `python -m dev.metrics_table docs/operations.md` puts it
into a file.
"""

from __future__ import annotations

from consumer.service.metrics import METRICS
from dev.marked_table import MarkedTable, markdown


def metrics_table() -> MarkedTable:
    """Return the table."""
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
        command="python -m dev.metrics_table docs/operations.md",
        text=markdown(("Metric", "Type", "Labels", "Unit", "Meaning"), rows),
    )


if __name__ == "__main__":
    metrics_table().print_or_write()
