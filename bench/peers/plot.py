"""Draws the figures of a comparison as a PNG image.

It is a program for the environment of the Python peers, which has matplotlib:
`python -m bench.peers.plot FIGURES.json PLOT.png`.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import matplotlib.pyplot as plt

PARTS: Final = (
    ("second_half_events_per_second", "second half, per second", "#1f6feb"),
    ("second_half_events_per_cpu_second", "second half, per CPU second", "#8bb8f8"),
    ("whole_events_per_second", "whole run, per second", "#b8bec6"),
)
BAR: Final = 0.26


def main() -> None:
    """Draw the rates of each contender, with the lowest and highest rounds as whiskers."""
    figures, image = map(Path, sys.argv[1:])
    comparison: dict[str, Any] = json.loads(figures.read_text())
    rows = comparison["rows"][::-1]
    mpl.use("Agg")
    figure, axes = plt.subplots(figsize=(10, 1.6 + 0.75 * len(rows)), layout="constrained")
    for index, (metric, label, color) in enumerate(PARTS):
        found = [row["figures"][metric] for row in rows]
        medians = [one["median"] / 1000 for one in found]
        whiskers = [
            [(one["median"] - one["least"]) / 1000 for one in found],
            [(one["most"] - one["median"]) / 1000 for one in found],
        ]
        at = [position + (1 - index) * BAR for position in range(len(rows))]
        bars = axes.barh(at, medians, BAR, xerr=whiskers, label=label, color=color, capsize=2)
        axes.bar_label(bars, fmt="%.0f", padding=4, fontsize=8)
    axes.set_yticks(range(len(rows)), [row["title"] for row in rows])
    axes.set_xlabel("thousand events per second, one core")
    axes.set_title(
        f"{comparison['events']:,} records, 30% duplicates, {comparison['rounds']} rounds,"
        f" {comparison['machine']['processor']}",
        fontsize=10,
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.1)
    figure.legend(loc="outside lower center", ncols=len(PARTS), frameon=False)
    figure.savefig(image, dpi=110)


if __name__ == "__main__":
    main()
