"""The lag of shards that are wanted here and do not run: nobody reads their sources.

A shard that runs knows its lag from its own fetches. One that must not run, fails at each try or
restores for long would show none, just when it grows. So for those the brokers are asked now and
then: the end of each source, less what the group has committed of it, which is where the shard
stood when it last ran (a display here as well; nothing is decided by it).
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from typing import Final

import structlog

from consumer.errors import ClusterError, TaskFailed, TransientError
from consumer.kafka.port import ClusterAdmin, Kafka, LogReader
from consumer.kafka.types import TopicPartition

INTERVAL_SECONDS: Final = 2.0
log = structlog.get_logger(__name__)


class IdleShardLag:
    """Asks while there is something to ask for; best effort."""

    def __init__(
        self,
        kafka: Kafka,
        admin: ClusterAdmin,
        group_id: str,
        unread: Callable[[], Collection[TopicPartition]],
    ) -> None:
        """`unread` returns the sources that nobody reads now."""
        self._kafka = kafka
        self._admin = admin
        self._group_id = group_id
        self._unread = unread
        self._reader: LogReader | None = None
        self.lags: Mapping[TopicPartition, int] = {}

    async def keep_asking(self) -> None:
        """Ask now and then; never returns."""
        is_known = True
        try:
            while True:
                await asyncio.sleep(INTERVAL_SECONDS)
                sources = self._unread()
                if not sources:
                    self.lags = {}
                    await self._close()
                    continue
                try:
                    self.lags = await self._ask(sources)
                    is_known = True
                except (ClusterError, TaskFailed, TransientError) as error:
                    self.lags = {}  # what is not known is not shown
                    if is_known:
                        log.info("idle_shard_lag_unknown", error=str(error))
                    is_known = False
                    await self._close()
        finally:
            await self._close()

    async def _ask(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
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
    """Return where a shard would read on, as far as the group's offsets tell."""
    if committed is None or committed > end:  # never read, or made anew since then
        return start
    return max(start, committed)
