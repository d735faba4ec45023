"""Restores a shard's memory: reads its changelog up to the restore barrier.

The barrier is a record that the shard commits after the fence. The restore ends at the offset of
this record, and not at ``end_offsets``. For a read_committed consumer, ``end_offsets`` is the last
*stable* offset, and committed entries can follow it while another transaction is open.
"""

import math
from typing import Final

import structlog

from consumer.errors import StateCorrupted
from consumer.kafka.port import LogReader
from consumer.kafka.read import OffsetRange, read_range
from consumer.shard.changelog import ShardState
from consumer.shard.context import ShardContext

FETCH_MS: Final = 200
FETCH_RECORDS: Final = 20_000
LOG_WAIT_SECONDS: Final = 3.0
MAX_GROWTH: Final = 8
MAX_MOVED_IDS: Final = 200_000
"""The resize of a table with this number of ids blocks the event loop for 0.1 s.

A table with more ids gets no reserve: it grows step by step, and the restore is 10% slower."""
log = structlog.get_logger(__name__)


class TableReserve:
    """Estimates how many ids the table will hold, to reserve its memory in few steps.

    The number of offsets alone is no estimate: a changelog of 20 million offsets can contain 1,000
    ids, if most of its entries are progress. So this class assumes that the rest of the log has as
    many ids per offset as the part that was read. The estimate is at most ``MAX_GROWTH`` times the
    ids that were read. Compaction leaves few old records, so the first part of a changelog may have
    many more or far fewer ids per offset than the rest.
    """

    def __init__(self, start: int, barrier_offset: int) -> None:
        """Estimate for the changelog from `start` to the barrier."""
        self._start = start
        self._offsets = barrier_offset - start
        self._reserved = 0

    def ids(self, position: int, ids: int) -> int:
        """Return for how many ids to reserve memory; `ids` ids were read before `position`.

        Return 0 if nothing was read yet, if the ids fill less than half of the reserved memory, or
        if the table is so large that a resize would block the event loop.
        """
        passed = position - self._start
        if passed <= 0 or ids > MAX_MOVED_IDS or 2 * ids < self._reserved:
            return 0
        self._reserved = min(MAX_GROWTH * ids, ids * self._offsets // passed)
        return self._reserved


async def restore(
    context: ShardContext, reader: LogReader, barrier_offset: int, memory: ShardState
) -> None:
    """Load every committed changelog record up to and including the barrier.

    An open transaction of another producer on the changelog can hold committed records back. Then
    wait for them without a time limit, and log this every 3 seconds. If the restore skipped these
    records, the shard would publish their ids again.

    Raises:
        StateCorrupted: a record cannot be parsed.
        TaskFailed: the records cannot be read.
    """
    clock, changelog = context.clock, context.changelog
    start = (await reader.beginning_offsets([changelog]))[changelog]
    end = barrier_offset + 1
    began = clock()
    reserve = TableReserve(start, barrier_offset)

    def log_wait() -> None:
        log.warning(
            "restore_waiting",
            shard=changelog.partition,
            position=reader.position(changelog),
            barrier_offset=barrier_offset,
            held_back=reader.backlog(changelog),
            hint="another transaction is open on the changelog, or its leader is gone",
        )

    options = context.read_options._replace(
        max_records=FETCH_RECORDS,
        fetch_ms=FETCH_MS,
        stall_seconds=math.inf,
        on_wait=log_wait,
        wait_seconds=LOG_WAIT_SECONDS,
    )
    position = start
    async for batch in read_range(reader, {changelog: OffsetRange(start, end)}, options):
        memory.seen.reserve(reserve.ids(position, len(memory.seen)))
        try:
            memory.load(batch.records)
        except StateCorrupted as error:
            place = f"{changelog.topic}/{changelog.partition}"
            raise StateCorrupted(f"changelog {place}: {error}") from error
        position = batch.next_offset
        memory.restore_ratio = (position - start) / (end - start)
    log.info(
        "restored",
        shard=changelog.partition,
        ids=len(memory.seen),
        records=memory.records_loaded,
        seconds=round(clock() - began, 3),
    )
