"""Generates the table of metrics in docs/operations/reference.md from each list `METRICS`.

`python -m dev.metrics_table` prints the table. `python -m dev.metrics_table
docs/operations/reference.md` writes it to the file.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from consumer.service import metrics as run_metrics
from consumer.sources import ingest_metrics
from consumer.sources.poll import metrics as poll_metrics
from dev.marked_table import MarkedTable, markdown

if TYPE_CHECKING:
    from consumer.metric import Metric

COMMANDS: Final[dict[str, tuple[Metric, ...]]] = {
    "run": run_metrics.METRICS,
    "ingest": ingest_metrics.METRICS,
    "poll": poll_metrics.METRICS,
}
ALL_METRICS: Final = tuple(chain.from_iterable(COMMANDS.values()))


def metrics_table() -> MarkedTable:
    """Return the table with one row for each metric."""
    rows = [
        (
            f"`{metric.full_name}`",
            f"`{command}`",
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.unit,
            metric.help,
        )
        for command, metrics in COMMANDS.items()
        for metric in metrics
    ]
    return MarkedTable(
        holds="metrics",
        command="python -m dev.metrics_table docs/operations/reference.md",
        text=markdown(("Metric", "Command", "Type", "Labels", "Unit", "Meaning"), rows),
    )


if __name__ == "__main__":
    metrics_table().print_or_write()
