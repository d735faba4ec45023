"""What a replay would do: everything that it does but write."""

import time
from contextlib import aclosing
from typing import Final

import msgspec

from consumer.config import Settings
from consumer.errors import Interrupted
from consumer.jobs.context import JobContext, open_job_context
from consumer.jobs.journal import REPLAY
from consumer.jobs.replay import source as replay_source
from consumer.jobs.replay.request import ReplayRequest
from consumer.jobs.replay.source import Source
from consumer.jobs.replay.state import ReplayState, is_of_replay, read_state, read_states
from consumer.jobs.retry import UNLIMITED, ShutdownSignal
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.read import ReadBatch
from consumer.pipeline.digest_table import DigestTable
from consumer.pipeline.replay_decider import ReplayCounts, ReplayDecision

# What writing adds to reading and deciding, measured by `make bench ARGS=replay`.
WRITE_SECONDS_PER_EVENT: Final = 1 / 60_000


class PartitionPlan(msgspec.Struct):
    """One partition's resolved and what its records are."""

    topic: str
    partition: int
    start: int
    end: int
    first_ms: int | None = None
    last_ms: int | None = None
    counts: ReplayCounts = msgspec.field(default_factory=ReplayCounts)

    def add(self, batch: ReadBatch, counts: ReplayCounts) -> None:
        """Take in a batch of it."""
        self.counts.add(counts)
        if batch.records:
            times = [record.timestamp for record in batch.records]
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
    """How many events of those counted are published: all, or as many as --max-events allows."""
    distinct_ids: int
    gone: int
    """Published events of the range whose record is not there any more: they are not replayed."""
    estimated_seconds: float


class Planner:
    """Makes the plan of a replay that has not begun."""

    def __init__(self, settings: Settings, request: ReplayRequest, stop: ShutdownSignal) -> None:
        self._settings = settings
        self._request = request
        self._stop = stop

    async def plan(self) -> Plan | ReplayState:
        """Return the plan, or how far the replay is that has begun under this name.

        Raises:
            ClusterError, ConfigError: it would be refused.
        """
        settings, request = self._settings, self._request
        async with open_job_context(settings, f"replay-{request.name}-plan") as context:
            begun = await find_begun(context, request.name)
            if begun is not None:
                return begun
            target = await replay_source.describe_target(context, request)
            found = await context.admin.describe([target.topic])
            began = time.monotonic()
            source = await replay_source.begin(context, request, target, wall_clock_ms())
            partitions, distinct_ids = await self._count(context, source)
            counts = ReplayCounts()
            for partition in partitions:
                counts.add(partition.counts)
            return Plan(
                name=request.name,
                target=target.topic,
                makes_target=target.topic not in found,
                partitions=partitions,
                counts=counts,
                published=self._published(counts),
                distinct_ids=distinct_ids,
                gone=replay_source.count_origins(source) - counts.origins,
                estimated_seconds=self._estimate(counts, time.monotonic() - began),
            )

    async def _count(self, context: JobContext, source: Source) -> tuple[list[PartitionPlan], int]:
        plans = {
            partition: PartitionPlan(*partition, *part)
            for partition, part in sorted(source.resolved.ranges.items())
        }
        met = DigestTable(0)
        replayer = msgspec.structs.replace(source.replayer, valid_ids=met)
        async with aclosing(replay_source.read(context, source.resolved)) as batches:
            async for batch in batches:
                decision = ReplayDecision()
                replayer.decide(batch.partition, batch.records, decision, UNLIMITED)
                replayer.settle(decision.settled)
                plans[batch.partition].add(batch, decision.counts)
                if self._stop.signal is not None:
                    raise Interrupted("the plan is not finished", self._stop.signal)
        return list(plans.values()), len(met)

    def _published(self, counts: ReplayCounts) -> int:
        limit = self._request.max_events
        return counts.events if limit is None else min(counts.events, limit)

    def _estimate(self, counts: ReplayCounts, seconds: float) -> float:
        written, rate = self._published(counts), self._request.rate
        seconds += written * WRITE_SECONDS_PER_EVENT
        return round(seconds if rate is None else max(seconds, written / rate), 1)


async def find_begun(context: JobContext, name: str) -> ReplayState | None:
    """Return the replay of this name if it has begun."""
    return read_state(await context.read_journal(lambda key: is_of_replay(name, key)), name)


# The replays of a group, as its journal tells them; nothing is disturbed by looking.


async def list_replays(settings: Settings) -> list[ReplayState]:
    """Return every replay, the latest first.

    Raises:
        ClusterError: the cluster cannot be used.
    """
    async with open_job_context(settings, "replays") as context:
        return read_states(await context.read_journal(lambda key: key.startswith(REPLAY)))


async def find_replay(settings: Settings, name: str) -> ReplayState | None:
    """Return the replay of this name, None when there is none.

    Raises:
        ClusterError: the cluster cannot be used.
    """
    found = (state for state in await list_replays(settings) if state.name == name)
    return next(found, None)
