"""The Prometheus collectors: counters fed by the engine's events, and gauges read at each scrape.

The cost is a few additions for each transaction, and a sort of the times of its events.
"""

import time
from bisect import bisect_right
from collections import Counter as CountOf
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from consumer import __version__
from consumer.config import Settings
from consumer.metric import Metric as DeclaredMetric
from consumer.pipeline.records import Reason
from consumer.service import metrics
from consumer.shard.events import LostTransaction, Observer, TransactionReport
from consumer.shard.status import REFUSED, WAITING, TaskState
from consumer.worker.engine import EngineStatus

NO_TIMESTAMP_MS = -1


class MetricsObserver(Observer):
    """Updates the counters and histograms of a registry from the events of the engine.

    The series of a label value that is known beforehand starts at 0. Otherwise its first increase
    would create the series, and Prometheus does not count a new series as an increase.
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
        self._consumed = metrics.CONSUMED.counter(registry)
        self._published = metrics.PUBLISHED.counter(registry)
        self._duplicates = metrics.DUPLICATES.counter(registry)
        self._dead_letters = metrics.DEAD_LETTERS.counter(registry)
        self._forwarded = metrics.FORWARDED.counter(registry)
        self._transactions = metrics.TRANSACTIONS.counter(registry)
        self._fences = metrics.FENCES.counter(registry)
        self._rebalances = metrics.REBALANCES.counter(registry)
        self.suppressed_lines = metrics.SUPPRESSED.counter(registry)
        self._expired = metrics.EXPIRED.counter(registry)
        self._transaction_seconds = metrics.TRANSACTION_SECONDS.histogram(registry)
        self._rebalance_seconds = metrics.REBALANCE_SECONDS.histogram(registry)
        self._end_to_end = self._batch_histogram(metrics.END_TO_END)
        self._freshness = self._batch_histogram(metrics.FRESHNESS)
        self._info = metrics.INFO.gauge(registry)
        self._last_commit = metrics.LAST_COMMIT.gauge(registry)
        self._create_known_labels(settings)

    def on_transaction(self, report: TransactionReport) -> None:
        """Count what the transaction committed."""
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
        """Count a transaction that was fenced or whose outcome is unknown."""
        self._transactions.labels("fenced" if lost.is_fenced else "failed").inc()

    def on_fenced(self, shard: int) -> None:  # noqa: ARG002 - the counter has no label: shards move between processes
        """Count a takeover."""
        self._fences.inc()

    def on_rebalance(self, seconds: float) -> None:
        """Count an assignment of the consumer group."""
        self._rebalances.inc()
        self._rebalance_seconds.observe(seconds)

    def _create_known_labels(self, settings: Settings) -> None:
        self._info.labels(__version__).set(1)
        for topic in (*settings.input_topics, settings.repartition_topic):
            self._consumed.labels(topic)
        for kind in ("same", "conflicting"):
            self._duplicates.labels(kind)
        for reason in Reason:
            self._dead_letters.labels(str(reason))
        for outcome in ("committed", "failed", "fenced"):
            self._transactions.labels(outcome)

    def _batch_histogram(self, metric: DeclaredMetric) -> "BatchHistogram":
        histogram = BatchHistogram(metric)
        self._registry.register(histogram)
        return histogram


MAX_SECONDS: Final = 10 * 365 * 86_400.0


class BatchHistogram(Collector):
    """A histogram that adds all values of a transaction at once. It is also its own collector.

    The library's histogram takes one value at a time. With a backlog, that would take a tenth of
    the time that the service needs for an event. It is faster to sort the values and to search
    each bucket's bound in them.
    """

    def __init__(self, metric: DeclaredMetric) -> None:
        self._metric = metric
        self._at_most = [0] * len(metric.buckets)
        self._count = 0
        self._sum = 0.0

    def add(self, values: Sequence[float]) -> None:
        """Add values in seconds.

        A negative value counts as 0: the clock that gave the timestamp is ahead. In the sum, a
        value counts as at most `MAX_SECONDS`. Producers may write any timestamp, and a single
        timestamp of the year 1 would distort every mean that uses the sum.
        """
        ordered = sorted(values)
        for index, bound in enumerate(self._metric.buckets):
            self._at_most[index] += bisect_right(ordered, bound)
        self._count += len(ordered)
        self._sum += sum(min(value, MAX_SECONDS) for value in ordered if value > 0)

    def collect(self) -> Iterator[Metric]:
        """Return the current histogram."""
        bounds = [*map(str, self._metric.buckets), "+Inf"]
        counts = [*self._at_most, self._count]
        family = HistogramMetricFamily(self._metric.full_name, self._metric.help)
        family.add_metric([], list(zip(bounds, counts, strict=True)), self._sum)
        yield family


SHARD_STATES: Final = (*(state.value for state in TaskState), WAITING, REFUSED)


class EngineCollector(Collector):
    """Collects the gauges that describe the current state of the engine."""

    def __init__(self, get_engine_status: Callable[[], EngineStatus]) -> None:
        self._get_engine_status = get_engine_status

    def collect(self) -> Iterator[Metric]:
        """Return the current gauges."""
        engine = self._get_engine_status()
        shards = engine.shards
        lag, entries = _family(metrics.LAG), _family(metrics.STATE_ENTRIES)
        variants = _family(metrics.STATE_VARIANTS)
        progress, by_state = _family(metrics.RESTORE_PROGRESS), _family(metrics.SHARDS)
        held_records = _family(metrics.HELD_BACK_RECORDS)
        held_seconds = _family(metrics.HELD_BACK_SECONDS)
        hanging = _family(metrics.HANGING_TRANSACTIONS)
        for view in shards:
            hanging.add_metric([str(view.shard)], view.hanging_partitions)
            entries.add_metric([str(view.shard)], view.entries)
            variants.add_metric([str(view.shard)], view.variants)
            if view.restore_ratio is not None:
                progress.add_metric([str(view.shard)], view.restore_ratio)
            for source in view.sources:
                labels = [source.topic, str(source.partition)]
                if source.lag is not None:
                    lag.add_metric(labels, source.lag)
                if source.held_back is not None:
                    held_records.add_metric(labels, source.held_back.records)
                    held_seconds.add_metric(labels, source.held_back.seconds)
        counts = CountOf(view.state for view in shards)
        for state in SHARD_STATES:
            by_state.add_metric([state], counts[state])
        group_shards = _family(metrics.GROUP_SHARDS)
        if engine.group_shards is not None:
            group_shards.add_metric([], engine.group_shards)
        open_seconds = _family(metrics.OPEN_TRANSACTION_SECONDS)
        for topic, seconds in engine.open_seconds.items():
            open_seconds.add_metric([topic], seconds)
        held = (held_records, held_seconds, hanging, open_seconds)
        of_shards = (entries, variants, progress, by_state, group_shards)
        return iter((lag, *held, *_repartition(engine), *_token(engine), *of_shards))


def _repartition(engine: EngineStatus) -> tuple[GaugeMetricFamily, ...]:
    """Return the gauges of the repartition topic."""
    handled = _family(metrics.REPARTITION_HANDLED)
    size = _family(metrics.REPARTITION_SIZE)
    unread = _family(metrics.REPARTITION_UNREAD_SECONDS)
    retention = _family(metrics.REPARTITION_RETENTION)
    for shard, state in engine.repartition.items():
        handled.add_metric([str(shard)], state.handled_records)
        if state.unread_seconds is not None:
            unread.add_metric([str(shard)], state.unread_seconds)
        if state.size_bytes is not None:
            size.add_metric([str(shard)], state.size_bytes)
    if engine.repartition_retention_seconds is not None:
        retention.add_metric([], engine.repartition_retention_seconds)
    return handled, size, unread, retention


def _token(engine: EngineStatus) -> tuple[GaugeMetricFamily, ...]:
    """Return the gauges of the token of the logins."""
    remaining, lifetime = _family(metrics.TOKEN_REMAINING), _family(metrics.TOKEN_LIFETIME)
    if engine.token is not None:
        remaining.add_metric([], engine.token.remaining_seconds)
        lifetime.add_metric([], engine.token.lifetime_seconds)
    return remaining, lifetime


def _family(metric: DeclaredMetric) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.full_name, metric.help, labels=metric.labels)
