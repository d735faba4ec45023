"""A steady stream of checkpoints with duplicates, and the ready events that come of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.support.arrivals import Arrivals
from tests.support.stream import Stream
from tests.support.verdicts import compare_ids, event_id, wait_until_handled
from tests.support.waiting import DeadlineExceeded, wait_until

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.topics import Names

PAUSE_MS = 4
SETTLE_SECONDS = 120.0


class Verdict(NamedTuple):
    """The figures of a run."""

    records: int
    distinct_ids: int
    published: int
    lost: int
    published_twice: int


class Traffic:
    """A context manager: inside, records are produced and ready events are read."""

    def __init__(self, cluster: Cluster, names: Names) -> None:
        self._cluster = cluster
        self._names = names
        self._stream = Stream(cluster, names.topic("input"), pause_ms=PAUSE_MS)
        # The ready topic is created in the course of the install.
        self._arrivals = Arrivals(cluster, names.topic("ready"))
        self._is_stopped = False

    def __enter__(self) -> Self:
        """Begin to produce and to read."""
        self._stream.__enter__()
        self._arrivals.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop both."""
        self._stop()

    def settle(self) -> None:
        """Wait until everything that was produced until now is published."""
        produced = list(self._stream.ids)

        def is_published() -> bool:
            self._arrivals.require_alive()
            return self._arrivals.ids.issuperset(produced)

        try:
            wait_until(is_published, SETTLE_SECONDS, poll_seconds=0.1)
        except DeadlineExceeded:
            missing = [one for one in produced if one not in self._arrivals.ids]
            message = f"{len(missing)} ids not published: {missing[:5]} …"
            raise DeadlineExceeded(message) from None

    def longest_gaps(self, since: float, until: float) -> tuple[float, float]:
        """Return the longest time in seconds without an event: of all, and of any one shard."""
        return self._arrivals.longest_gaps(since, until)

    def finish(self) -> Verdict:
        """Stop, wait until all is handled, read the ready topic from its start, and compare."""
        self._stop()
        wait_until_handled(self._cluster, self._names, SETTLE_SECONDS)
        published = Counter(map(event_id, self._cluster.read(self._names.topic("ready"))))
        ids = set(self._stream.ids)
        verdict = compare_ids(ids, published)
        assert not verdict.unexpected, str(verdict)
        ends = self._cluster.end_offsets(self._names.topic("input"))
        return Verdict(
            records=sum(ends.values()),
            distinct_ids=len(ids),
            published=published.total(),
            lost=len(verdict.lost),
            published_twice=sum(published[one] - 1 for one in verdict.published_twice),
        )

    def _stop(self) -> None:
        if not self._is_stopped:
            self._is_stopped = True
            self._stream.__exit__()
            self._arrivals.stop()
