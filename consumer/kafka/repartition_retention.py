"""The retention of the repartition topic: without a limit, or with one that was chosen."""

from collections.abc import Iterator
from typing import Final

from consumer.config import Settings
from consumer.kafka.topic_settings import (
    MIN_REPARTITION_RETENTION_MS,
    RETENTION_MS,
    UNLIMITED,
    TopicRisk,
    repartition_retention,
)
from consumer.kafka.types import TopicDescription

UNLIMITED_RETENTION_MS: Final = -1


def repartition_retention_ms(repartition: TopicDescription) -> int | None:
    """Return the retention of the repartition topic; None: no limit by time."""
    retention_ms = int(repartition.configs.get(RETENTION_MS, UNLIMITED_RETENTION_MS))
    return None if retention_ms == UNLIMITED_RETENTION_MS else retention_ms


def find_wrong_retention(repartition: TopicDescription) -> Iterator[str]:
    """Yield that the retention is too short, with the fix."""
    retention_ms = repartition_retention_ms(repartition)
    if retention_ms is not None and retention_ms < MIN_REPARTITION_RETENTION_MS:
        yield (
            f"topic {repartition.name}: {RETENTION_MS} is {retention_ms}; set it to {UNLIMITED}, "
            "since the brokers would delete forwards that no shard has read. Only if the cluster "
            f"refuses DeleteRecords, set it to {MIN_REPARTITION_RETENTION_MS} or more"
        )


def find_retention_risks(settings: Settings, repartition: TopicDescription) -> Iterator[TopicRisk]:
    """Yield that the retention has a limit, and that it is not REPARTITION_RETENTION_DAYS."""
    name, retention_ms = repartition.name, repartition_retention_ms(repartition)
    if retention_ms is not None:
        yield TopicRisk(
            "repartition_retention_is_bounded",
            name,
            f"topic {name}: {RETENTION_MS} is {retention_ms}: a forward that no shard "
            f"has read within this time is lost, and its shard then refuses to run. Set it to "
            f"{UNLIMITED}, unless the cluster refuses DeleteRecords",
        )
    wanted, actual = repartition_retention(settings), repartition.configs.get(RETENTION_MS)
    # Without the setting, operators may have chosen any retention by the means of their cluster.
    if settings.repartition_retention_days and actual != wanted:
        yield TopicRisk(
            "repartition_retention_differs",
            name,
            f"topic {name}: {RETENTION_MS} is {actual or 'not reported'}, but "
            f"CHECKPOINT_READY_REPARTITION_RETENTION_DAYS={settings.repartition_retention_days}, "
            f"which only a new topic gets; set the topic to {wanted} (kafka-configs.sh --alter "
            f"--entity-type topics --entity-name {name} --add-config {RETENTION_MS}={wanted}), or "
            "change the variable",
        )
