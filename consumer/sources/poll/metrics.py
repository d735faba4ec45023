"""The metrics of the poller. The label `account` has the names in the file of accounts."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

NO_RESPONSE: Final = "none"
MIN_STATUS, MAX_STATUS = 100, 599


class PollMetrics:
    """Counts what the poller does, by account."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._last_success = Gauge(
            "checkpoint_ready_poll_last_success_timestamp_seconds",
            "End of the last pass without a problem (epoch seconds); 0 before the first.",
            ["account"],
            registry=registry,
        )
        self._sent = Counter(
            "checkpoint_ready_poll_checkpoints_sent_total",
            "Checkpoints that the brokers have acknowledged. A restart sends some again.",
            ["account"],
            registry=registry,
        )
        self._requests = Counter(
            "checkpoint_ready_poll_requests_total",
            "Requests to the provider by status code; none: no complete response.",
            ["account", "code"],
            registry=registry,
        )

    def add_account(self, account: str) -> None:
        """Export the account from now on, so that an alert sees that it never had a good pass."""
        self._last_success.labels(account)
        self._sent.labels(account)

    def set_success(self, account: str, now: float) -> None:
        """Record a pass without a problem."""
        self._last_success.labels(account).set(now)

    def count_sent(self, account: str, count: int) -> None:
        """Count acknowledged checkpoints."""
        self._sent.labels(account).inc(count)

    def count_request(self, account: str, status: int | None) -> None:
        """Count a request by the status of its response."""
        is_known = status is not None and MIN_STATUS <= status <= MAX_STATUS
        self._requests.labels(account, str(status) if is_known else NO_RESPONSE).inc()
