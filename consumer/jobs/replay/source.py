"""What a replay reads: the stretch of the inputs, and who of them was published."""

import time
from collections.abc import AsyncGenerator, Mapping
from typing import Final

import msgspec

from consumer.errors import ClusterError
from consumer.jobs.context import Session
from consumer.jobs.ranges import Stretch, resolve
from consumer.jobs.replay.origins import PublishedOrigins, load_origins
from consumer.jobs.replay.request import ReplayRequest, default_target
from consumer.jobs.replay.state import ReplayState
from consumer.kafka.client import TopicPartition
from consumer.kafka.read import ScannedBatch, Span, scan, settled_spans, stable_spans
from consumer.kafka.topics import EVENT_CONFIGS, ensure_topic
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

    stretch: Stretch
    changelog_ends: list[int]
    origins: PublishedOrigins
    replayer: Replayer


async def describe_target(session: Session, request: ReplayRequest) -> Target:
    """Return the target as it is, or as it would be made.

    Raises:
        ClusterError: it does not exist and is not the default one, which alone is made.
    """
    live = (await session.admin.describe([session.settings.output_topic]))[
        session.settings.output_topic
    ]
    found = (await session.admin.describe([request.target])).get(request.target)
    if found is None and request.target != default_target(session.settings):
        raise ClusterError(
            f"topic {request.target} does not exist: create it, or leave --target out to use "
            f"{default_target(session.settings)}, which is made when it is missing"
        )
    if found is not None:
        return Target(found.name, found.partitions, found.max_message_bytes)
    return Target(request.target, live.partitions, live.max_message_bytes + REPLAY_ROOM_BYTES)


async def ensure_target(session: Session, target: Target) -> None:
    """Make the target where it is missing.

    Raises:
        ClusterError: the cluster refuses.
    """
    configs = {**EVENT_CONFIGS, "max.message.bytes": str(target.max_message_bytes)}
    await ensure_topic(session.admin, target.topic, target.partitions, configs)


async def begin(session: Session, request: ReplayRequest, target: Target, now_ms: int) -> Source:
    """Return the source of a new replay. Its ends are those of now.

    Raises:
        ConfigError, ClusterError: the range cannot be replayed; the message says why.
    """
    inputs = await session.admin.describe(session.settings.input_topics)
    stretch = await resolve(
        session.reader,
        inputs,
        request.range(now_ms),
        now_ms=now_ms,
        accept_cut=request.accept_cut,
    )
    # After the inputs' ends, so that it tells about all that was decided before them.
    changelogs = await settled_spans(session.reader, session.changelogs())
    source = await _load(session, request, target, stretch, changelogs)
    if not request.accept_cut:
        _refuse_cut(source)
    if request.id is not None:
        narrowed = _only_its_record(source, id_digest(request.id))
        return msgspec.structs.replace(source, stretch=narrowed)
    return source


async def refuse_recreated(session: Session, state: ReplayState) -> None:
    """Refuse to go on where the inputs are not those any more that the replay has begun with.

    Raises:
        ClusterError: a topic was deleted and created again, or has lost its last records.
        TaskFailed: the broker did not say in time.
    """
    there = await stable_spans(session.reader, state.rest.spans)
    ids = session.topology.topic_ids
    renamed = {
        topic
        for topic, topic_id in state.topic_ids.items()
        if topic in ids and ids[topic] != topic_id
    }
    recreated = {
        p for p, span in state.rest.spans.items() if there[p].end < span.end or p.topic in renamed
    }
    witnesses = {
        p: witness
        for p, witness in state.witnesses.items()
        if there[p].start <= witness.offset < there[p].end
    }
    recreated.update(await find_recreated(session.reader, witnesses, time.monotonic))
    if recreated:
        names = ", ".join(sorted({partition.topic for partition in recreated}))
        is_same = all(state.topic_ids.get(p.topic, "") == ids.get(p.topic) for p in recreated)
        what = "has lost its last records" if is_same else "was deleted and created again"
        raise ClusterError(
            f"{names} {what} since replay {state.name} began; what was left of "
            "it is gone. Give a replay of the new one another --name"
        )


async def resume(
    session: Session, request: ReplayRequest, target: Target, state: ReplayState
) -> Source:
    """Return the source of a replay that goes on, with what it knew when it began.

    Raises:
        ClusterError: retention has meanwhile deleted what was left to read, or compaction what
            the changelogs said when the replay began.
    """
    rest, ends = state.rest, state.changelog_ends
    there = await stable_spans(session.reader, rest.spans)
    cut = [
        f"{p.topic}/{p.partition}: offsets {span.start} to {there[p].start - 1} are deleted"
        for p, span in rest.spans.items()
        if span.start < min(there[p].start, span.end)
    ]
    if cut and not request.accept_cut:
        hint = "--accept-cut goes on with what is still there"
        raise ClusterError("\n".join(["retention has overtaken the replay:", *cut, hint]))
    spans = {
        p: Span(min(max(span.start, there[p].start), span.end), span.end)
        for p, span in rest.spans.items()
    }
    starts = await session.reader.beginning_offsets(session.changelogs())
    changelogs = {p: Span(starts[p], ends[p.partition]) for p in session.changelogs()}
    stretch = Stretch(spans, rest.from_ms, rest.to_ms)
    source = await _load(session, request, target, stretch, changelogs)
    if len(source.origins) < state.known_ids:
        raise ClusterError(
            f"{state.known_ids - len(source.origins)} ids have left their window since replay "
            f"{state.name} began, and the changelog does not tell any more which of their records "
            "were published: what is left cannot be told from what live refused. Begin anew under "
            "another --name"
        )
    return source


async def read(session: Session, stretch: Stretch) -> AsyncGenerator[ScannedBatch, None]:
    """Yield the records that the stretch means."""
    async for batch in scan(session.reader, stretch.spans):
        yield batch._replace(records=stretch.within(batch.records))


def count_origins(source: Source) -> int:
    """Return how many published events have their record in the stretch, or had it there."""
    stretch = source.stretch
    count = 0
    for origin in source.origins:
        span = stretch.spans.get(TopicPartition(origin.topic, origin.partition))
        if span is None or not stretch.holds(origin.timestamp_ms):
            continue
        # What lies before the stretch and is meant is deleted; offsets mean themselves.
        count += origin.offset < span.end and (
            origin.offset >= span.start or not stretch.begins_at_offsets
        )
    return count


def _only_its_record(source: Source, digest: bytes) -> Stretch:
    """Return what must be read for one id: its published record, or all where that is not known."""
    stretch, origin = source.stretch, source.origins.find(digest)
    if origin is None:
        return stretch
    partition = TopicPartition(origin.topic, origin.partition)
    spans = {}
    if partition in stretch.spans:
        start, end = stretch.spans[partition]
        first = min(max(start, origin.offset), end)
        spans[partition] = Span(first, min(end, max(first, origin.offset + 1)))
    return msgspec.structs.replace(stretch, spans=spans)


def _refuse_cut(source: Source) -> None:
    """Refuse a time range of which published events are known whose records are deleted."""
    stretch = source.stretch
    if stretch.from_ms is None:
        return
    cut: dict[TopicPartition, int] = {}
    for origin in source.origins:
        partition = TopicPartition(origin.topic, origin.partition)
        span = stretch.spans.get(partition)
        if span and origin.offset < span.start and stretch.holds(origin.timestamp_ms):
            cut[partition] = cut.get(partition, 0) + 1
    if cut:
        lines = [
            f"{p.topic}/{p.partition}: the records of {count} published events are deleted, "
            f"offset {stretch.spans[p].start} is the first that is left of the range"
            for p, count in sorted(cut.items())
        ]
        hint = "--accept-cut takes what is still there"
        raise ClusterError("\n".join(["the range is cut by retention:", *lines, hint]))


async def _load(
    session: Session,
    request: ReplayRequest,
    target: Target,
    stretch: Stretch,
    changelogs: Mapping[TopicPartition, Span],
) -> Source:
    origins = await load_origins(session.reader, changelogs)
    contexts = [
        ShardContext(shard, session.settings, session.topology, float)
        for shard in range(session.topology.shards)
    ]
    for shard, meta in origins.metas.items():
        verify_meta(meta, contexts[shard].meta())
    shards: list[ShardSettings] = [context.pipeline() for context in contexts]
    selection = Selection.of(request.job, request.id, request.model)
    replayer = Replayer.of(shards, origins, selection, request.name, target.max_message_bytes)
    ends = [changelogs[p].end for p in session.changelogs()]
    return Source(stretch, ends, origins, replayer)
