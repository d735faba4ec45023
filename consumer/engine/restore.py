"""Reading a shard's changelog up to a mark that was committed after the fence.

``end_offsets`` of a read_committed consumer is the last *stable* offset, which can lie before
committed entries while some other transaction is open; so the end is the mark's own offset.
"""

import asyncio
from typing import Final

import structlog

from consumer.engine.changelog import ShardState
from consumer.engine.context import ShardContext
from consumer.engine.kafka import ShardReader
from consumer.errors import StateCorrupted

FETCH_MS: Final = 200
FETCH_RECORDS: Final = 20_000
LOUD_AFTER_SECONDS: Final = 3.0
# A backlog has little more than one offset for an id; at rest its progress and a marker are added.
OFFSETS_PER_ID: Final = 2
# There may be few ids among many offsets, and room for ten million costs 40 MiB.
MOST_RESERVED_IDS: Final = 10_000_000
log = structlog.get_logger(__name__)


async def restore(
    context: ShardContext, reader: ShardReader, mark_offset: int, memory: ShardState
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
    memory.seen.reserve(min(MOST_RESERVED_IDS, (mark_offset - start) // OFFSETS_PER_ID))
    while position <= mark_offset:
        for records in (await reader.fetch(FETCH_MS, FETCH_RECORDS)).values():
            try:
                memory.load(records)
            except StateCorrupted as error:
                place = f"{changelog.topic}/{changelog.partition}"
                raise StateCorrupted(f"changelog {place}: {error}") from error
        await asyncio.sleep(0)  # heartbeats and the other shards go on
        now = clock()
        if reader.position(changelog) > position:
            position, last_progress = reader.position(changelog), now
            memory.restore_ratio = min(1.0, (position - start) / (mark_offset + 1 - start))
        elif now - last_progress > LOUD_AFTER_SECONDS:
            last_progress = now
            log.warning(
                "restore_waiting",
                shard=changelog.partition,
                position=position,
                mark_offset=mark_offset,
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
