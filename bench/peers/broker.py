"""The local broker of a comparison, and the cores that it and the contenders use.

A contender has one core for itself. The broker and this program have the others. Without two cores,
or on a system without CPU affinity, they share all cores.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from dev.kafka import LocalKafka
from tests.support.cluster import Cluster

# A broker compiles with C1 only in tests, to start fast. Here it is to be as fast as it can be.
JAVA_OPTIONS: Final = ("-XX:TieredStopAtLevel=4", "-Xmx1g")
# The broker deletes the files of a deleted topic at once, so that a long comparison fits the disk.
BROKER_SETTINGS: Final = {"log.segment.delete.delay.ms": "1000"}
INTERNAL_LOGS: Final = ("__cluster_metadata",)


class Cores(NamedTuple):
    """The cores of the contender, and those of everything else."""

    contender: frozenset[int]
    others: frozenset[int]

    @property
    def all(self) -> frozenset[int]:
        """All cores, for a contender that is not pinned."""
        return self.contender | self.others


def all_cores() -> Cores:
    """Return all cores for the contender, and the same cores for everything else."""
    cores = frozenset(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ())
    return Cores(cores, cores)


def divide_cores() -> Cores:
    """Return the last core for the contender, and the others for everything else."""
    *others, last = sorted(all_cores().others) or [-1]
    return Cores(frozenset({last}), frozenset(others)) if others else all_cores()


@contextmanager
def running_on(cores: frozenset[int]) -> Iterator[None]:
    """Run this thread on these cores. Processes that it starts meanwhile run on them too."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Broker(NamedTuple):
    """The running broker."""

    cluster: Cluster
    pid: int
    data: Path
    cores: Cores


@contextmanager
def started_broker(cores: Cores) -> Iterator[Broker]:
    """Start a broker on the cores that are not the contender's, and move this program there."""
    with (
        running_on(cores.others),
        LocalKafka(properties=BROKER_SETTINGS, java_options=JAVA_OPTIONS) as kafka,
    ):
        pid = kafka.pid(1)
        if pid is None:
            raise RuntimeError("the local broker has ended")
        yield Broker(Cluster(kafka.bootstrap_servers), pid, kafka.data(1), cores)


class WrittenBytes:
    """Counts the bytes that the broker appends to its logs, except those of some topics.

    `update` must run about once a second. A segment may be deleted or compacted while a contender
    runs, so the largest size of each file counts.
    """

    def __init__(self, data: Path, *ignored_topics: str) -> None:
        """Start to count."""
        self._data = data
        self._ignored = (*INTERNAL_LOGS, *ignored_topics)
        self._sizes: dict[Path, int] = {}
        self.update()
        self._before = dict(self._sizes)

    def update(self) -> None:
        """Look at the size of each segment."""
        for folder in self._data.iterdir():
            if not folder.is_dir() or folder.name.rpartition("-")[0] in self._ignored:
                continue
            for segment in folder.glob("*.log"):
                try:
                    size = segment.stat().st_size
                except FileNotFoundError:  # deleted in this moment
                    continue
                self._sizes[segment] = max(size, self._sizes.get(segment, 0))

    def by_topic(self) -> dict[str, int]:
        """Return the bytes that were written to each topic until the last update."""
        topics: dict[str, int] = {}
        for segment, size in self._sizes.items():
            written = size - self._before.get(segment, 0)
            topic = segment.parent.name.rpartition("-")[0]
            if written:
                topics[topic] = topics.get(topic, 0) + written
        return topics
