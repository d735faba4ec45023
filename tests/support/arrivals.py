"""Records when a read_committed reader sees each ready event, and computes the pauses."""

from __future__ import annotations

import threading
import time
import traceback
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.support.verdicts import event_id, shard_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.cluster import Cluster
    from tests.support.reader import Reader

READ_SECONDS = 0.01
TOPIC_POLL_SECONDS = 0.1
OLD_SECONDS = 0.5


class Arrival(NamedTuple):
    """A ready event at the reader, at a time of `time.monotonic`."""

    at: float
    id: str
    shard: int
    partition: int


class Arrivals:
    """Reads the ready events in a separate thread; a context manager."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        """Describe the reader; entering the context starts it. The topic may not exist yet."""
        self.ids: set[str] = set()
        self._cluster = cluster
        self._topic = topic
        self._arrivals: list[Arrival] = []
        self._failure = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="arrivals", daemon=True)

    def __enter__(self) -> Self:
        """Start to read."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def stop(self) -> None:
        """Stop the thread; a second call does nothing."""
        self._stopped.set()
        self._thread.join()

    def require_alive(self) -> None:
        """Raise AssertionError if the reader has failed."""
        assert not self._failure, self._failure

    def has_seen_all(self, shards: int, since: float) -> bool:
        """Return whether an event of every shard arrived after this time."""
        self.require_alive()
        return len({one.shard for one in self._since(since)}) == shards

    def pauses(self, since: float, *, by_partition: bool = False) -> dict[int, tuple[float, float]]:
        """Return begin and end of the longest pause of each shard (or ready partition).

        A pause counts if it ended after this time.
        """
        times: dict[int, list[float]] = defaultdict(list)
        for one in self._since(since - OLD_SECONDS):
            times[one.partition if by_partition else one.shard].append(one.at)
        found: dict[int, tuple[float, float]] = {}
        for number, stamps in times.items():
            ended_since = [pair for pair in pairwise(stamps) if pair[1] > since]
            if ended_since:
                found[number] = max(ended_since, key=lambda pair: pair[1] - pair[0])
        return found

    def longest_gaps(self, since: float, until: float) -> tuple[float, float]:
        """Return the longest time in seconds without an event: of all, and of any one shard.

        A gap counts if it overlaps this time range. Before the first event, the gap begins with
        the range.
        """
        arrivals = list(self._arrivals)
        shards = {one.shard for one in arrivals}
        of_all = _longest((one.at for one in arrivals), since, until)
        of_shards = [
            _longest((one.at for one in arrivals if one.shard == shard), since, until)
            for shard in shards
        ]
        return of_all, max(of_shards, default=of_all)

    def _since(self, since: float) -> list[Arrival]:
        return [one for one in list(self._arrivals) if one.at >= since]

    def _run(self) -> None:
        try:
            while self._topic not in self._cluster.topics():
                if self._stopped.wait(TOPIC_POLL_SECONDS):
                    return
            with self._cluster.subscriber(self._topic) as reader:
                while not self._stopped.is_set():
                    self._take(reader)
        except Exception:  # noqa: BLE001 - raised by require_alive, in the caller's thread
            self._failure = f"the reader failed: {traceback.format_exc()}"

    def _take(self, reader: Reader) -> None:
        records = reader.read_available(READ_SECONDS)
        now = time.monotonic()
        for record in records:
            arrival = Arrival(now, event_id(record), shard_of(record), record.partition)
            self._arrivals.append(arrival)
            self.ids.add(arrival.id)
        reader.records.clear()


def _longest(times: Iterable[float], since: float, until: float) -> float:
    longest, last = 0.0, since
    for at in times:
        if at > since:
            longest = max(longest, at - last)
        last = at
        if at > until:
            break
    return longest
