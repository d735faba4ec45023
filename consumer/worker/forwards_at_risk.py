"""Reports that the brokers may delete forwards that no shard has read.

The retention of the repartition topic can be changed while the service runs. So it is read with
each measurement. The running shards continue with any retention: they read the forwards that are in
danger. A shard that starts refuses a retention that is too short.
"""

import time
from collections.abc import Mapping
from typing import Final

import structlog

from consumer.kafka.topic_settings import MIN_REPARTITION_RETENTION_MS, RETENTION_MS, UNLIMITED

# The brokers delete a whole segment when its last record is too old, so never before the retention.
WARN_AT_RATIO: Final = 0.5
REPEAT_SECONDS: Final = 3600.0
log = structlog.get_logger(__name__)


class ForwardsAtRisk:
    """Logs each danger to unread forwards once an hour, and a shorter retention at once."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._known_short: int | None = None
        self._next_short = self._next_old = time.monotonic()

    def report(self, retention_ms: int | None, unread_seconds: Mapping[int, float]) -> None:
        """Log what is in danger. `unread_seconds` is the age of the oldest unread forward by shard.

        A `retention_ms` of None means that the brokers delete nothing by time.
        """
        if retention_ms is None:
            self._known_short = None
            return
        self._report_short_retention(retention_ms, unread_seconds)
        self._report_old_forwards(retention_ms / 1000, unread_seconds)

    def _report_short_retention(
        self, retention_ms: int, unread_seconds: Mapping[int, float]
    ) -> None:
        if retention_ms >= MIN_REPARTITION_RETENTION_MS:
            self._known_short = None
            return
        now = time.monotonic()
        if retention_ms == self._known_short and now < self._next_short:
            return
        self._known_short, self._next_short = retention_ms, now + REPEAT_SECONDS
        log.error(
            "repartition_retention_too_short",
            topic=self._topic,
            retention_seconds=retention_ms / 1000,
            least_seconds=MIN_REPARTITION_RETENTION_MS / 1000,
            unread_seconds={shard: round(age) for shard, age in unread_seconds.items() if age > 0},
            hint="the brokers delete forwards after this time although no shard has read them, for "
            "example while no process runs: their checkpoints are then lost. The running shards "
            "continue, but a shard that starts refuses this retention. Set "
            f"{RETENTION_MS} of the topic to {UNLIMITED}. Only if the cluster refuses "
            f"DeleteRecords, set it to {MIN_REPARTITION_RETENTION_MS} or more",
        )

    def _report_old_forwards(self, retention: float, unread_seconds: Mapping[int, float]) -> None:
        """Log that unread forwards have reached half of the retention."""
        limit = WARN_AT_RATIO * retention
        old = {shard: round(age) for shard, age in unread_seconds.items() if age > limit}
        if not old or time.monotonic() < self._next_old:
            return
        self._next_old = time.monotonic() + REPEAT_SECONDS
        log.error(
            "forwards_may_expire",
            topic=self._topic,
            unread_seconds=old,
            retention_seconds=retention,
            hint="these shards have not read forwards for half of the topic's retention; the "
            f"brokers delete them after all of it: set {RETENTION_MS} of the topic to {UNLIMITED} "
            "now, then find out why the shards do not read",
        )
