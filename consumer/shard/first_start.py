"""The meaning of "latest": decided once for a group, at the first start of any of its shards.

A shard may start for the first time hours after the others, because it was refused or waited for
an open transaction. The end of its inputs is then another one, and what came in between would be
skipped. So a shard that starts first stores the ends of all input partitions, and later ones read
them from its changelog. The entry is the first that a shard writes behind its marks and is never
written again, so compaction leaves it where it is, before all ids.
"""

from typing import Final

import msgspec

from consumer.errors import StateCorrupted, TaskFailed
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.port import LogReader
from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import SourceRecord
from consumer.shard.changelog import FENCE, FIRST_START, FORMAT_VERSION
from consumer.shard.context import ShardContext, SideReaders

READ_SECONDS: Final = 20.0
FETCH_MS: Final = 100
FETCH_RECORDS: Final = 100


class FirstStart(msgspec.Struct, frozen=True):
    """When a group started, and the end offsets of its inputs then, by topic and partition."""

    started_at_ms: int
    ends: dict[str, list[int]]
    version: int = FORMAT_VERSION

    def offset(self, source: TopicPartition) -> int:
        """Return where a source ended; one that was born later is read from its beginning."""
        ends = self.ends.get(source.topic, [])
        return ends[source.partition] if source.partition < len(ends) else 0

    def record(self) -> tuple[bytes, bytes]:
        """Return key and value of its changelog entry."""
        return FIRST_START, msgspec.json.encode(self)


async def find_first_start(
    context: ShardContext, readers: SideReaders, reader: LogReader
) -> FirstStart:
    """Return the earliest start that any shard has stored, or the present as this group's start.

    Raises:
        TaskFailed: the brokers do not answer in time.
        StateCorrupted: a stored first start cannot be read.
    """
    inputs = context.topology.inputs
    everything = [TopicPartition(topic, p) for topic, count in inputs.items() for p in range(count)]
    # Asked before the others' entries are read: a shard that stores one meanwhile sees later ends.
    ends = await reader.end_offsets(everything)
    now = FirstStart(
        wall_clock_ms(),
        {topic: [ends[TopicPartition(topic, p)] for p in range(n)] for topic, n in inputs.items()},
    )
    async with readers.open(context, committed_only=True) as look:
        stored = await _stored(context, look)
    # Whatever is stored is earlier than the present; the clocks of two machines may disagree.
    return min(stored, key=lambda one: one.started_at_ms, default=now)


def _read(changelog: TopicPartition, entry: SourceRecord) -> FirstStart:
    try:
        return msgspec.json.decode(entry.value or b"", type=FirstStart)
    except msgspec.DecodeError as error:
        raise StateCorrupted(
            f"changelog {changelog.topic}/{changelog.partition}: the first start at offset "
            f"{entry.offset} cannot be read: {error}"
        ) from error


async def _stored(context: ShardContext, reader: LogReader) -> list[FirstStart]:
    """Read the beginning of every changelog, up to the first entry that is no mark."""
    topic = context.changelog.topic
    changelogs = [TopicPartition(topic, shard) for shard in range(context.topology.shards)]
    starts = await reader.beginning_offsets(changelogs)
    ends = await reader.end_offsets(changelogs)
    unread = {p for p in changelogs if starts[p] < ends[p]}
    found: list[FirstStart] = []
    if unread:
        reader.assign({partition: starts[partition] for partition in unread})
    deadline = context.clock() + READ_SECONDS
    while unread:
        context.heartbeat.beat()
        if context.clock() > deadline:
            raise TaskFailed("the first start of the group could not be read in time")
        for partition, records in (await reader.fetch(FETCH_MS, FETCH_RECORDS)).items():
            entry = next((r for r in records if (r.key or b"") != FENCE), None)
            if entry is not None and partition in unread:
                unread.discard(partition)
                if entry.key == FIRST_START:
                    found.append(_read(partition, entry))
        unread -= {p for p in unread if reader.position(p) >= ends[p]}
        reader.pause([p for p in changelogs if p not in unread and p in reader.positions])
    return found
