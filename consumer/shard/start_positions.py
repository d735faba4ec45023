"""The offset at which a shard resumes each source, checked against the stored progress."""

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import structlog
from msgspec.structs import replace

from consumer.errors import StateCorrupted
from consumer.kafka.port import ClusterAdmin, LogReader
from consumer.kafka.read import OffsetRange, ReadOptions, read_range
from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import SourceRecord
from consumer.shard.changelog import ShardState
from consumer.shard.context import ShardContext, SideReaders
from consumer.shard.first_start import FirstStart, find_first_start
from consumer.shard.progress import (
    Continuity,
    Fingerprint,
    Found,
    Progress,
    Verdict,
    is_another_topic,
    judge,
    lost_its_end,
)
from consumer.shard.state_guards import CONTINUE_WITHOUT, NEW_GROUP

FINGERPRINT_SECONDS: Final = 20.0
FETCH_MS: Final = 100
HINTS: Final = {
    Continuity.RECREATED: "it is read from its start",
    Continuity.EXPIRED: "lengthen the retention of the input",
    Continuity.TRUNCATED: (
        "the brokers lost records that were handled already; the shard resumes at resume_at, and "
        "published ids stay known"
    ),
}
LOST_FORWARDS_HINT: Final = (
    "other shards forwarded these records, and the brokers deleted them before this shard read "
    "them; an operator has accepted this; see docs/operations/recovery.md, When forwards are lost"
)
FORWARDS_HINT: Final = (
    "the brokers lost the end of the repartition topic: handled records stay published, but "
    "forwarded records that were not handled yet may be lost; see docs/operations/recovery.md, "
    "When an input was truncated"
)
log = structlog.get_logger(__name__)


class Start(NamedTuple):
    """The offsets to resume at, and the changed progress, which is committed before any decision.

    ``first_start`` is set if the offsets of a first start were needed. ``deferred`` holds the
    sources that the shard does not read now, and why.
    """

    positions: dict[TopicPartition, int]
    changed: dict[TopicPartition, Progress]
    first_start: FirstStart | None = None
    deferred: Mapping[TopicPartition, str] = MappingProxyType({})


class Findings(NamedTuple):
    """The present state of sources: of those with stored progress, and the start of the others."""

    found: Mapping[TopicPartition, Found]
    new: Start


async def examine(  # noqa: PLR0913 - the parts of a shard that know its sources
    context: ShardContext,
    readers: SideReaders,
    reader: LogReader,
    memory: ShardState,
    *,
    known: Mapping[TopicPartition, Progress],
    sources: Collection[TopicPartition],
) -> Findings:
    """Return the present state of these sources, of which `known` has the stored progress.

    `reader` sees committed records only. This function assigns other offsets to it.

    Raises:
        TaskFailed, TransientError: a broker did not answer in time, or a partition has no leader.
        ClusterError: the ACLs do not permit a request.
    """
    known = {source: known[source] for source in sources if source in known}
    found = await inspect(context, reader, readers.admin, known)
    if any(lost_its_end(progress, found[source]) for source, progress in known.items()):
        # An open transaction hides the end of the log from a reader of committed records, so the
        # log may still have its end. Check again with a reader of all records. It is opened only
        # here, because opening it would delay every start.
        async with readers.open(context, committed_only=False) as side_reader:
            found = await inspect(context, side_reader, readers.admin, known)
    new = [source for source in sources if source not in known]
    return Findings(found, await _locate_new(context, readers, reader, memory, new))


def resume(
    context: ShardContext,
    known: Mapping[TopicPartition, Progress],
    findings: Findings,
    sources: Collection[TopicPartition],
) -> Start:
    """Return the offset at which the shard resumes each of these sources, and log what it lost.

    Raises:
        StateCorrupted: the shard's partition of the repartition topic was recreated, or records of
            it were deleted before they were handled and no operator accepts this.
    """
    new = findings.new
    start = Start(
        {source: offset for source, offset in new.positions.items() if source in sources},
        {source: progress for source, progress in new.changed.items() if source in sources},
        new.first_start,
    )
    for source, found in findings.found.items():
        if source not in sources:
            continue
        progress = known[source]
        verdict = judge(progress, found)
        identity = context.identity(source)
        if verdict.continuity is Continuity.INTACT:
            moved = replace(progress.identified(identity), next_offset=verdict.resume_at)
        else:
            _report_break(context, source, progress.next_offset, verdict, found)
            moved = Progress(verdict.resume_at, progress.stream_time_ms, None, *identity)
        start.positions[source] = verdict.resume_at
        if moved != progress:
            start.changed[source] = moved
    return start


async def inspect(
    context: ShardContext,
    reader: LogReader,
    admin: ClusterAdmin,
    known: Mapping[TopicPartition, Progress],
) -> dict[TopicPartition, Found]:
    """Return the present state of each source.

    The older fingerprint is read only if the source lost its end. The end of the stored leader
    epoch is queried only then, or if the source has another leader epoch now.
    If `reader` sees only committed records, an open transaction can look like a lost end. So with
    such a reader, only the verdict "intact" is reliable.

    Raises:
        TaskFailed, TransientError: a broker did not answer in time, or a partition has no leader.
        ClusterError: the ACLs do not permit a request.
    """
    if not known:
        return {}
    starts = await reader.beginning_offsets(known)
    ends = await reader.end_offsets(known)
    found = {s: Found(starts[s], ends[s], context.identity(s).topic_id) for s in known}
    same = {s: p for s, p in known.items() if not is_another_topic(p, found[s].topic_id)}
    last = {s: p.fingerprint for s, p in same.items() if p.fingerprint is not None}
    there = await _records_at(reader, _within(last, found), context.read_options)
    for source, record in there.items():
        found[source] = found[source]._replace(at_fingerprint=record)
    broken = {s: p for s, p in same.items() if lost_its_end(p, found[s])}
    older = {s: p.older for s, p in broken.items() if p.older is not None}
    there = await _records_at(reader, _within(older, found), context.read_options)
    for source, record in there.items():
        found[source] = found[source]._replace(at_older=record)
    # A new leader may have the last handled record, but lack the markers after it. So also query
    # the epoch ends of sources whose leader epoch has changed.
    asked = broken | {s: p for s, p in same.items() if p.leader_epoch != _epoch(context, s)}
    epochs = {s: p.leader_epoch for s, p in asked.items() if p.leader_epoch is not None}
    if epochs:
        for source, end in (await admin.epoch_ends(epochs)).items():
            found[source] = found[source]._replace(epoch_end=end)
    return found


def log_unread_lost(
    context: ShardContext, source: TopicPartition, next_offset: int, log_start: int
) -> None:
    """Log that retention deleted records before this shard read them."""
    log.error(
        "unread_input_lost",
        shard=context.shard,
        topic=source.topic,
        partition=source.partition,
        next_offset=next_offset,
        log_start=log_start,
        records=log_start - next_offset,
        hint=LOST_FORWARDS_HINT if context.is_forwards(source) else HINTS[Continuity.EXPIRED],
    )


async def find_recreated(
    reader: LogReader,
    fingerprints: Mapping[TopicPartition, Fingerprint],
    clock: Callable[[], float],
) -> list[TopicPartition]:
    """Return the sources whose record at the fingerprint's offset has another fingerprint.

    `clock` returns monotonic seconds.

    Raises:
        TaskFailed: the brokers delivered nothing for 20 s.
    """
    records = await _records_at(reader, fingerprints, ReadOptions(clock=clock))
    return [
        source
        for source, fingerprint in fingerprints.items()
        if (record := records[source]) is not None and Fingerprint.of(record) != fingerprint
    ]


async def _locate_new(
    context: ShardContext,
    readers: SideReaders,
    reader: LogReader,
    memory: ShardState,
    new: Collection[TopicPartition],
) -> Start:
    """Return the first offsets of sources without stored progress.

    AUTO_OFFSET_RESET decides for all input topics at the first start, and later for a topic that is
    new in INPUT_TOPICS. A partition that was added to a known topic is always read from its
    beginning: "latest" would skip the records that were written before the service noticed the
    partition. A partition of the repartition topic is always read from its beginning, too.
    """
    start = Start({}, {})
    if not new:
        return start
    starts = await reader.beginning_offsets(new)
    offsets = dict(starts)
    known_topics = () if memory.meta is None else memory.meta.input_topics
    skipping = [s for s in new if s.topic not in known_topics and not context.is_forwards(s)]
    if skipping and context.settings.auto_offset_reset == "latest":
        ends = await reader.end_offsets(skipping)
        first_start = None
        if memory.meta is None:
            first_start = await find_first_start(context, readers, reader)
            start = start._replace(first_start=first_start)
        for source in skipping:
            wanted = ends[source] if first_start is None else first_start.offset(source)
            offsets[source] = starts[source] if wanted > ends[source] else wanted
    for source in new:
        is_whole = source.topic in known_topics or context.is_forwards(source)
        expected = 0 if is_whole else offsets[source]
        if expected < starts[source]:
            log_unread_lost(context, source, expected, starts[source])
        offset = max(offsets[source], starts[source])
        identity = context.identity(source)
        start.positions[source] = offset
        start.changed[source] = Progress(offset, memory.seen.stream_time_ms, None, *identity)
    return start


def _report_break(
    context: ShardContext,
    source: TopicPartition,
    next_offset: int,
    verdict: Verdict,
    found: Found,
) -> None:
    """Log what a source lost; refuse the shard if forwards to it are certainly lost.

    Raises:
        StateCorrupted: the source is a partition of the repartition topic, and it was recreated, or
            records of it were deleted before they were read and no operator accepts this.
    """
    continuity = verdict.continuity
    is_accepted = continuity is Continuity.TRUNCATED or (
        continuity is Continuity.EXPIRED and context.accepted.forwards
    )
    if context.is_forwards(source) and not is_accepted:
        way_on = CONTINUE_WITHOUT if continuity is Continuity.EXPIRED else NEW_GROUP
        raise StateCorrupted(
            f"shard {context.shard}: repartition partition {source.topic}/{source.partition} was "
            f"{continuity.value} (next offset {next_offset}, log start {found.log_start}): records "
            f"that were forwarded to this shard are lost; {way_on}"
        )
    if continuity is Continuity.EXPIRED:
        log_unread_lost(context, source, next_offset, found.log_start)
        return
    facts = {
        "shard": context.shard,
        "topic": source.topic,
        "partition": source.partition,
        "next_offset": next_offset,
        "log_start": found.log_start,
        "end_offset": found.end_offset,
        "resume_at": verdict.resume_at,
    }
    hint = FORWARDS_HINT if context.is_forwards(source) else HINTS[continuity]
    if continuity is Continuity.RECREATED:
        log.error("input_recreated", hint=hint, **facts)
    else:
        log.error("input_truncated", records=next_offset - verdict.resume_at, hint=hint, **facts)


def _epoch(context: ShardContext, source: TopicPartition) -> int | None:
    return context.identity(source).leader_epoch


def _within(
    fingerprints: Mapping[TopicPartition, Fingerprint], found: Mapping[TopicPartition, Found]
) -> dict[TopicPartition, Fingerprint]:
    """Return the fingerprints whose offset is in the log. At other offsets nothing can be read."""
    return {
        source: fingerprint
        for source, fingerprint in fingerprints.items()
        if found[source].log_start <= fingerprint.offset < found[source].end_offset
    }


async def _records_at(
    reader: LogReader,
    fingerprints: Mapping[TopicPartition, Fingerprint],
    options: ReadOptions,
) -> dict[TopicPartition, SourceRecord | None]:
    """Return the record at each fingerprint's offset; None if that offset has no visible record.

    Raises:
        TaskFailed: the brokers delivered nothing for 20 s.
    """
    records: dict[TopicPartition, SourceRecord | None] = dict.fromkeys(fingerprints)
    ranges = {s: OffsetRange(f.offset, f.offset + 1) for s, f in fingerprints.items()}
    options = options._replace(
        max_records=max(1, len(ranges)),
        fetch_ms=FETCH_MS,
        stall_seconds=FINGERPRINT_SECONDS,
        purpose="the last-record fingerprints of the sources",
    )
    async for batch in read_range(reader, ranges, options):
        for record in batch.records:
            records[batch.partition] = record
    return records
