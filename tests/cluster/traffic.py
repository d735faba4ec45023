"""Checkpoints with duplicates, all the time, and what a read_committed subscriber sees of them."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.support.stream import Stream
from tests.support.verdicts import event_id, shard_of, wait_until_handled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.cluster import Cluster
    from tests.support.reader import Reader
    from tests.support.topics import Names

PAUSE_MS = 4
READ_SECONDS = 0.01
TOPIC_SECONDS = 120.0
SETTLE_SECONDS = 120.0


class Arrival(NamedTuple):
    """A ready event at the subscriber."""

    at: float
    id: str
    shard: int


class Verdict(NamedTuple):
    """What became of every id that was produced."""

    records: int
    distinct_ids: int
    published: int
    lost: int
    published_twice: int


class Traffic:
    """A context manager: records flow in from its beginning, and events are noted as they come."""

    def __init__(self, cluster: Cluster, names: Names) -> None:
        self._cluster = cluster
        self._names = names
        self._stream = Stream(cluster, names.topic("input"), pause_ms=PAUSE_MS)
        self._arrivals: list[Arrival] = []
        self._seen: set[str] = set()
        self._failure = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name="subscriber", daemon=True)

    def __enter__(self) -> Self:
        """Begin to produce and to read."""
        self._stream.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop both."""
        self._stop()

    def settle(self) -> None:
        """Return when everything that was produced until now has been published."""
        mark = len(self._stream.ids)

        def is_published() -> bool:
            assert not self._failure, self._failure
            return self._seen.issuperset(self._stream.ids[:mark])

        try:
            wait_until(is_published, SETTLE_SECONDS, poll_seconds=0.1)
        except AssertionError:
            missing = [one for one in self._stream.ids[:mark] if one not in self._seen]
            raise AssertionError(f"{len(missing)} ids not published: {missing[:5]} …") from None

    def longest_gaps(self, since: float, until: float) -> tuple[float, float]:
        """Return the longest time in seconds without an event: of all, and of any one shard.

        A gap counts if it overlaps the time asked for; before the first event, that time's
        beginning stands for one.
        """
        arrivals = list(self._arrivals)
        shards = {arrival.shard for arrival in arrivals}
        of_all = _longest((it.at for it in arrivals), since, until)
        of_shards = [
            _longest((it.at for it in arrivals if it.shard == shard), since, until)
            for shard in shards
        ]
        return of_all, max(of_shards, default=of_all)

    def finish(self) -> Verdict:
        """Stop, wait until all is handled, read the ready topic anew from its start and judge."""
        self._stop()
        wait_until_handled(self._cluster, self._names, SETTLE_SECONDS)
        published = Counter(map(event_id, self._cluster.read(self._names.topic("ready"))))
        ids = set(self._stream.ids)
        assert published.keys() <= ids, sorted(published.keys() - ids)[:5]
        ends = self._cluster.end_offsets(self._names.topic("input"))
        return Verdict(
            records=sum(ends.values()),
            distinct_ids=len(ids),
            published=published.total(),
            lost=len(ids - published.keys()),
            published_twice=sum(count - 1 for count in published.values()),
        )

    def _stop(self) -> None:
        if not self._stopped.is_set():
            self._stopped.set()
            self._stream.__exit__()
            self._thread.join()

    def _read(self) -> None:
        """Note events as they come; the topic is made in the course of the install."""
        topic = self._names.topic("ready")
        try:
            while topic not in self._cluster.topics():
                if self._stopped.wait(0.1):
                    return
            with self._cluster.subscriber(topic) as subscriber:
                while not self._stopped.is_set():
                    self._note(subscriber)
        except Exception:  # noqa: BLE001 - told by whoever waits for events
            self._failure = f"the subscriber ended: {traceback.format_exc()}"

    def _note(self, subscriber: Reader) -> None:
        records = subscriber.read_available(READ_SECONDS)
        now = time.monotonic()
        for record in records:
            arrival = Arrival(now, event_id(record), shard_of(record))
            self._arrivals.append(arrival)
            self._seen.add(arrival.id)


def _longest(times: Iterable[float], since: float, until: float) -> float:
    longest, last = 0.0, since
    for at in times:
        if at > since:
            longest = max(longest, at - last)
        last = at
        if at > until:
            break
    return longest
