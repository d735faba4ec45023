"""Each metric of a bridge is declared once, and served under its name, from its first scrape on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from consumer.metric import new_registry
from consumer.sources import ingest_metrics
from consumer.sources.delivery import Delivery
from consumer.sources.ingest_app import IngestApp
from consumer.sources.ingest_config import BearerWebhook, Checkpoints, IngestConfig, Limits
from consumer.sources.ingest_metrics import IngestMetrics
from consumer.sources.poll import metrics as poll_metrics
from consumer.sources.poll.metrics import PollMetrics
from consumer.sources.receivers import make_receivers
from consumer.sources.triggered_listings import RESULTS, TriggeredListings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prometheus_client import CollectorRegistry

    from consumer.metric import Metric
    from consumer.sources.delivery import Link

WEBHOOK = "webhooks/jobs"


async def _connect() -> Link:
    raise AssertionError("nothing is delivered")


def receiver(folder: Path) -> CollectorRegistry:
    """Return the metrics of a receiver before its first request."""
    (folder / "token").write_text("a-token-for-tests-0123456789")
    config = IngestConfig(
        checkpoints=Checkpoints(anonymous=True),
        webhooks={"jobs": BearerWebhook(token_files=(str(folder / "token"),))},
    )
    registry = new_registry()
    metrics = IngestMetrics(registry)
    receivers = make_receivers(config, TriggeredListings())
    IngestApp(receivers, Delivery(_connect, 1.0), Limits(), metrics)
    for gauge in (ingest_metrics.CONNECTIONS, ingest_metrics.KAFKA_REACHABLE):
        metrics.observe(gauge, lambda: 1.0)
    metrics.add_account("acme", RESULTS, lambda: 0.0)
    metrics.invalid.labels(WEBHOOK, "too_large").inc()
    metrics.events.labels(WEBHOOK, "ignored").inc()
    return registry


def poller(_folder: Path) -> CollectorRegistry:
    """Return the metrics of a poller with one account."""
    registry = new_registry()
    metrics = PollMetrics(registry)
    metrics.add_account("acme", 30.0)
    metrics.count_request("acme", 200)
    return registry


@pytest.mark.parametrize(
    ("make", "declared"),
    [(receiver, ingest_metrics.METRICS), (poller, poll_metrics.METRICS)],
    ids=["ingest", "poll"],
)
def test_every_metric_is_served_with_its_type_and_labels_and_no_other(
    make: Callable[[Path], CollectorRegistry], declared: tuple[Metric, ...], tmp_path: Path
) -> None:
    """A scraper finds the documented metrics; only the standard metrics of a process are added."""
    families = {family.name: family for family in make(tmp_path).collect()}
    ours = {name for name in families if not name.startswith("process_")}
    assert ours == {metric.full_name.removesuffix("_total") for metric in declared}
    assert "process_start_time_seconds" in families
    for metric in declared:
        family = families[metric.full_name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        found = {frozenset(sample.labels) - {"le"} for sample in family.samples}
        assert found == {frozenset(metric.labels)}
        assert not [it for it in family.samples if it.name.endswith("_created")]


def test_a_source_has_its_series_before_its_first_request(tmp_path: Path) -> None:
    """Prometheus does not count a new series as an increase."""
    registry = receiver(tmp_path)
    for source in ("checkpoints", WEBHOOK):
        for status in ("0", "202", "401", "422", "429", "503"):
            labels = {"source": source, "status": status}
            assert registry.get_sample_value("checkpoint_ready_ingest_requests_total", labels) == 0
    labels = {"source": "other", "status": "404"}
    assert registry.get_sample_value("checkpoint_ready_ingest_requests_total", labels) == 0
    limit = registry.get_sample_value("checkpoint_ready_ingest_memory_limit_bytes")
    assert limit == Limits().memory_bytes


def test_an_account_without_a_good_pass_is_stale_at_once(tmp_path: Path) -> None:
    """The alert compares the time of the last good pass with the clock."""
    registry = poller(tmp_path)
    labels = {"account": "acme"}
    name = "checkpoint_ready_poll_last_success_timestamp_seconds"
    last = registry.get_sample_value(name, labels)
    interval = registry.get_sample_value("checkpoint_ready_poll_interval_seconds", labels)
    assert last is not None
    assert interval is not None
    assert time.time() - last > 600 + 2 * interval
