"""What a replay reads: the range of the input topics, and which of its records were published."""

import time
from collections.abc import AsyncGenerator, Mapping
from typing import Final, Self

import msgspec

from consumer.errors import ClusterError
from consumer.jobs.context import JobContext
from consumer.jobs.ranges import ALLOW_TRUNCATED_HINT, TRUNCATED, ResolvedRange, resolve_range
from consumer.jobs.replay.origins import PublishedOrigins, load_origins
from consumer.jobs.replay.request import ReplayRequest
from consumer.jobs.replay.state import ReplayState
from consumer.jobs.replay.target import Target
from consumer.kafka.read import OffsetRange, ReadBatch, read_range, settled_ranges, stable_ranges
from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import ShardSettings
from consumer.pipeline.replay_decider import Replayer, Selection
from consumer.pipeline.seen_ids import id_digest
from consumer.shard.context import ShardContext
from consumer.shard.start_positions import find_recreated
from consumer.shard.state_guards import verify_meta

RECREATED: Final = "was deleted and created again"
LOST_RECORDS: Final = "has lost its last records"


class ReplaySource(msgspec.Struct, frozen=True):
    """The offsets to read, the origins of the published events, and the decider of the replay."""

    resolved: ResolvedRange
    changelog_ends: list[int]
    origins: PublishedOrigins
    replayer: Replayer

    @classmethod
    async def begin(
        cls, context: JobContext, request: ReplayRequest, target: Target, now_ms: int
    ) -> Self:
        """Return the source of a new replay, up to at most the current last stable offsets.

        Raises:
            ConfigError, ClusterError: the range cannot be replayed; the message gives the reason.
        """
        inputs = await context.admin.describe(context.settings.input_topics)
        resolved = await resolve_range(
            context.reader,
            inputs,
            request.range(now_ms),
            now_ms=now_ms,
            allow_truncated=request.allow_truncated,
        )
        # Fetch the ends of the changelogs after the ends of the inputs. Then the changelogs contain
        # every decision that the shards had committed when the ends of the inputs were fetched.
        changelogs = await settled_ranges(context.reader, context.changelogs())
        source = await cls._load(context, request, target, resolved, changelogs)
        if not request.allow_truncated:
            source.refuse_truncated()
        if request.id is not None:
            narrowed = source.range_of_id(id_digest(request.id))
            return msgspec.structs.replace(source, resolved=narrowed)
        return source

    @classmethod
    async def resume(
        cls, context: JobContext, request: ReplayRequest, target: Target, state: ReplayState
    ) -> Self:
        """Return the source of a resumed replay: the rest of its range and its known origins.

        Raises:
            ClusterError: retention has deleted records of the rest (without `allow_truncated`), or
                compaction has deleted changelog entries that existed when the replay began.
        """
        rest, ends = state.remaining, state.changelog_ends
        existing = await stable_ranges(context.reader, rest.ranges)
        deleted = [
            f"{p.topic}/{p.partition}: offsets {wanted.start} to {existing[p].start - 1} are "
            "deleted"
            for p, wanted in rest.ranges.items()
            if wanted.start < min(existing[p].start, wanted.end)
        ]
        if deleted and not request.allow_truncated:
            reason = "retention has deleted records that the replay has not read yet:"
            raise ClusterError("\n".join([reason, *deleted, ALLOW_TRUNCATED_HINT]))
        ranges = {
            p: OffsetRange(min(max(wanted.start, existing[p].start), wanted.end), wanted.end)
            for p, wanted in rest.ranges.items()
        }
        starts = await context.reader.beginning_offsets(context.changelogs())
        changelogs = {p: OffsetRange(starts[p], ends[p.partition]) for p in context.changelogs()}
        resolved = ResolvedRange(ranges, rest.from_ms, rest.to_ms)
        source = await cls._load(context, request, target, resolved, changelogs)
        if len(source.origins) < state.known_ids:
            raise ClusterError(
                f"{state.known_ids - len(source.origins)} ids have left the dedup window since "
                f"replay {state.name} began. The changelog no longer has their origins, so the "
                "replay cannot distinguish their published records from the other ones. "
                "Start a new replay with another --name"
            )
        return source

    @classmethod
    async def _load(
        cls,
        context: JobContext,
        request: ReplayRequest,
        target: Target,
        resolved: ResolvedRange,
        changelogs: Mapping[TopicPartition, OffsetRange],
    ) -> Self:
        origins = await load_origins(context.reader, changelogs)
        contexts = [
            ShardContext(shard, context.settings, context.topology, float)
            for shard in range(context.topology.shards)
        ]
        for shard, meta in origins.metas.items():
            verify_meta(meta, contexts[shard].meta())
        shards: list[ShardSettings] = [shard.pipeline() for shard in contexts]
        selection = Selection.of(request.job, request.id, request.model)
        replayer = Replayer.of(shards, origins, selection, request.name, target.max_message_bytes)
        ends = [changelogs[p].end for p in context.changelogs()]
        return cls(resolved, ends, origins, replayer)

    async def read(self, context: JobContext) -> AsyncGenerator[ReadBatch, None]:
        """Yield the records of the range."""
        async for batch in read_range(context.reader, self.resolved.ranges):
            yield batch._replace(records=self.resolved.within(batch.records))

    def count_origins(self) -> int:
        """Return how many published events have, or had, their source record in the range."""
        count = 0
        for origin in self.origins:
            wanted = self.resolved.ranges.get(TopicPartition(origin.topic, origin.partition))
            if wanted is None or not self.resolved.contains_time(origin.timestamp_ms):
                continue
            # Deleted records before the first offset belong to the range if a time or the log start
            # determined this offset, but not if the user gave it.
            count += origin.offset < wanted.end and (
                origin.offset >= wanted.start or not self.resolved.starts_at_offsets
            )
        return count

    def range_of_id(self, digest: bytes) -> ResolvedRange:
        """Return the range with only the published record of an id.

        If no changelog has an entry of this id, return the whole range.
        """
        origin = self.origins.find(digest)
        if origin is None:
            return self.resolved
        partition = TopicPartition(origin.topic, origin.partition)
        ranges = {}
        if partition in self.resolved.ranges:
            start, end = self.resolved.ranges[partition]
            first = min(max(start, origin.offset), end)
            ranges[partition] = OffsetRange(first, min(end, max(first, origin.offset + 1)))
        return msgspec.structs.replace(self.resolved, ranges=ranges)

    def refuse_truncated(self) -> None:
        """Refuse a time range if retention already deleted source records of published events.

        Raises:
            ClusterError: records are deleted; the message has their number and the first offset
                that still exists.
        """
        resolved = self.resolved
        if resolved.from_ms is None:
            return
        deleted: dict[TopicPartition, int] = {}
        for origin in self.origins:
            partition = TopicPartition(origin.topic, origin.partition)
            wanted = resolved.ranges.get(partition)
            if (
                wanted
                and origin.offset < wanted.start
                and resolved.contains_time(origin.timestamp_ms)
            ):
                deleted[partition] = deleted.get(partition, 0) + 1
        if deleted:
            lines = [
                f"{p.topic}/{p.partition}: the source records of {count} published events are "
                f"deleted; the first existing offset of the range is {resolved.ranges[p].start}"
                for p, count in sorted(deleted.items())
            ]
            raise ClusterError("\n".join([TRUNCATED, *lines, ALLOW_TRUNCATED_HINT]))


async def require_same_topics(context: JobContext, state: ReplayState) -> None:
    """Refuse to resume if an input topic was recreated or truncated since the replay began.

    Raises:
        ClusterError: a topic was deleted and created again, or has lost its last records.
        TaskFailed: the broker did not answer in time.
    """
    existing = await stable_ranges(context.reader, state.remaining.ranges)
    ids = context.topology.topic_ids
    changed_topics = {
        topic
        for topic, topic_id in state.topic_ids.items()
        if topic in ids and ids[topic] != topic_id
    }
    recreated = {
        p
        for p, wanted in state.remaining.ranges.items()
        if existing[p].end < wanted.end or p.topic in changed_topics
    }
    fingerprints = {
        p: fingerprint
        for p, fingerprint in state.fingerprints.items()
        if existing[p].start <= fingerprint.offset < existing[p].end
    }
    recreated.update(await find_recreated(context.reader, fingerprints, time.monotonic))
    if recreated:
        names = ", ".join(sorted({partition.topic for partition in recreated}))
        is_same = all(state.topic_ids.get(p.topic, "") == ids.get(p.topic) for p in recreated)
        what = LOST_RECORDS if is_same else RECREATED
        raise ClusterError(
            f"{names} {what} since replay {state.name} began; the records that the replay has not "
            "read are lost. Use another --name to replay the topic as it is now"
        )
