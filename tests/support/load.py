"""Produces checkpoints in batches, and measures how long the ready events of each batch take."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from tests.support.records import numbered_ids, scattered
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.deployment import Deployment

BATCH = 5


class Load:
    """Produces checkpoints, a few at a time, and waits for the ready events of each batch."""

    def __init__(self, cluster: Cluster, deployment: Deployment) -> None:
        self._cluster = cluster
        self._deployment = deployment
        self.ids: list[str] = []
        self.longest_seconds = 0.0

    def run(self, seconds: float) -> None:
        """Run for this time."""
        ends_at = time.monotonic() + seconds
        with self._cluster.subscriber(self._deployment.ready_topic) as subscriber:
            seen = len(self.ids)
            while time.monotonic() < ends_at:
                batch = numbered_ids(BATCH, f"round-{len(self.ids)}")
                begin = time.monotonic()
                self._cluster.produce(self._deployment.input_topic, scattered(batch))
                self.ids += batch
                seen = len(self.ids)
                wait_until(partial(_has_read, subscriber, seen), 30, what="the ready events")
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - begin)


def _has_read(subscriber: object, events: int) -> bool:
    subscriber.read_available()  # type: ignore[attr-defined]
    return len(subscriber.records) >= events  # type: ignore[attr-defined]
