"""The plan of a replay: how many records of each kind are in the range, and how many events."""

from collections.abc import Sequence
from typing import Final

import msgspec

from consumer.jobs.replay.request import ReplayRequest
from consumer.jobs.replay.source import ReplaySource
from consumer.jobs.replay.target import Target
from consumer.kafka.types import TopicPartition
from consumer.pipeline.digest_table import DigestTable
from consumer.pipeline.records import SourceRecord
from consumer.pipeline.replay_decider import ReplayCounts

# The time that writing adds to reading and deciding, measured by `make bench ARGS=replay`.
WRITE_SECONDS_PER_EVENT: Final = 1 / 60_000


class PartitionPlan(msgspec.Struct):
    """One partition: its offset range, and how many records of each kind it has."""

    topic: str
    partition: int
    start: int
    end: int
    first_ms: int | None = None
    last_ms: int | None = None
    counts: ReplayCounts = msgspec.field(default_factory=ReplayCounts)

    def add(self, records: Sequence[SourceRecord], counts: ReplayCounts) -> None:
        """Add some records."""
        self.counts.add(counts)
        if records:
            times = [record.timestamp for record in records]
            first, last = min(times), max(times)
            self.first_ms = first if self.first_ms is None else min(first, self.first_ms)
            self.last_ms = last if self.last_ms is None else max(last, self.last_ms)


class Plan(msgspec.Struct, kw_only=True):
    """What `--execute` would do."""

    name: str
    target: str
    makes_target: bool
    partitions: list[PartitionPlan]
    counts: ReplayCounts
    published: int
    """How many of the counted events will be published: all, or at most --max-events."""
    distinct_ids: int
    gone: int
    """Published events of the range whose source record is deleted: they are not replayed."""
    estimated_seconds: float


class PlanBuilder:
    """Builds the plan from the decisions of a replay that writes nothing."""

    def __init__(self, source: ReplaySource) -> None:
        self._source = source
        self._ids = DigestTable(0)
        self._partitions = {
            partition: PartitionPlan(*partition, *offsets)
            for partition, offsets in sorted(source.resolved.ranges.items())
        }

    @property
    def source(self) -> ReplaySource:
        """The given source, with a decider that also records the id of every valid record."""
        replayer = msgspec.structs.replace(self._source.replayer, valid_ids=self._ids)
        return msgspec.structs.replace(self._source, replayer=replayer)

    def add(
        self, partition: TopicPartition, records: Sequence[SourceRecord], counts: ReplayCounts
    ) -> None:
        """Add some decided records."""
        self._partitions[partition].add(records, counts)

    def plan(self, request: ReplayRequest, target: Target, seconds: float) -> Plan:
        """Return the plan. `seconds` is the time that this plan took to read and decide."""
        counts = ReplayCounts()
        for partition in self._partitions.values():
            counts.add(partition.counts)
        limit, rate = request.max_events, request.rate
        published = counts.events if limit is None else min(counts.events, limit)
        seconds += published * WRITE_SECONDS_PER_EVENT
        return Plan(
            name=request.name,
            target=target.topic,
            makes_target=not target.exists,
            partitions=list(self._partitions.values()),
            counts=counts,
            published=published,
            distinct_ids=len(self._ids),
            gone=self._source.count_origins() - counts.origins,
            estimated_seconds=round(seconds if rate is None else max(seconds, published / rate), 1),
        )
