"""Counters and histograms equal what the engine reports."""

import pytest
from prometheus_client import CollectorRegistry

from consumer.config import Settings
from consumer.errors import Fenced, TaskFailed
from consumer.pipeline.records import ReadyRecord
from consumer.service.metrics_observer import MetricsObserver
from consumer.shard.events import LostTransaction, TransactionReport
from schemas.ready_event import Origin

NOW = 1_700_000_000.0


class Metered:
    """A meter and what it has counted."""

    def __init__(self) -> None:
        """Begin at 0."""
        self.registry = CollectorRegistry()
        self.meter = MetricsObserver(self.registry, Settings.load({}), lambda: NOW)

    def value(self, name: str, **labels: str) -> float | None:
        """Return a sample's value."""
        return self.registry.get_sample_value(f"checkpoint_ready_{name}", labels)


@pytest.fixture
def metered() -> Metered:
    """Return a meter at the beginning."""
    return Metered()


def ready(created_seconds_ago: float, sent_seconds_ago: float | None) -> ReadyRecord:
    """Return a ready event; None: its source record had no timestamp."""
    timestamp_ms = -1 if sent_seconds_ago is None else round((NOW - sent_seconds_ago) * 1000)
    created_at = int(NOW - created_seconds_ago)
    return ReadyRecord("id", "job", b"", b"", [], created_at, Origin("in", 0, 0, timestamp_ms))


def report(*events: ReadyRecord) -> TransactionReport:
    """Return a transaction with something of everything."""
    return TransactionReport(
        shard=0,
        consumed=20,
        published=len(events),
        duplicates=4,
        conflicting=2,
        dead_letters={"malformed_json": 3, "conflicting_duplicate": 2},
        forwarded=5,
        expired=6,
        next_offsets={},
        duration_ms=30,
        events=[],
        letters=[],
        suppressed_events=7,
        consumed_by_topic={"fine-tuning.checkpoints": 17, "checkpoint-ready.repartition": 3},
        ready=events,
    )


def test_a_transaction_is_counted_once_for_each_thing_it_held(metered: Metered) -> None:
    """Two equal transactions are twice one: the counters are sums of what was committed."""
    for _ in range(2):
        metered.meter.on_transaction(report(ready(0, 0)))
    assert metered.value("consumed_records_total", topic="fine-tuning.checkpoints") == 34
    assert metered.value("consumed_records_total", topic="checkpoint-ready.repartition") == 6
    assert metered.value("published_events_total") == 2
    assert metered.value("duplicates_total", kind="same") == 8
    assert metered.value("duplicates_total", kind="conflicting") == 4
    assert metered.value("dead_letters_total", reason="malformed_json") == 6
    assert metered.value("dead_letters_total", reason="conflicting_duplicate") == 4
    assert metered.value("dead_letters_total", reason="too_deep") == 0
    assert metered.value("forwarded_records_total") == 10
    assert metered.value("transactions_total", outcome="committed") == 2
    assert metered.value("expired_ids_total") == 12
    assert metered.value("suppressed_log_lines_total") == 14
    assert metered.value("last_commit_timestamp_seconds") == NOW
    assert metered.value("transaction_seconds_sum") == pytest.approx(0.06)


def test_latency_is_measured_from_the_record_and_freshness_from_the_checkpoint(
    metered: Metered,
) -> None:
    """A bound belongs to its bucket; no timestamp is no latency; a clock ahead counts as 0."""
    metered.meter.on_transaction(
        report(ready(60, 0.05), ready(7200, None), ready(-5, -5), ready(100_000, 2))
    )
    assert metered.value("end_to_end_seconds_count") == 3
    assert metered.value("end_to_end_seconds_bucket", le="0.025") == 1
    assert metered.value("end_to_end_seconds_bucket", le="0.05") == 2
    assert metered.value("end_to_end_seconds_bucket", le="+Inf") == 3
    assert metered.value("end_to_end_seconds_sum") == pytest.approx(2.05)
    assert metered.value("freshness_seconds_bucket", le="60.0") == 2
    assert metered.value("freshness_seconds_bucket", le="86400.0") == 3
    assert metered.value("freshness_seconds_count") == 4
    assert metered.value("freshness_seconds_sum") == pytest.approx(107_260)


def test_failures_takeovers_and_rebalances_are_counted(metered: Metered) -> None:
    """What did not become visible is told apart by its cause."""
    metered.meter.on_transaction_lost(LostTransaction(0, Fenced(""), 1.0))
    metered.meter.on_transaction_lost(LostTransaction(0, TaskFailed(""), 1.0))
    metered.meter.on_fenced(0)
    metered.meter.on_rebalance(0.3)
    assert metered.value("transactions_total", outcome="fenced") == 1
    assert metered.value("transactions_total", outcome="failed") == 1
    assert metered.value("transactions_total", outcome="committed") == 0
    assert metered.value("fences_total") == 1
    assert metered.value("rebalances_total") == 1
    assert metered.value("rebalance_seconds_bucket", le="0.5") == 1
