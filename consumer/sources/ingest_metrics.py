"""The metrics of `checkpoint-ready ingest`. Label values are bounded: webhooks are configured."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PREFIX: Final = "checkpoint_ready_ingest_"
_BUCKETS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class IngestMetrics:
    """Counters and gauges of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.requests = Counter(
            f"{PREFIX}requests",
            "Requests by source and status. 0: the client closed the connection.",
            ("source", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            f"{PREFIX}request_seconds",
            "Time from the head of a request to its answer.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.accepted = Counter(
            f"{PREFIX}accepted_checkpoints",
            "Checkpoints that all in-sync replicas have acknowledged.",
            ("source",),
            registry=registry,
        )
        self.invalid = Counter(
            f"{PREFIX}invalid_checkpoints",
            "Invalid checkpoints in refused requests, by reason.",
            ("source", "reason"),
            registry=registry,
        )
        self.events = Counter(
            f"{PREFIX}webhook_events",
            "Webhook events without a checkpoint: job_ended, or ignored.",
            ("source", "outcome"),
            registry=registry,
        )

    def observe(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value is read at each scrape."""
        gauge = Gauge(f"{PREFIX}{name}", text, registry=self._registry)
        gauge.set_function(read)
