"""Each metric is defined once, documented, and served under its name."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from consumer.config import Settings
from consumer.kafka.held_back import HeldBack
from consumer.kafka.tokens import TokenLife
from consumer.service.metrics import METRICS
from consumer.service.metrics_observer import EngineCollector, MetricsObserver
from consumer.shard.status import ShardStatus, SourceStatus
from consumer.worker.engine import EngineStatus
from consumer.worker.repartition_watch import RepartitionState
from dev.metrics_table import metrics_table

REFERENCE = Path(__file__).parents[3] / "docs" / "operations" / "reference.md"
VIEW = EngineStatus(
    is_member=True,
    group_shards=3,
    shards=(
        ShardStatus(
            0,
            "running",
            7,
            1.0,
            has_run=True,
            sources=(SourceStatus("in", 0, 5, held_back=HeldBack(2_000, 90.0)),),
            variants=4,
        ),
        ShardStatus(1, "fencing", 2, 0.25, hangs="it hangs", hanging_partitions=2),
        ShardStatus(2, "running", has_run=True, sources=(SourceStatus("in", 2, None),)),
    ),
    open_seconds={"ready": 12.0},
    repartition={0: RepartitionState(1_000, 30.0, 2**20), 1: RepartitionState(0)},
    repartition_retention_seconds=1_209_600.0,
    token=TokenLife(120.0, 3600.0),
)


def test_the_table_of_metrics_is_the_one_in_force() -> None:
    """`python -m dev.metrics_table docs/operations/reference.md` writes it after a change."""
    text = REFERENCE.read_text()
    assert metrics_table().within(text) == text


def test_every_metric_is_served_with_its_type_and_labels_and_no_other() -> None:
    """A scraper finds the documented metrics; only the standard metrics of a process are added."""
    registry = CollectorRegistry()
    MetricsObserver(registry, Settings.load({}))
    registry.register(EngineCollector(lambda: VIEW))
    families = {family.name: family for family in registry.collect()}
    ours = {name for name in families if not name.startswith("process_")}
    assert ours == {metric.full_name.removesuffix("_total") for metric in METRICS}
    for metric in METRICS:
        family = families[metric.full_name.removesuffix("_total")]
        assert family.type == metric.kind
        assert family.documentation == metric.help
        found = {frozenset(sample.labels) - {"le"} for sample in family.samples}
        assert found == {frozenset(metric.labels)}


def test_a_scrape_reads_the_current_state_of_the_engine() -> None:
    """An unknown lag is absent, because 0 would be wrong; each state is always present."""
    registry = CollectorRegistry()
    registry.register(EngineCollector(lambda: VIEW))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"checkpoint_ready_{name}", labels)

    assert value("lag_records", topic="in", partition="0") == 5
    assert value("lag_records", topic="in", partition="2") is None
    assert value("state_entries", shard="0") == 7
    assert value("state_variants", shard="0") == 4
    assert value("shards", state="running") == 2
    assert value("shards", state="fencing") == 1
    assert value("held_back_records", topic="in", partition="0") == 2_000
    assert value("held_back_seconds", topic="in", partition="0") == 90
    assert value("held_back_records", topic="in", partition="2") is None
    assert value("hanging_transactions", shard="0") == 0
    assert value("hanging_transactions", shard="1") == 2
    assert value("open_transaction_seconds", topic="ready") == 12
    assert value("shards", state="refused") == 0
    assert value("token_remaining_seconds") == 120
    assert value("token_lifetime_seconds") == 3600
    assert value("restore_progress_ratio", shard="1") == 0.25
