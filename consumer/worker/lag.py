"""Commits group offsets, from which lag tools compute lag, and measures the lag of idle shards."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from typing import Final

import structlog

from consumer.errors import ClusterError, TaskFailed, TransientError
from consumer.kafka.port import ClusterAdmin, GroupMembership, Kafka, LogReader
from consumer.kafka.types import TopicPartition

COMMIT_SECONDS: Final = 1.0
# Group offsets can expire (offsets.retention.minutes, by default 7 days). So unchanged offsets are
# committed again after this time.
REPEAT_SECONDS: Final = 3600.0
IDLE_LAG_SECONDS: Final = 2.0
log = structlog.get_logger(__name__)


class GroupOffsets:
    """Commits the positions of the shards for lag tools and autoscalers.

    If a commit fails with a transient error, it is repeated a second later. That is enough, because
    no shard resumes at these offsets.
    """

    def __init__(
        self,
        member: GroupMembership,
        positions: Callable[[], Mapping[TopicPartition, int]],
        clock: Callable[[], float],
    ) -> None:
        self._member = member
        self._positions = positions
        self._clock = clock
        self._committed: dict[TopicPartition, int] = {}

    async def keep_committed(self) -> None:
        """Commit changed positions about once a second; never return."""
        last_repeat = self._clock()
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            if self._clock() - last_repeat > REPEAT_SECONDS:
                last_repeat = self._clock()
                self._committed.clear()
            await self.commit()

    async def commit(self) -> None:
        """Commit the positions that have changed; do nothing during a rebalance."""
        positions = dict(self._positions())
        changed = {k: v for k, v in positions.items() if self._committed.get(k) != v}
        if not changed or self._member.wanted is None:
            return
        try:
            await self._member.commit_offsets(changed)
        except TransientError as error:
            log.info("group_offsets_not_committed", error=str(error))
        else:
            self._committed = positions


class IdleShardLag:
    """Measures the lag of shards that are assigned to this process and do not run.

    A running shard knows its lag from its own fetches. A shard that is refused, fails at each start
    or restores for a long time does not fetch its sources, although its lag grows. For such a
    shard, the lag of a source is the end offset minus the group's committed offset, which is the
    position of the shard when it last ran. The figures are only displayed, so a failed measurement
    is only logged.
    """

    def __init__(
        self,
        kafka: Kafka,
        admin: ClusterAdmin,
        group_id: str,
        idle_sources: Callable[[], Collection[TopicPartition]],
    ) -> None:
        """`idle_sources` returns the sources of the assigned shards that do not run now."""
        self._kafka = kafka
        self._admin = admin
        self._group_id = group_id
        self._idle_sources = idle_sources
        self._reader: LogReader | None = None
        self.lags: Mapping[TopicPartition, int] = {}

    async def keep_measuring(self) -> None:
        """Measure every two seconds; never return."""
        is_known = True
        try:
            while True:
                await asyncio.sleep(IDLE_LAG_SECONDS)
                sources = self._idle_sources()
                if not sources:
                    self.lags = {}
                    await self._close()
                    continue
                try:
                    self.lags = await self._measure(sources)
                    is_known = True
                except (ClusterError, TaskFailed, TransientError) as error:
                    self.lags = {}  # an unknown lag is not displayed
                    if is_known:
                        log.info("idle_shard_lag_unknown", error=str(error))
                    is_known = False
                    await self._close()
        finally:
            await self._close()

    async def _measure(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        if self._reader is None:
            self._reader = self._kafka.reader(
                f"{self._group_id}-lag", topics=(), max_message_bytes=0
            )
            await self._reader.start()
        reader = self._reader
        await reader.follow({source.topic for source in sources})
        ends = await reader.end_offsets(sources)
        starts = await reader.beginning_offsets(sources)
        committed = await self._admin.group_offsets(self._group_id)
        return {
            source: ends[source] - _next_offset(starts[source], ends[source], committed.get(source))
            for source in sources
        }

    async def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            with contextlib.suppress(TaskFailed):
                await reader.close()


def _next_offset(start: int, end: int, committed: int | None) -> int:
    """Return the offset at which the shard would resume, estimated from the committed offset."""
    if committed is None or committed > end:  # never read, or the topic was recreated since
        return start
    return max(start, committed)
