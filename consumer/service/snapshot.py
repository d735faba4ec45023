"""What a scrape asks the engine for: lag, shards and their state, as they are at that moment."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consumer.engine.lifecycle import TaskState
from consumer.engine.view import REFUSED, WAITING, EngineView
from consumer.service import metrics

SHARD_STATES: Final = (*(state.value for state in TaskState), WAITING, REFUSED)


class Snapshot(Collector):
    """A collector of what is true now and is nowhere counted."""

    def __init__(self, look: Callable[[], EngineView]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """Ask the engine."""
        seen = self._look()
        shards = seen.shards
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
        counts = Counter(view.state for view in shards)
        for state in SHARD_STATES:
            by_state.add_metric([state], counts[state])
        in_all = _family(metrics.GROUP_SHARDS)
        if seen.group_shards is not None:
            in_all.add_metric([], seen.group_shards)
        open_seconds = _family(metrics.OPEN_TRANSACTION_SECONDS)
        for topic, seconds in seen.open_seconds.items():
            open_seconds.add_metric([topic], seconds)
        held = (held_records, held_seconds, hanging, open_seconds)
        return iter((lag, *held, entries, variants, progress, by_state, in_all))


def _family(metric: metrics.Metric) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.full_name, metric.help, labels=metric.labels)
