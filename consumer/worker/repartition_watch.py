"""Measures the repartition topic: handled forwards that are still stored, and unread ones.

The service deletes handled forwards by DeleteRecords. Where the cluster refuses this, the topic
grows, or the brokers delete by the topic's retention. Retention also deletes forwards that no shard
has read. So the age of the oldest unread forward is measured against it, long before that happens.

A partition that cannot be measured, for example because its leader hangs, does not hide the others.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import aclosing
from typing import Final

import msgspec
import structlog

from consumer.config import Settings
from consumer.errors import ClusterError, TaskFailed, TimedOut, TransientError
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.port import ClusterAdmin, Kafka, LogReader
from consumer.kafka.read import OffsetRange, ReadOptions, read_range
from consumer.kafka.repartition_retention import repartition_retention_ms
from consumer.kafka.topics import Topology
from consumer.kafka.types import TopicPartition
from consumer.shard.status import ShardStatus
from consumer.worker.forwards_at_risk import ForwardsAtRisk

READ_SECONDS: Final = 10.0
# Without the right to ask for sizes, the brokers log each refusal. So ask them rarely.
REFUSED_SECONDS: Final = 3600.0
NO_ANSWER: Final = (ClusterError, TaskFailed, TransientError)
log = structlog.get_logger(__name__)


class RepartitionState(msgspec.Struct, frozen=True):
    """The partition of one shard in the repartition topic."""

    handled_records: int
    """Offsets of handled forwards that are still stored."""
    unread_seconds: float | None = None
    """The age of the oldest unread forward; 0: none. None: retention is unlimited, or unknown."""
    size_bytes: int | None = None
    """The size of the leader's log. None: this user may not query it."""


class RepartitionWatch:
    """Measures the partitions of the assigned shards every TRIM_INTERVAL_MS."""

    def __init__(
        self,
        kafka: Kafka,
        admin: ClusterAdmin,
        settings: Settings,
        topology: Callable[[], Topology | None],
        statuses: Callable[[], Iterable[ShardStatus]],
    ) -> None:
        """`statuses` returns the assigned shards, whether they run or not."""
        self.states: Mapping[int, RepartitionState] = {}
        self._kafka = kafka
        self._admin = admin
        self._settings = settings
        self._topology = topology
        self._statuses = statuses
        self._reader: LogReader | None = None
        self._at_risk = ForwardsAtRisk(settings.repartition_topic)
        self._retention_ms: int | None = None
        self._is_retention_known = False
        self._next_size_query = time.monotonic()
        self._unknown: dict[int, str] = {}  # by shard: why its partition could not be measured

    @property
    def retention_seconds(self) -> float | None:
        """After this time the brokers delete forwards; None: never, or not known yet."""
        topology = self._topology()
        retention_ms = None if topology is None else topology.repartition_retention_ms
        if self._is_retention_known:
            retention_ms = self._retention_ms
        return None if retention_ms is None else retention_ms / 1000

    async def keep_measuring(self) -> None:
        """Measure in intervals; never return. A failure is only logged."""
        is_known = True
        try:
            while True:
                await asyncio.sleep(self._settings.trim_interval_ms / 1000)
                try:
                    await self.measure()
                    is_known = True
                except NO_ANSWER as error:
                    self.states = {}  # an unknown state is not displayed
                    if is_known:
                        log.info("repartition_state_unknown", error=str(error))
                    is_known = False
                    await self._close()
        finally:
            await self._close()

    async def measure(self) -> None:
        """Measure once, and log forwards that are in danger.

        Raises:
            ClusterError, TaskFailed, TransientError: the brokers did not answer.
        """
        topology, statuses = self._topology(), list(self._statuses())
        if not statuses or topology is None:
            self.states = {}
            await self._close()
            return
        await self._read_retention()
        unknown: dict[int, str] = {}
        self.states = await self._measure(topology, statuses, unknown)
        self._at_risk.report(
            self._retention_ms,
            {s: it.unread_seconds for s, it in self.states.items() if it.unread_seconds},
        )
        if unknown and unknown.keys() != self._unknown.keys():
            log.info("repartition_state_unknown", shards=sorted(unknown), error=str(unknown))
        self._unknown = unknown

    async def _read_retention(self) -> None:
        """Read the present retention: the topology is of the last time when all topics were right.

        A broker that has just started may not know the topic. Then the last value stays.
        """
        topic = (await self._admin.describe([self._settings.repartition_topic])).get(
            self._settings.repartition_topic
        )
        if topic is not None:
            self._retention_ms = repartition_retention_ms(topic)
            self._is_retention_known = True

    async def _measure(
        self, topology: Topology, statuses: Collection[ShardStatus], unknown: dict[int, str]
    ) -> dict[int, RepartitionState]:
        """Return the state of each partition that can be measured; add others to `unknown`."""
        topic = self._settings.repartition_topic
        leaderless = topology.leaderless.get(topic, ())
        statuses = [status for status in statuses if status.shard not in leaderless]
        reader = await self._open_reader(topology)
        wanted = [TopicPartition(topic, status.shard) for status in statuses]
        starts = await _each(wanted, reader.beginning_offsets, unknown)
        next_offsets = await self._next_offsets(statuses, starts, unknown)
        ages: Mapping[TopicPartition, float] = {}
        if self._retention_ms is not None:
            unread = {p: max(starts[p], at) for p, at in next_offsets.items()}
            ages = await self._ages(reader, unread, unknown)
        sizes = await self._sizes(next_offsets)
        return {
            partition.partition: RepartitionState(
                handled_records=max(0, at - starts[partition]),
                unread_seconds=ages.get(partition),
                size_bytes=sizes.get(partition),
            )
            for partition, at in next_offsets.items()
        }

    async def _open_reader(self, topology: Topology) -> LogReader:
        if self._reader is None:
            topic = self._settings.repartition_topic
            # Records behind an open transaction are unread too, and get older.
            self._reader = self._kafka.reader(
                f"{self._settings.group_id}-repartition",
                topics=[topic],
                max_message_bytes=topology.max_message_bytes[topic],
                committed_only=False,
            )
            await self._reader.start()
        return self._reader

    async def _next_offsets(
        self,
        statuses: Iterable[ShardStatus],
        partitions: Collection[TopicPartition],
        unknown: dict[int, str],
    ) -> dict[TopicPartition, int]:
        """Return the first unread offset of each partition.

        A shard that does not run has no position. Its last one is among the group's offsets.
        """
        found = {
            p: at for status in statuses for p, at in status.positions.items() if p in partitions
        }
        missing = [partition for partition in partitions if partition not in found]
        if missing:
            try:
                committed = await self._admin.group_offsets(self._settings.group_id)
            except NO_ANSWER as error:
                unknown |= {partition.partition: str(error) for partition in missing}
            else:
                found |= {partition: committed.get(partition, 0) for partition in missing}
        return found

    async def _ages(
        self,
        reader: LogReader,
        unread: Mapping[TopicPartition, int],
        unknown: dict[int, str],
    ) -> dict[TopicPartition, float]:
        """Return the age in seconds of the first record at or after each offset; 0 without one."""
        ends = await _each(unread, reader.end_offsets, unknown)
        ranges = {p: OffsetRange(unread[p], end) for p, end in ends.items()}
        ages = {p: 0.0 for p, it in ranges.items() if it.start >= it.end}
        options = ReadOptions(
            max_records=1,
            total_seconds=READ_SECONDS,
            is_enough=lambda batch: bool(batch.records),
            purpose="the oldest unread forwards",
        )
        try:
            async with aclosing(read_range(reader, ranges, options)) as batches:
                async for batch in batches:
                    if batch.records:
                        age_ms = wall_clock_ms() - batch.records[0].timestamp
                        ages.setdefault(batch.partition, max(0.0, age_ms / 1000))
                    elif batch.next_offset >= ranges[batch.partition].end:
                        ages.setdefault(batch.partition, 0.0)
        except TimedOut as error:
            unknown |= {p.partition: str(error) for p in ranges if p not in ages}
        return ages

    async def _sizes(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the sizes of the partitions' logs, as far as the brokers report them."""
        if time.monotonic() < self._next_size_query:
            return {}
        try:
            sizes = await self._admin.log_sizes(partitions)
        except NO_ANSWER:  # the size is only displayed
            return {}
        if sizes is None:
            self._next_size_query = time.monotonic() + REFUSED_SECONDS
        return sizes or {}

    async def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            with contextlib.suppress(TaskFailed):
                await reader.close()


async def _each(
    partitions: Collection[TopicPartition],
    query: Callable[[Iterable[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]],
    unknown: dict[int, str],
) -> dict[TopicPartition, int]:
    """Query all partitions; if this fails, each of them alone. Add those that fail to `unknown`.

    Raises:
        ClusterError, TaskFailed, TransientError: no partition could be queried.
    """
    try:
        return dict(await query(partitions))
    except (TaskFailed, TransientError) as error:
        if len(partitions) == 1:
            raise
        failed = error
    answers = await asyncio.gather(*(query([p]) for p in partitions), return_exceptions=True)
    found: dict[TopicPartition, int] = {}
    for partition, answer in zip(partitions, answers, strict=True):
        if isinstance(answer, TaskFailed | TransientError):
            unknown[partition.partition] = str(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found |= answer
    if not found:
        raise failed
    return found
