"""Measures the repartition topic: handled forwards that are still stored, and unread ones.

The service deletes handled forwards by DeleteRecords. Where the cluster refuses this, the topic
grows, or the brokers delete by the topic's retention. Retention also deletes forwards that no shard
has read. So the age of the oldest unread forward is measured against it, long before that happens.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import aclosing
from typing import Final

import msgspec
import structlog

from consumer.config import Settings
from consumer.errors import ClusterError, TaskFailed, TransientError
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.port import ClusterAdmin, Kafka, LogReader
from consumer.kafka.read import OffsetRange, ReadOptions, read_range
from consumer.kafka.topics import Topology
from consumer.kafka.types import TopicPartition
from consumer.shard.status import ShardStatus

READ_SECONDS: Final = 10.0
# The brokers delete a whole segment when its last record is too old, so never before the retention.
WARN_AT_RATIO: Final = 0.5
REPEAT_SECONDS: Final = 3600.0
log = structlog.get_logger(__name__)


class RepartitionState(msgspec.Struct, frozen=True):
    """The partition of one shard in the repartition topic."""

    handled_records: int
    """Offsets of handled forwards that are still stored."""
    unread_seconds: float | None = None
    """The age of the oldest unread forward; 0 if there is none. None: retention is unlimited."""


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
        self._next_report = time.monotonic()

    @property
    def retention_seconds(self) -> float | None:
        """After this time the brokers delete forwards; None: never, or not known yet."""
        topology = self._topology()
        retention_ms = None if topology is None else topology.repartition_retention_ms
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
                except (ClusterError, TaskFailed, TransientError) as error:
                    self.states = {}  # an unknown state is not displayed
                    if is_known:
                        log.info("repartition_state_unknown", error=str(error))
                    is_known = False
                    await self._close()
        finally:
            await self._close()

    async def measure(self) -> None:
        """Measure once, and log forwards that are about to expire.

        Raises:
            ClusterError, TaskFailed, TransientError: a broker did not answer.
        """
        self.states = await self._measure(list(self._statuses()))
        self._report_old_forwards()

    async def _measure(self, statuses: Collection[ShardStatus]) -> dict[int, RepartitionState]:
        topology = self._topology()
        if not statuses or topology is None:
            await self._close()
            return {}
        topic = self._settings.repartition_topic
        leaderless = topology.leaderless.get(topic, ())
        statuses = [status for status in statuses if status.shard not in leaderless]
        partitions = {status.shard: TopicPartition(topic, status.shard) for status in statuses}
        reader = await self._open_reader(topology)
        starts = await reader.beginning_offsets(partitions.values())
        next_offsets = await self._next_offsets(statuses, partitions)
        ages: dict[TopicPartition, float] = {}
        if topology.repartition_retention_ms is not None:
            unread = {p: max(starts[p], next_offsets.get(p, 0)) for p in partitions.values()}
            ages = await self._ages(reader, unread)
        return {
            shard: RepartitionState(
                handled_records=max(0, next_offsets.get(partition, 0) - starts[partition]),
                unread_seconds=ages.get(partition),
            )
            for shard, partition in partitions.items()
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
        self, statuses: Iterable[ShardStatus], partitions: Mapping[int, TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return the first unread offset of each partition.

        A shard that does not run has no position. Its last one is among the group's offsets.
        """
        found = {
            partitions[status.shard]: status.positions[partitions[status.shard]]
            for status in statuses
            if partitions[status.shard] in status.positions
        }
        if len(found) < len(partitions):
            committed = await self._admin.group_offsets(self._settings.group_id)
            found = {p: at for p, at in committed.items() if p in partitions.values()} | found
        return found

    async def _ages(
        self, reader: LogReader, unread: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, float]:
        """Return the age in seconds of the first record at or after each offset; 0 without one."""
        ends = await reader.end_offsets(unread)
        ranges = {p: OffsetRange(at, ends[p]) for p, at in unread.items()}
        options = ReadOptions(
            max_records=1,
            total_seconds=READ_SECONDS,
            is_enough=lambda batch: bool(batch.records),
            purpose="the oldest unread forwards",
        )
        ages = dict.fromkeys(unread, 0.0)
        async with aclosing(read_range(reader, ranges, options)) as batches:
            async for batch in batches:
                if batch.records and not ages[batch.partition]:
                    age_ms = wall_clock_ms() - batch.records[0].timestamp
                    ages[batch.partition] = max(0.0, age_ms / 1000)
        return ages

    def _report_old_forwards(self) -> None:
        """Log, once an hour, that unread forwards have reached half of the retention."""
        retention = self.retention_seconds
        old = {
            shard: round(state.unread_seconds)
            for shard, state in self.states.items()
            if retention is not None
            and state.unread_seconds is not None
            and state.unread_seconds > WARN_AT_RATIO * retention
        }
        if not old or time.monotonic() < self._next_report:
            return
        self._next_report = time.monotonic() + REPEAT_SECONDS
        log.error(
            "forwards_may_expire",
            topic=self._settings.repartition_topic,
            unread_seconds=old,
            retention_seconds=retention,
            hint="these shards have not read forwards for half of the topic's retention; the "
            "brokers delete them after all of it: set retention.ms of the topic to -1 now, then "
            "find out why the shards do not read",
        )

    async def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            with contextlib.suppress(TaskFailed):
                await reader.close()
