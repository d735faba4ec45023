"""Guards against lost state: a changelog that lost entries or belongs to another deployment.

A shard that ran on such a changelog would publish ids again. The last guard protects the first
start of a shard: the forwards to it must still be there.
"""

from collections.abc import Mapping
from contextlib import aclosing
from typing import Final

import structlog

from consumer.errors import StateCorrupted
from consumer.kafka.port import ClusterAdmin, LogReader
from consumer.kafka.read import OffsetRange, read_range, stable_ranges
from consumer.kafka.types import TopicPartition
from consumer.pipeline.ready_event import SHARD_HEADER
from consumer.shard.changelog import Meta
from consumer.shard.context import ShardContext

# How many offsets at the end of each partition of the ready topic are read. These records should
# contain an event of every shard that has published.
TAIL_RECORDS: Final = 500
READ_SECONDS: Final = 20.0
FETCH_MS: Final = 100
# What to do, by the field of the meta entry that differs.
REMEDIES: Final = {
    "group_id": "the changelog belongs to another group; set GROUP_ID back",
    "shards": "the changelog's partition count must never change; restore the topic",
    "shard": "the changelog was copied between partitions; restore the topic",
    "cluster_id": "the changelog comes from another cluster; use a new GROUP_ID here",
    "output_topic": "another output topic needs another GROUP_ID (or set OUTPUT_TOPIC back)",
}
NEW_GROUP: Final = "read the inputs again under a new GROUP_ID and OUTPUT_TOPIC"
CONTINUE_WITHOUT: Final = (
    f"{NEW_GROUP}, or run once with --accept-lost-forwards to continue without these records "
    "(docs/operations/recovery.md, When forwards are lost)"
)
log = structlog.get_logger(__name__)


def verify_meta(stored: Meta, expected: Meta) -> None:
    """Refuse a changelog of another deployment; changed inputs are accepted and logged.

    Raises:
        StateCorrupted: the changelog comes from another cluster or partition, its topic has another
            number of partitions, or GROUP_ID or OUTPUT_TOPIC has changed.
    """
    for field, remedy in REMEDIES.items():
        before, now = getattr(stored, field), getattr(expected, field)
        if before != now:
            raise StateCorrupted(
                f"changelog of shard {expected.shard}: {field} was {before!r}, is now {now!r}: "
                f"{remedy}"
            )
    if stored.input_topics != expected.input_topics:
        log.warning(
            "inputs_changed",
            shard=expected.shard,
            before=stored.input_topics,
            now=expected.input_topics,
        )


async def refuse_lost_state(context: ShardContext, reader: LogReader, admin: ClusterAdmin) -> None:
    """Refuse to run a shard without state if it ran before.

    Raises:
        StateCorrupted: the group has committed offsets or published events for this shard.
    """
    settings = context.settings
    remedy = (
        f"but the changelog {settings.changelog_topic} is empty for it; running the shard would "
        "publish everything again. Restore the changelog, or use a new GROUP_ID and OUTPUT_TOPIC, "
        "or run once with --accept-empty-state if that is what you want"
    )
    committed = await admin.group_offsets(settings.group_id)
    read_before = [
        f"{source.topic}/{source.partition}"
        for source in context.sources()
        if committed.get(source, 0) > 0
    ]
    if read_before:
        raise StateCorrupted(
            f"shard {context.shard}: group {settings.group_id} has committed offsets of "
            f"{', '.join(read_before)}, {remedy}"
        )
    if await _has_published(context, reader):
        raise StateCorrupted(
            f"shard {context.shard}: topic {settings.output_topic} holds ready events of group "
            f"{settings.group_id}, {remedy}"
        )


async def refuse_deleted_state(context: ShardContext, reader: LogReader) -> None:
    """Refuse a changelog whose first records were deleted.

    Compaction never moves the log start from 0. A broker moves it only under another cleanup policy
    than `compact` alone. So a log start above 0 proves that entries were deleted.

    Raises:
        StateCorrupted: records were deleted.
    """
    changelog = context.changelog
    if log_start := await _log_start(reader, changelog):
        raise StateCorrupted(
            f"shard {context.shard}: changelog {changelog.topic}/{changelog.partition} begins at "
            f"offset {log_start}, though compaction never moves its beginning: records were "
            "deleted (another cleanup.policy for a while?), and their ids would be published "
            "again. Restore the topic, or use a new GROUP_ID and OUTPUT_TOPIC, or run with "
            "--accept-empty-state if that is what you want"
        )


async def refuse_lost_forwards(context: ShardContext, reader: LogReader) -> None:
    """Refuse the first start of a shard if forwards to it were deleted.

    Only the shard itself deletes handled forwards, and it stores its progress before. So without
    stored progress a log start above 0 proves that the brokers deleted unread forwards.

    Raises:
        StateCorrupted: records of the shard's partition of the repartition topic were deleted.
    """
    forwards = context.forwards
    if log_start := await _log_start(reader, forwards):
        raise StateCorrupted(
            f"shard {context.shard}: repartition partition {forwards.topic}/{forwards.partition} "
            f"begins at offset {log_start}, but this shard has never read it: records that were "
            f"forwarded to this shard are lost (by the retention of the topic?); {CONTINUE_WITHOUT}"
        )


async def _log_start(reader: LogReader, partition: TopicPartition) -> int:
    return (await reader.beginning_offsets([partition]))[partition]


async def _has_published(context: ShardContext, reader: LogReader) -> bool:
    """Return whether the end of the ready topic holds an event of this shard."""
    partitions = [
        TopicPartition(context.settings.output_topic, partition)
        for partition in range(context.topology.output_partitions)
    ]
    tails = {
        partition: OffsetRange(max(start, end - TAIL_RECORDS), end)
        for partition, (start, end) in (await stable_ranges(reader, partitions)).items()
    }
    options = context.read_options._replace(
        max_records=TAIL_RECORDS,
        fetch_ms=FETCH_MS,
        total_seconds=READ_SECONDS,
        purpose="the end of the ready topic",
    )
    async with aclosing(read_range(reader, tails, options)) as batches:
        async for batch in batches:
            if any(is_of_shard(context, dict(record.headers)) for record in batch.records):
                return True
    return False


def is_of_shard(context: ShardContext, headers: Mapping[str, bytes | None]) -> bool:
    """Return whether this shard published the event with these headers.

    If the group published the event with another number of shards, the event counts for every
    shard: each of them may now be the home shard of its id.
    """
    writer = (headers.get(SHARD_HEADER) or b"").decode("utf-8", "replace")
    group, _, place = writer.partition("/")
    shard, _, shards = place.partition("/")
    if group != context.settings.group_id:
        return False
    return shard == str(context.shard) or shards != str(context.topology.shards)
