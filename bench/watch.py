"""A subscriber that notes when each ready event is seen."""

import threading
import time
from itertools import pairwise
from typing import Self

from tests.support.cluster import Cluster
from tests.support.verdicts import shard_of

_OLD_SECONDS = 0.5


class Watch:
    """A read_committed subscriber of the ready events in a thread of its own."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self._subscriber = cluster.subscriber(topic)
        self._seen: list[tuple[float, int, int]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._subscriber.close()

    def has_seen_all(self, shards: int, since: float) -> bool:
        """Tell whether an event of every shard was seen after a time of `time.monotonic`."""
        return len({shard for at, shard, _ in self._recent(since)}) == shards

    def pauses(self, since: float, *, by_partition: bool = False) -> dict[int, tuple[float, float]]:
        """Return begin and end of the longest pause of each shard (or ready partition)."""
        times: dict[int, list[float]] = {}
        for at, shard, partition in self._recent(since - _OLD_SECONDS):
            times.setdefault(partition if by_partition else shard, []).append(at)
        found: dict[int, tuple[float, float]] = {}
        for one, stamps in times.items():
            ended_since = [pair for pair in pairwise(stamps) if pair[1] > since]
            if ended_since:
                found[one] = max(ended_since, key=lambda pair: pair[1] - pair[0])
        return found

    def _recent(self, since: float) -> list[tuple[float, int, int]]:
        return [seen for seen in list(self._seen) if seen[0] >= since]

    def _read(self) -> None:
        while not self._stopped.is_set():
            records = self._subscriber.read_available(0.01)
            now = time.monotonic()
            self._seen += [(now, shard_of(record), record.partition) for record in records]
