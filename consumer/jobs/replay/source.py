"""What a replay reads: the resolved of the inputs, and who of them was published."""

import time
from collections.abc import AsyncGenerator, Mapping
from typing import Final

import msgspec

from consumer.errors import ClusterError
from consumer.jobs.context import JobContext
from consumer.jobs.ranges import ResolvedRange, resolve
from consumer.jobs.replay.origins import PublishedOrigins, load_origins
from consumer.jobs.replay.request import ReplayRequest, default_target
from consumer.jobs.replay.state import ReplayState
from consumer.kafka.read import OffsetRange, ReadBatch, read_range, settled_ranges, stable_ranges
from consumer.kafka.topics import EVENT_CONFIGS, ensure_topic
from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import ShardSettings
from consumer.pipeline.replay_decider import Replayer, Selection
from consumer.pipeline.seen_ids import id_digest
from consumer.shard.context import ShardContext
from consumer.shard.start_positions import find_recreated
from consumer.shard.state_guards import verify_meta

# The attribute `replayid` with the longest name, and the header of binary mode.
REPLAY_ROOM_BYTES: Final = 1024


class Target(msgspec.Struct, frozen=True):
    """Where the events go."""

    topic: str
    partitions: int
    max_message_bytes: int


class Source(msgspec.Struct, frozen=True):
    """A replay's reading, ready to begin."""

    resolved: ResolvedRange
    changelog_ends: list[int]
    origins: PublishedOrigins
    replayer: Replayer


async def describe_target(context: JobContext, request: ReplayRequest) -> Target:
    """Return the target as it is, or as it would be made.

    Raises:
        ClusterError: it does not exist and is not the default one, which alone is made.
    """
    live = (await context.admin.describe([context.settings.output_topic]))[
        context.settings.output_topic
    ]
    found = (await context.admin.describe([request.target])).get(request.target)
    if found is None and request.target != default_target(context.settings):
        raise ClusterError(
            f"topic {request.target} does not exist: create it, or leave --target out to use "
            f"{default_target(context.settings)}, which is made when it is missing"
        )
    if found is not None:
        return Target(found.name, found.partitions, found.max_message_bytes)
    return Target(request.target, live.partitions, live.max_message_bytes + REPLAY_ROOM_BYTES)


async def ensure_target(context: JobContext, target: Target) -> None:
    """Make the target where it is missing.

    Raises:
        ClusterError: the cluster refuses.
    """
    configs = {**EVENT_CONFIGS, "max.message.bytes": str(target.max_message_bytes)}
    await ensure_topic(context.admin, target.topic, target.partitions, configs)


async def begin(context: JobContext, request: ReplayRequest, target: Target, now_ms: int) -> Source:
    """Return the source of a new replay. Its ends are those of now.

    Raises:
        ConfigError, ClusterError: the range cannot be replayed; the message says why.
    """
    inputs = await context.admin.describe(context.settings.input_topics)
    resolved = await resolve(
        context.reader,
        inputs,
        request.range(now_ms),
        now_ms=now_ms,
        allow_truncated=request.allow_truncated,
    )
    # After the inputs' ends, so that it tells about all that was decided before them.
    changelogs = await settled_ranges(context.reader, context.changelogs())
    source = await _load(context, request, target, resolved, changelogs)
    if not request.allow_truncated:
        _refuse_cut(source)
    if request.id is not None:
        narrowed = _only_its_record(source, id_digest(request.id))
        return msgspec.structs.replace(source, resolved=narrowed)
    return source


async def refuse_recreated(context: JobContext, state: ReplayState) -> None:
    """Refuse to go on where the inputs are not those any more that the replay has begun with.

    Raises:
        ClusterError: a topic was deleted and created again, or has lost its last records.
        TaskFailed: the broker did not say in time.
    """
    there = await stable_ranges(context.reader, state.rest.ranges)
    ids = context.topology.topic_ids
    renamed = {
        topic
        for topic, topic_id in state.topic_ids.items()
        if topic in ids and ids[topic] != topic_id
    }
    recreated = {
        p
        for p, wanted in state.rest.ranges.items()
        if there[p].end < wanted.end or p.topic in renamed
    }
    fingerprints = {
        p: fingerprint
        for p, fingerprint in state.fingerprints.items()
        if there[p].start <= fingerprint.offset < there[p].end
    }
    recreated.update(await find_recreated(context.reader, fingerprints, time.monotonic))
    if recreated:
        names = ", ".join(sorted({partition.topic for partition in recreated}))
        is_same = all(state.topic_ids.get(p.topic, "") == ids.get(p.topic) for p in recreated)
        what = "has lost its last records" if is_same else "was deleted and created again"
        raise ClusterError(
            f"{names} {what} since replay {state.name} began; what was left of "
            "it is gone. Give a replay of the new one another --name"
        )


async def resume(
    context: JobContext, request: ReplayRequest, target: Target, state: ReplayState
) -> Source:
    """Return the source of a replay that goes on, with what it knew when it began.

    Raises:
        ClusterError: retention has meanwhile deleted what was left to read, or compaction what
            the changelogs said when the replay began.
    """
    rest, ends = state.rest, state.changelog_ends
    there = await stable_ranges(context.reader, rest.ranges)
    cut = [
        f"{p.topic}/{p.partition}: offsets {wanted.start} to {there[p].start - 1} are deleted"
        for p, wanted in rest.ranges.items()
        if wanted.start < min(there[p].start, wanted.end)
    ]
    if cut and not request.allow_truncated:
        hint = "--allow-truncated goes on with what is still there"
        raise ClusterError("\n".join(["retention has overtaken the replay:", *cut, hint]))
    ranges = {
        p: OffsetRange(min(max(wanted.start, there[p].start), wanted.end), wanted.end)
        for p, wanted in rest.ranges.items()
    }
    starts = await context.reader.beginning_offsets(context.changelogs())
    changelogs = {p: OffsetRange(starts[p], ends[p.partition]) for p in context.changelogs()}
    resolved = ResolvedRange(ranges, rest.from_ms, rest.to_ms)
    source = await _load(context, request, target, resolved, changelogs)
    if len(source.origins) < state.known_ids:
        raise ClusterError(
            f"{state.known_ids - len(source.origins)} ids have left their window since replay "
            f"{state.name} began, and the changelog does not tell any more which of their records "
            "were published: what is left cannot be told from what live refused. Begin anew under "
            "another --name"
        )
    return source


async def read(context: JobContext, resolved: ResolvedRange) -> AsyncGenerator[ReadBatch, None]:
    """Yield the records that the resolved means."""
    async for batch in read_range(context.reader, resolved.ranges):
        yield batch._replace(records=resolved.within(batch.records))


def count_origins(source: Source) -> int:
    """Return how many published events have their record in the resolved, or had it there."""
    resolved = source.resolved
    count = 0
    for origin in source.origins:
        wanted = resolved.ranges.get(TopicPartition(origin.topic, origin.partition))
        if wanted is None or not resolved.holds(origin.timestamp_ms):
            continue
        # What lies before the resolved and is meant is deleted; offsets mean themselves.
        count += origin.offset < wanted.end and (
            origin.offset >= wanted.start or not resolved.begins_at_offsets
        )
    return count


def _only_its_record(source: Source, digest: bytes) -> ResolvedRange:
    """Return what must be read for one id: its published record, or all where that is not known."""
    resolved, origin = source.resolved, source.origins.find(digest)
    if origin is None:
        return resolved
    partition = TopicPartition(origin.topic, origin.partition)
    ranges = {}
    if partition in resolved.ranges:
        start, end = resolved.ranges[partition]
        first = min(max(start, origin.offset), end)
        ranges[partition] = OffsetRange(first, min(end, max(first, origin.offset + 1)))
    return msgspec.structs.replace(resolved, ranges=ranges)


def _refuse_cut(source: Source) -> None:
    """Refuse a time range of which published events are known whose records are deleted."""
    resolved = source.resolved
    if resolved.from_ms is None:
        return
    cut: dict[TopicPartition, int] = {}
    for origin in source.origins:
        partition = TopicPartition(origin.topic, origin.partition)
        wanted = resolved.ranges.get(partition)
        if wanted and origin.offset < wanted.start and resolved.holds(origin.timestamp_ms):
            cut[partition] = cut.get(partition, 0) + 1
    if cut:
        lines = [
            f"{p.topic}/{p.partition}: the records of {count} published events are deleted, "
            f"offset {resolved.ranges[p].start} is the first that is left of the range"
            for p, count in sorted(cut.items())
        ]
        hint = "--allow-truncated takes what is still there"
        raise ClusterError("\n".join(["the range is cut by retention:", *lines, hint]))


async def _load(
    context: JobContext,
    request: ReplayRequest,
    target: Target,
    resolved: ResolvedRange,
    changelogs: Mapping[TopicPartition, OffsetRange],
) -> Source:
    origins = await load_origins(context.reader, changelogs)
    contexts = [
        ShardContext(shard, context.settings, context.topology, float)
        for shard in range(context.topology.shards)
    ]
    for shard, meta in origins.metas.items():
        verify_meta(meta, contexts[shard].meta())
    shards: list[ShardSettings] = [context.pipeline() for context in contexts]
    selection = Selection.of(request.job, request.id, request.model)
    replayer = Replayer.of(shards, origins, selection, request.name, target.max_message_bytes)
    ends = [changelogs[p].end for p in context.changelogs()]
    return Source(resolved, ends, origins, replayer)
