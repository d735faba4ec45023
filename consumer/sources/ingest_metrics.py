"""The metrics of `checkpoint-ready ingest`. Label values are bounded: webhooks are configured."""

from collections.abc import Callable, Iterable
from functools import cache
from http import HTTPStatus
from typing import Final

from prometheus_client import CollectorRegistry, Counter

from consumer.metric import Metric

OTHER: Final = "other"
"""The source of requests to a path that is not served, or to an unknown webhook."""
CLOSED: Final = 0
"""The status of a request whose client closed the connection."""
STATUSES: Final = (
    CLOSED,
    HTTPStatus.ACCEPTED,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_BUCKETS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUESTS: Final = Metric(
    "ingest_requests_total",
    "counter",
    ("source", "status"),
    "requests",
    "Requests by source and status. 0: the client closed the connection.",
)
SECONDS: Final = Metric(
    "ingest_request_seconds",
    "histogram",
    (),
    "seconds",
    "Time from the head of a request to its answer.",
    _BUCKETS,
)
ACCEPTED: Final = Metric(
    "ingest_accepted_checkpoints_total",
    "counter",
    ("source",),
    "checkpoints",
    "Checkpoints that all in-sync replicas have acknowledged.",
)
INVALID: Final = Metric(
    "ingest_invalid_checkpoints_total",
    "counter",
    ("source", "reason"),
    "checkpoints",
    "Invalid checkpoints in refused requests, by reason.",
)
EVENTS: Final = Metric(
    "ingest_webhook_events_total",
    "counter",
    ("source", "outcome"),
    "events",
    "Webhook events without a checkpoint: job_ended, or ignored.",
)
MEMORY: Final = Metric(
    "ingest_memory_bytes",
    "gauge",
    (),
    "bytes",
    "Reserved memory: bodies that are being received, and unacknowledged records.",
)
MEMORY_LIMIT: Final = Metric(
    "ingest_memory_limit_bytes",
    "gauge",
    (),
    "bytes",
    "Largest reserved memory: memory_bytes of the configuration. Beyond it the answer is 503.",
)
ACTIVE_REQUESTS: Final = Metric(
    "ingest_active_requests",
    "gauge",
    (),
    "requests",
    "Requests in progress, whose body has arrived.",
)
CONNECTIONS: Final = Metric(
    "ingest_connections", "gauge", (), "connections", "Open connections of senders."
)
KAFKA_REACHABLE: Final = Metric(
    "ingest_kafka_reachable",
    "gauge",
    (),
    "",
    "Whether a broker answers: 1 or 0. It is 1 exactly while /readyz answers 200.",
)

LISTINGS: Final = Metric(
    "ingest_triggered_listings_total",
    "counter",
    ("account", "result"),
    "listings",
    "Listings that job events triggered: complete, failed, not_found; merged: the job was waiting"
    " already; dropped: too many jobs were waiting.",
)
WAITING: Final = Metric(
    "ingest_waiting_listings",
    "gauge",
    ("account",),
    "jobs",
    "Jobs that wait for a triggered listing.",
)

METRICS: Final = (
    REQUESTS,
    SECONDS,
    ACCEPTED,
    INVALID,
    EVENTS,
    MEMORY,
    MEMORY_LIMIT,
    ACTIVE_REQUESTS,
    CONNECTIONS,
    KAFKA_REACHABLE,
    LISTINGS,
    WAITING,
)


class IngestMetrics:
    """Counters and gauges of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.requests = REQUESTS.counter(registry)
        self.seconds = SECONDS.histogram(registry)
        self.accepted = ACCEPTED.counter(registry)
        self.invalid = INVALID.counter(registry)
        self.events = EVENTS.counter(registry)
        # `labels` builds and locks each time. The values of these labels are few.
        self.requests_of: Callable[[str, int], Counter] = cache(self.requests.labels)
        self.accepted_of: Callable[[str], Counter] = cache(self.accepted.labels)
        for status in (HTTPStatus.NOT_FOUND, HTTPStatus.UNAUTHORIZED):
            self.requests_of(OTHER, status.value)
        self.listings = LISTINGS.counter(registry)
        self._waiting = WAITING.gauge(registry)

    def add_source(self, source: str) -> None:
        """Start the series of a source at 0.

        Otherwise its first request would create the series, and Prometheus does not count a new
        series as an increase.
        """
        self.accepted_of(source)
        for status in STATUSES:
            self.requests_of(source, int(status))

    def add_account(self, account: str, results: Iterable[str], read: Callable[[], float]) -> None:
        """Start the series of an account at 0; `read` returns how many of its jobs wait."""
        for result in results:
            self.listings.labels(account, result)
        self._waiting.labels(account).set_function(read)

    def observe(self, metric: Metric, read: Callable[[], float]) -> None:
        """Add a gauge whose value is read at each scrape."""
        metric.gauge(self._registry).set_function(read)
