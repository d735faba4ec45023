"""The metrics of the service and of the bridges, with the labels that alerts and panels may use."""

from __future__ import annotations

import re

from consumer.metric import PREFIX
from consumer.sources.ingest_metrics import STATUSES
from dev.metrics_table import ALL_METRICS

# What every series has from the scrape.
TARGET = {"namespace", "job", "pod", "instance"}
# As Prometheus stores them: of a histogram the buckets.
LABELS: dict[str, set[str]] = {
    f"{metric.name}_bucket" if metric.kind == "histogram" else metric.name: {
        *metric.labels,
        *(["le"] if metric.kind == "histogram" else []),
    }
    for metric in ALL_METRICS
}
WORDS = {
    "outcome": {"committed", "failed", "fenced"},
    "state": {
        "created",
        "fencing",
        "setting_barrier",
        "restoring",
        "verifying",
        "running",
        "stopping",
        "closed",
        "waiting",
        "refused",
    },
    "reason": {"internal_error", "tombstone"},
    "status": {str(int(status)) for status in STATUSES},
}
_SERIES = re.compile(rf"{PREFIX}(\w+)(?:\{{([^}}]*)\}})?")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")


def used_metrics(expression: str) -> set[str]:
    """Return the metrics that a query reads, without their prefix."""
    return {name for name, _ in _SERIES.findall(expression)}


def misuses(expression: str) -> list[str]:
    """Return names, labels and label values in a query that no metric has."""
    found = []
    labels = set(TARGET)
    for name, matchers in _SERIES.findall(expression):
        if name not in LABELS:
            found.append(f"there is no metric {name}")
            continue
        labels |= LABELS[name]
        for label, words in _MATCHER.findall(matchers):
            if label not in LABELS[name] | TARGET:
                found.append(f"{name} has no label {label}")
            known = WORDS.get(label, set())
            found += [
                f"{label} is never {it}" for it in words.split("|") if known and it not in known
            ]
    for group in _GROUPING.findall(expression):
        grouped = {label.strip() for label in group.split(",")}
        found += [f"nothing has a label {label}" for label in sorted(grouped - labels)]
    return found
