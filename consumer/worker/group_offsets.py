"""The group's committed offsets: for lag tools and autoscalers, and never read back by us."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from consumer.errors import TransientError
from consumer.kafka.port import GroupMembership
from consumer.kafka.types import TopicPartition

INTERVAL_SECONDS: Final = 1.0
# Group offsets expire (offsets.retention.minutes, 7 days): repeat also what did not change.
REPEAT_SECONDS: Final = 3600.0
log = structlog.get_logger(__name__)


class GroupOffsets:
    """Commits where the shards stand, when it has changed; best effort."""

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
        """Commit about once a second; never returns."""
        last_repeat = self._clock()
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            if self._clock() - last_repeat > REPEAT_SECONDS:
                last_repeat = self._clock()
                self._committed.clear()
            await self.commit()

    async def commit(self) -> None:
        """Commit what has changed, where the group says that shards run here."""
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
