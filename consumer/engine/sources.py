"""From where a shard reads on: every source partition, checked against its stored progress."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import structlog

from consumer.engine.changelog import ShardState
from consumer.engine.context import ShardContext
from consumer.engine.kafka import ShardReader, TopicPartition
from consumer.engine.progress import Continuity, Progress, Witness, judge_bounds, judge_witness
from consumer.errors import StateCorrupted, TaskFailed
from consumer.pipeline.records import SourceRecord

WITNESS_SECONDS: Final = 20.0
FETCH_MS: Final = 100
log = structlog.get_logger(__name__)


class Start(NamedTuple):
    """Where to read on, and the progress of sources that were never read (to be committed)."""

    positions: dict[TopicPartition, int]
    baseline: dict[TopicPartition, Progress]


async def locate_sources(context: ShardContext, reader: ShardReader, memory: ShardState) -> Start:
    """Find the offset at which each source is to be read on.

    Raises:
        StateCorrupted: the repartition topic lost records that were never handled.
        TaskFailed: the broker did not say in time.
    """
    sources = context.sources()
    starts = await reader.beginning_offsets(sources)
    ends = await reader.end_offsets(sources)
    start = Start({}, {})
    broken: dict[TopicPartition, Continuity] = {}
    witnesses: dict[TopicPartition, Witness] = {}
    for source in sources:
        progress = memory.progress.get(source)
        if progress is None:
            is_latest = _starts_at_the_end(context, memory, source)
            offset = ends[source] if is_latest else starts[source]
            start.positions[source] = offset
            start.baseline[source] = Progress(offset, memory.seen.stream_time_ms)
            continue
        start.positions[source] = progress.next_offset
        found = judge_bounds(progress, starts[source], ends[source])
        if found is not Continuity.INTACT:
            broken[source] = found
        elif progress.witness is not None and progress.witness.offset >= starts[source]:
            witnesses[source] = progress.witness
    for source in await find_recreated(reader, witnesses, context.clock):
        broken[source] = Continuity.RECREATED
    for source, found in broken.items():
        _report_break(context, source, found, start.positions[source], starts[source])
        start.positions[source] = starts[source]
    return start


def _starts_at_the_end(context: ShardContext, memory: ShardState, source: TopicPartition) -> bool:
    """Tell whether a source without progress is to be read from its end.

    A partition that was born after the shard's first start is read from its beginning, whatever
    AUTO_OFFSET_RESET says: "latest" would skip what was written before we noticed it.
    """
    is_new_topic = memory.meta is None or source.topic not in memory.meta.input_topics
    is_latest = context.settings.auto_offset_reset == "latest"
    return is_latest and is_new_topic and not context.is_forwards(source)


def _report_break(
    context: ShardContext,
    source: TopicPartition,
    found: Continuity,
    next_offset: int,
    log_start: int,
) -> None:
    """Say loudly what an input lost; a forward that is gone cannot be read again.

    Raises:
        StateCorrupted: the source is the repartition topic.
    """
    if context.is_forwards(source):
        raise StateCorrupted(
            f"shard {context.shard}: repartition partition {source.topic}/{source.partition} was "
            f"{found.value} (next offset {next_offset}, log start {log_start}): records on their "
            "way to this shard are gone; read the inputs again under a new GROUP_ID and "
            "OUTPUT_TOPIC"
        )
    facts = {
        "shard": context.shard,
        "topic": source.topic,
        "partition": source.partition,
        "next_offset": next_offset,
        "log_start": log_start,
    }
    if found is Continuity.EXPIRED:
        log.error("unread_input_lost", records=log_start - next_offset, **facts)
    else:
        log.error("input_recreated", hint="it is read from its start", **facts)


async def find_recreated(
    reader: ShardReader,
    witnesses: Mapping[TopicPartition, Witness],
    clock: Callable[[], float],
) -> list[TopicPartition]:
    """Return the sources whose witness record has become another record; `clock` is in seconds.

    Raises:
        TaskFailed: for a while the broker has not said anything more.
    """
    if not witnesses:
        return []
    reader.assign({source: witness.offset for source, witness in witnesses.items()})
    firsts: dict[TopicPartition, SourceRecord | None] = {}
    deadline = clock() + WITNESS_SECONDS
    while (known := len(firsts)) < len(witnesses):
        if clock() > deadline:
            raise TaskFailed("the witness records of the sources could not be read in time")
        for source, records in (await reader.fetch(FETCH_MS, len(witnesses))).items():
            if source not in firsts:
                firsts[source] = records[0]
                reader.pause([source])
        for source, witness in witnesses.items():
            if source not in firsts and reader.position(source) > witness.offset:
                firsts[source] = None
        if len(firsts) > known:
            deadline = clock() + WITNESS_SECONDS
    return [
        source
        for source, witness in witnesses.items()
        if judge_witness(witness, firsts[source]) is Continuity.RECREATED
    ]
