"""The guards against a changelog that has lost its past: running on would publish ids again."""

from collections.abc import Mapping
from typing import Final

import structlog

from consumer.errors import StateCorrupted, TaskFailed
from consumer.kafka.port import ClusterAdmin, LogReader
from consumer.kafka.types import TopicPartition
from consumer.pipeline.ready_event import SHARD_HEADER
from consumer.shard.changelog import Meta
from consumer.shard.context import ShardContext

# Enough of the ready topic's end to meet every shard of a group that has published before.
TAIL_RECORDS: Final = 500
READ_SECONDS: Final = 20.0
FETCH_MS: Final = 100


async def refuse_lost_state(context: ShardContext, reader: LogReader, admin: ClusterAdmin) -> None:
    """Check that a shard without any state has no past.

    Raises:
        StateCorrupted: the group has committed offsets or published events for this shard.
    """
    settings = context.settings
    mend = (
        f"but the changelog {settings.changelog_topic} is empty for it; running on would publish "
        "everything again. Restore the changelog, or use a new GROUP_ID and OUTPUT_TOPIC, or run "
        "once with --accept-empty-state if that is what you want"
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
            f"{', '.join(read_before)}, {mend}"
        )
    if await _has_published(context, reader):
        raise StateCorrupted(
            f"shard {context.shard}: topic {settings.output_topic} holds ready events of group "
            f"{settings.group_id}, {mend}"
        )


async def refuse_deleted_state(context: ShardContext, reader: LogReader) -> None:
    """Check that nothing was ever deleted from the changelog's beginning.

    Compaction leaves the log start at 0, whatever it removes, and a broker deletes records only
    where the policy is not `compact` alone. So a later log start tells of ids that are gone.

    Raises:
        StateCorrupted: records were deleted.
    """
    changelog = context.changelog
    log_start = (await reader.beginning_offsets([changelog]))[changelog]
    if log_start > 0:
        raise StateCorrupted(
            f"shard {context.shard}: changelog {changelog.topic}/{changelog.partition} begins at "
            f"offset {log_start}, though compaction never moves its beginning: records were "
            "deleted (another cleanup.policy for a while?), and their ids would be published "
            "again. Restore the topic, or use a new GROUP_ID and OUTPUT_TOPIC, or run with "
            "--accept-empty-state if that is what you want"
        )


async def _has_published(context: ShardContext, reader: LogReader) -> bool:
    partitions = [
        TopicPartition(context.settings.output_topic, partition)
        for partition in range(context.topology.output_partitions)
    ]
    starts = await reader.beginning_offsets(partitions)
    ends = await reader.end_offsets(partitions)
    tails = {p: max(starts[p], ends[p] - TAIL_RECORDS) for p in partitions if ends[p] > starts[p]}
    if not tails:
        return False
    reader.assign(tails)
    deadline = context.clock() + READ_SECONDS
    while any(reader.position(partition) < ends[partition] for partition in tails):
        context.heartbeat.beat()
        if context.clock() > deadline:
            raise TaskFailed("the end of the ready topic could not be read in time")
        for records in (await reader.fetch(FETCH_MS, TAIL_RECORDS)).values():
            for record in records:
                if is_of_shard(context, dict(record.headers)):
                    return True
    return False


def is_of_shard(context: ShardContext, headers: Mapping[str, bytes | None]) -> bool:
    """Tell whether this shard published an event, or its group with another number of shards."""
    writer = (headers.get(SHARD_HEADER) or b"").decode("utf-8", "replace")
    group, _, place = writer.partition("/")
    shard, _, shards = place.partition("/")
    if group != context.settings.group_id:
        return False
    return shard == str(context.shard) or shards != str(context.topology.shards)


# Does this changelog belong to this deployment? Running on another's would publish twice.

MENDS: Final = {
    "group_id": "the changelog belongs to another group; set GROUP_ID back",
    "shards": "the changelog's partition count must never change; restore the topic",
    "shard": "the changelog was copied between partitions; restore the topic",
    "cluster_id": "the changelog comes from another cluster; use a new GROUP_ID here",
    "output_topic": "another output topic needs another GROUP_ID (or set OUTPUT_TOPIC back)",
}
log = structlog.get_logger(__name__)


def verify_meta(stored: Meta, expected: Meta) -> None:
    """Refuse a changelog that belongs to something else; changed inputs are accepted and logged.

    Raises:
        StateCorrupted: it was mirrored, enlarged, or another deployment shares the group.
    """
    for field, mend in MENDS.items():
        was, now = getattr(stored, field), getattr(expected, field)
        if was != now:
            raise StateCorrupted(
                f"changelog of shard {expected.shard}: {field} was {was!r}, is now {now!r}: {mend}"
            )
    if stored.input_topics != expected.input_topics:
        log.warning(
            "inputs_changed",
            shard=expected.shard,
            before=stored.input_topics,
            now=expected.input_topics,
        )
