"""Counts what the engine does, a few additions for each transaction and none for a record."""

import time
from collections.abc import Callable

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from consumer import __version__
from consumer.config import Settings
from consumer.engine.lifecycle import LostTransaction, Step, TransactionReport
from consumer.pipeline.records import Reason
from consumer.service import metrics
from consumer.service.tally import Tally

NO_TIMESTAMP_MS = -1


class Meter:
    """An observer of the engine that keeps every counter and histogram of a registry.

    Labels whose values are known beforehand begin at 0, so that the first increase is seen as one.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        settings: Settings,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._wall_clock = wall_clock
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
        ProcessCollector(registry=registry)
        self._consumed = self._counter(metrics.CONSUMED)
        self._published = self._counter(metrics.PUBLISHED)
        self._duplicates = self._counter(metrics.DUPLICATES)
        self._dead_letters = self._counter(metrics.DEAD_LETTERS)
        self._forwarded = self._counter(metrics.FORWARDED)
        self._transactions = self._counter(metrics.TRANSACTIONS)
        self._fences = self._counter(metrics.FENCES)
        self._rebalances = self._counter(metrics.REBALANCES)
        self.suppressed_lines = self._counter(metrics.SUPPRESSED)
        self._expired = self._counter(metrics.EXPIRED)
        self._transaction_seconds = self._histogram(metrics.TRANSACTION_SECONDS)
        self._rebalance_seconds = self._histogram(metrics.REBALANCE_SECONDS)
        self._end_to_end = self._tally(metrics.END_TO_END)
        self._freshness = self._tally(metrics.FRESHNESS)
        self._info = self._gauge(metrics.INFO)
        self._last_commit = self._gauge(metrics.LAST_COMMIT)
        self._begin(settings)

    def on_step(self, shard: int, step: Step) -> None:
        """Count nothing: states are asked for when they are wanted."""

    def on_transaction(self, report: TransactionReport) -> None:
        """Count what became visible."""
        now = self._wall_clock()
        for topic, count in report.consumed_by_topic.items():
            self._consumed.labels(topic).inc(count)
        self._published.inc(report.published)
        self._duplicates.labels("same").inc(report.duplicates)
        self._duplicates.labels("conflicting").inc(report.conflicting)
        for reason, count in report.dead_letters.items():
            self._dead_letters.labels(reason).inc(count)
        self._forwarded.inc(report.forwarded)
        self._transactions.labels("committed").inc()
        self.suppressed_lines.inc(report.suppressed_events)
        self._expired.inc(report.expired)
        self._transaction_seconds.observe(report.duration_ms / 1000)
        self._last_commit.set(now)
        if report.ready:
            self._freshness.add([now - event.created_at for event in report.ready])
            now_ms = now * 1000
            times_ms = [event.origin.timestamp_ms for event in report.ready]
            self._end_to_end.add(
                [(now_ms - time_ms) / 1000 for time_ms in times_ms if time_ms != NO_TIMESTAMP_MS]
            )

    def on_transaction_lost(self, lost: LostTransaction) -> None:
        """Count a transaction in doubt."""
        self._transactions.labels("fenced" if lost.is_fenced else "failed").inc()

    def on_fenced(self, shard: int) -> None:  # noqa: ARG002 - no label: shards come and go
        """Count a takeover."""
        self._fences.inc()

    def on_rebalance(self, seconds: float) -> None:
        """Count a decision of the group."""
        self._rebalances.inc()
        self._rebalance_seconds.observe(seconds)

    def _begin(self, settings: Settings) -> None:
        self._info.labels(__version__).set(1)
        for topic in (*settings.input_topics, settings.repartition_topic):
            self._consumed.labels(topic)
        for kind in ("same", "conflicting"):
            self._duplicates.labels(kind)
        for reason in Reason:
            self._dead_letters.labels(str(reason))
        for outcome in ("committed", "failed", "fenced"):
            self._transactions.labels(outcome)

    def _counter(self, metric: metrics.Metric) -> Counter:
        name = metric.full_name.removesuffix("_total")
        return Counter(name, metric.help, metric.labels, registry=self._registry)

    def _gauge(self, metric: metrics.Metric) -> Gauge:
        return Gauge(metric.full_name, metric.help, metric.labels, registry=self._registry)

    def _histogram(self, metric: metrics.Metric) -> Histogram:
        return Histogram(
            metric.full_name, metric.help, buckets=metric.buckets, registry=self._registry
        )

    def _tally(self, metric: metrics.Metric) -> Tally:
        tally = Tally(metric)
        self._registry.register(tally)
        return tally
