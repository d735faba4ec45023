"""The metrics of the poller. The label `account` has the names in the file of accounts."""

from typing import Final

from prometheus_client import CollectorRegistry

from consumer.metric import Metric

NO_RESPONSE: Final = "none"
MIN_STATUS, MAX_STATUS = 100, 599

LAST_SUCCESS: Final = Metric(
    "poll_last_success_timestamp_seconds",
    "gauge",
    ("account",),
    "seconds",
    "Unix time of the end of the last pass without a problem; 0 before the first.",
)
INTERVAL: Final = Metric(
    "poll_interval_seconds",
    "gauge",
    ("account",),
    "seconds",
    "Time between two passes: interval_seconds of the account.",
)
SENT: Final = Metric(
    "poll_checkpoints_sent_total",
    "counter",
    ("account",),
    "checkpoints",
    "Checkpoints that the brokers have acknowledged. A restart sends some again.",
)
REQUESTS: Final = Metric(
    "poll_requests_total",
    "counter",
    ("account", "code"),
    "requests",
    "Requests to the provider by status code; none: no complete response.",
)
LEFT_OUT: Final = Metric(
    "poll_left_out_jobs",
    "gauge",
    ("account",),
    "jobs",
    "Jobs in the list of the provider whose checkpoints it answers with 404: rarely tried again.",
)

METRICS: Final = (LAST_SUCCESS, INTERVAL, SENT, REQUESTS, LEFT_OUT)


class PollMetrics:
    """Counts what the poller does, by account."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._last_success = LAST_SUCCESS.gauge(registry)
        self._interval = INTERVAL.gauge(registry)
        self._sent = SENT.counter(registry)
        self._requests = REQUESTS.counter(registry)
        self._left_out = LEFT_OUT.gauge(registry)

    def add_account(self, account: str, interval_seconds: float) -> None:
        """Export the account from now on, so that an alert sees that it never had a good pass."""
        self._last_success.labels(account)
        self._interval.labels(account).set(interval_seconds)
        self._sent.labels(account)
        self._left_out.labels(account)

    def set_success(self, account: str, now: float) -> None:
        """Record a pass without a problem."""
        self._last_success.labels(account).set(now)

    def set_left_out(self, account: str, jobs: int) -> None:
        """Record how many jobs are left out, because their checkpoints are always 404."""
        self._left_out.labels(account).set(jobs)

    def count_sent(self, account: str, count: int) -> None:
        """Count acknowledged checkpoints."""
        self._sent.labels(account).inc(count)

    def count_request(self, account: str, status: int | None) -> None:
        """Count a request by the status of its response."""
        is_known = status is not None and MIN_STATUS <= status <= MAX_STATUS
        self._requests.labels(account, str(status) if is_known else NO_RESPONSE).inc()
