"""Reading a shard's changelog up to a mark that was committed after the fence.

``end_offsets`` of a read_committed consumer is the last *stable* offset, which can lie before
committed entries while some other transaction is open; so the end is the mark's own offset.
"""

import asyncio
from typing import Final

import structlog

from consumer.errors import StateCorrupted
from consumer.kafka.port import LogReader
from consumer.shard.changelog import ShardState
from consumer.shard.context import ShardContext

FETCH_MS: Final = 200
FETCH_RECORDS: Final = 20_000
LOUD_AFTER_SECONDS: Final = 3.0
MOST_GROWTH: Final = 8
MOST_MOVED_IDS: Final = 200_000
"""Moving this number takes 0.1 s. A larger table grows by itself, a tenth slower."""
log = structlog.get_logger(__name__)


class Room:
    """How much room for ids a restore prepares: a table that grows bit by bit costs time.

    The span of offsets alone says nothing: 1,000 ids may be among 20 million offsets of progress.
    So the rest of the log is expected to hold as many ids for each offset as what was read so far,
    and never more than some times as many as were read: compaction leaves few old records.
    """

    def __init__(self, start: int, barrier_offset: int) -> None:
        """Prepare for a log between these two offsets."""
        self._start = start
        self._offsets = barrier_offset - start
        self._reserved = 0

    def ids(self, position: int, ids: int) -> int:
        """Return for how many ids there should be room, when `ids` were read before `position`.

        0: there is enough, or the table is so large that moving its entries would block the loop.
        """
        passed = position - self._start
        if passed <= 0 or ids > MOST_MOVED_IDS or 2 * ids < self._reserved:
            return 0
        self._reserved = min(MOST_GROWTH * ids, ids * self._offsets // passed)
        return self._reserved


async def restore(
    context: ShardContext, reader: LogReader, barrier_offset: int, memory: ShardState
) -> None:
    """Load every committed changelog record up to and with the mark.

    Waits as long as it must: a foreign transaction open on the changelog holds the committed
    records back, and skipping them would publish their ids again. A wait is logged.

    Raises:
        StateCorrupted: a record cannot be understood.
        TaskFailed: the records cannot be read.
    """
    clock, changelog = context.clock, context.changelog
    start = (await reader.beginning_offsets([changelog]))[changelog]
    reader.assign({changelog: start})
    began = last_progress = clock()
    position = start
    room = Room(start, barrier_offset)
    while position <= barrier_offset:
        memory.seen.reserve(room.ids(position, len(memory.seen)))
        for records in (await reader.fetch(FETCH_MS, FETCH_RECORDS)).values():
            try:
                memory.load(records)
            except StateCorrupted as error:
                place = f"{changelog.topic}/{changelog.partition}"
                raise StateCorrupted(f"changelog {place}: {error}") from error
        await asyncio.sleep(0)  # heartbeats and the other shards go on
        context.heartbeat.beat()
        now = clock()
        if reader.position(changelog) > position:
            position, last_progress = reader.position(changelog), now
            memory.restore_ratio = min(1.0, (position - start) / (barrier_offset + 1 - start))
        elif now - last_progress > LOUD_AFTER_SECONDS:
            last_progress = now
            log.warning(
                "restore_waiting",
                shard=changelog.partition,
                position=position,
                barrier_offset=barrier_offset,
                held_back=reader.backlog(changelog),
                hint="another transaction is open on the changelog, or its leader is gone",
            )
    log.info(
        "restored",
        shard=changelog.partition,
        ids=len(memory.seen),
        records=memory.records_loaded,
        seconds=round(clock() - began, 3),
    )
