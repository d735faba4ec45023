"""Counters and histograms equal the reports of the engine."""

import pytest
from prometheus_client import CollectorRegistry

from consumer.config import Settings
from consumer.errors import Fenced, TaskFailed
from consumer.pipeline.records import ReadyRecord
from consumer.service.metrics_observer import MetricsObserver
from consumer.shard.events import LostTransaction, TransactionReport
from schemas.ready_event import Origin

NOW = 1_700_000_000.0


class Observed:
    """An observer and the registry that it updates."""

    def __init__(self) -> None:
        """Start with an empty registry."""
        self.registry = CollectorRegistry()
        self.observer = MetricsObserver(self.registry, Settings.load({}), lambda: NOW)

    def value(self, name: str, **labels: str) -> float | None:
        """Return a sample's value."""
        return self.registry.get_sample_value(f"checkpoint_ready_{name}", labels)


@pytest.fixture
def observed() -> Observed:
    """Return an observer that has counted nothing yet."""
    return Observed()


def ready(created_seconds_ago: float, sent_seconds_ago: float | None) -> ReadyRecord:
    """Return a ready event; None: its source record had no timestamp."""
    timestamp_ms = -1 if sent_seconds_ago is None else round((NOW - sent_seconds_ago) * 1000)
    created_at = int(NOW - created_seconds_ago)
    return ReadyRecord("id", "job", b"", b"", [], created_at, Origin("in", 0, 0, timestamp_ms))


def report(*events: ReadyRecord) -> TransactionReport:
    """Return a transaction with every kind of result."""
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
        dead_letter_fields=[],
        suppressed_events=7,
        consumed_by_topic={"fine-tuning.checkpoints": 17, "checkpoint-ready.repartition": 3},
        ready=events,
    )


def test_a_transaction_is_counted_once_for_each_thing_it_held(observed: Observed) -> None:
    """After two equal transactions each counter has twice the value: it sums what was committed."""
    for _ in range(2):
        observed.observer.on_transaction(report(ready(0, 0)))
    assert observed.value("consumed_records_total", topic="fine-tuning.checkpoints") == 34
    assert observed.value("consumed_records_total", topic="checkpoint-ready.repartition") == 6
    assert observed.value("published_events_total") == 2
    assert observed.value("duplicates_total", kind="same") == 8
    assert observed.value("duplicates_total", kind="conflicting") == 4
    assert observed.value("dead_letters_total", reason="malformed_json") == 6
    assert observed.value("dead_letters_total", reason="conflicting_duplicate") == 4
    assert observed.value("dead_letters_total", reason="too_deep") == 0
    assert observed.value("forwarded_records_total") == 10
    assert observed.value("transactions_total", outcome="committed") == 2
    assert observed.value("expired_ids_total") == 12
    assert observed.value("suppressed_log_lines_total") == 14
    assert observed.value("last_commit_timestamp_seconds") == NOW
    assert observed.value("transaction_seconds_sum") == pytest.approx(0.06)


def test_latency_is_measured_from_the_record_and_freshness_from_the_checkpoint(
    observed: Observed,
) -> None:
    """A bound belongs to its bucket. No timestamp: no latency. A clock ahead counts as 0."""
    observed.observer.on_transaction(
        report(ready(60, 0.05), ready(7200, None), ready(-5, -5), ready(100_000, 2))
    )
    assert observed.value("end_to_end_seconds_count") == 3
    assert observed.value("end_to_end_seconds_bucket", le="0.025") == 1
    assert observed.value("end_to_end_seconds_bucket", le="0.05") == 2
    assert observed.value("end_to_end_seconds_bucket", le="+Inf") == 3
    assert observed.value("end_to_end_seconds_sum") == pytest.approx(2.05)
    assert observed.value("freshness_seconds_bucket", le="60.0") == 2
    assert observed.value("freshness_seconds_bucket", le="86400.0") == 3
    assert observed.value("freshness_seconds_count") == 4
    assert observed.value("freshness_seconds_sum") == pytest.approx(107_260)


def test_failures_takeovers_and_rebalances_are_counted(observed: Observed) -> None:
    """Transactions that were not committed are counted by their cause."""
    observed.observer.on_transaction_lost(LostTransaction(0, Fenced(""), 1.0))
    observed.observer.on_transaction_lost(LostTransaction(0, TaskFailed(""), 1.0))
    observed.observer.on_fenced(0)
    observed.observer.on_rebalance(0.3)
    assert observed.value("transactions_total", outcome="fenced") == 1
    assert observed.value("transactions_total", outcome="failed") == 1
    assert observed.value("transactions_total", outcome="committed") == 0
    assert observed.value("fences_total") == 1
    assert observed.value("rebalances_total") == 1
    assert observed.value("rebalance_seconds_bucket", le="0.5") == 1
