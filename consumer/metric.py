"""The declaration of a metric, from which its collector and its row in the reference are made.

Each long-running command lists its metrics in a `METRICS` of its own: ``consumer.service.metrics``
(`run`), ``consumer.sources.ingest_metrics`` and ``consumer.sources.poll.metrics``.
"""

from typing import Final, Literal, NamedTuple

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

PREFIX: Final = "checkpoint_ready_"
Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One metric; ``name`` is without the prefix."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    unit: str
    help: str
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """The name as it is scraped."""
        return PREFIX + self.name

    def counter(self, registry: CollectorRegistry) -> Counter:
        """Return a counter, registered under this name."""
        return Counter(self.full_name, self.help, self.labels, registry=registry)

    def gauge(self, registry: CollectorRegistry) -> Gauge:
        """Return a gauge, registered under this name."""
        return Gauge(self.full_name, self.help, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry) -> Histogram:
        """Return a histogram, registered under this name."""
        return Histogram(
            self.full_name, self.help, self.labels, buckets=self.buckets, registry=registry
        )


def new_registry() -> CollectorRegistry:
    """Return a registry with the standard metrics of a process: memory, processor time, files."""
    # Without this every counter has a second series with the time of its creation.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry
