"""A histogram that takes in the values of a whole transaction at once.

A library's histogram takes one value at a time, which for each event of a backlog would cost a
tenth of its handling. Sorting the values and looking for the buckets' bounds among them is cheap.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from consumer.service import metrics

MAX_SECONDS: Final = 10 * 365 * 86_400.0


class Tally(Collector):
    """Counts values in buckets; a collector of its one histogram."""

    def __init__(self, metric: metrics.Metric) -> None:
        self._metric = metric
        self._at_most = [0] * len(metric.buckets)
        self._count = 0
        self._sum = 0.0

    def add(self, values: Sequence[float]) -> None:
        """Take in values in seconds; a negative one, of a clock that is ahead, counts as 0.

        Producers may write any time, and a single one of the year 1 would spoil each mean for good.
        """
        ordered = sorted(values)
        for index, bound in enumerate(self._metric.buckets):
            self._at_most[index] += bisect_right(ordered, bound)
        self._count += len(ordered)
        self._sum += sum(min(value, MAX_SECONDS) for value in ordered if value > 0)

    def collect(self) -> Iterator[Metric]:
        """Return the histogram as it is now."""
        bounds = [*map(str, self._metric.buckets), "+Inf"]
        counts = [*self._at_most, self._count]
        family = HistogramMetricFamily(self._metric.full_name, self._metric.help)
        family.add_metric([], list(zip(bounds, counts, strict=True)), self._sum)
        yield family
