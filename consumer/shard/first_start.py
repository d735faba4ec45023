"""The offsets that AUTO_OFFSET_RESET=latest means: decided once for a group, by its first shard.

A shard may start for the first time hours after the others, because it was refused or waited for
an open transaction. By then its inputs have grown. A start at their end offsets would skip the
records that were written since the others started. So the first shard that starts stores the end
offsets of all input partitions in its changelog. A shard that starts later finds them there, uses
them, and stores a copy in its own changelog. A shard writes this entry only once, so compaction
never removes it. In each changelog, this entry is the first one that is not a restore barrier. So
other shards find it without reading the whole changelog.
"""

from typing import Final

import msgspec

from consumer.errors import StateCorrupted
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.port import LogReader
from consumer.kafka.read import ReadBatch, read_range, stable_ranges
from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import SourceRecord
from consumer.shard.changelog import FENCE, FIRST_START, FORMAT_VERSION
from consumer.shard.context import ShardContext, SideReaders

READ_SECONDS: Final = 20.0
FETCH_MS: Final = 100
FETCH_RECORDS: Final = 100


class FirstStart(msgspec.Struct, frozen=True):
    """The time of a group's first start, and the end offsets of its inputs at that time.

    ``ends`` has a list for each topic, with one end offset for each partition.
    """

    started_at_ms: int
    ends: dict[str, list[int]]
    version: int = FORMAT_VERSION

    def offset(self, source: TopicPartition) -> int:
        """Return the source's end offset at the first start; 0 if the partition is newer."""
        ends = self.ends.get(source.topic, [])
        return ends[source.partition] if source.partition < len(ends) else 0

    def record(self) -> tuple[bytes, bytes]:
        """Return key and value of the changelog entry that stores this first start."""
        return FIRST_START, msgspec.json.encode(self)


async def find_first_start(
    context: ShardContext, readers: SideReaders, reader: LogReader
) -> FirstStart:
    """Return the earliest stored first start; if none is stored, one with the present offsets.

    Raises:
        TaskFailed: the brokers do not answer in time.
        StateCorrupted: a stored first start cannot be parsed.
    """
    inputs = context.topology.inputs
    everything = [TopicPartition(topic, p) for topic, count in inputs.items() for p in range(count)]
    # Query the ends before the stored entries. Then, if no entry is found, no other shard had
    # stored its first start when these ends were queried.
    ends = await reader.end_offsets(everything)
    now = FirstStart(
        wall_clock_ms(),
        {topic: [ends[TopicPartition(topic, p)] for p in range(n)] for topic, n in inputs.items()},
    )
    async with readers.open(context, committed_only=True) as side_reader:
        stored = await _stored(context, side_reader)
    # A stored start is earlier than the present, even if its timestamp is later: the clocks of two
    # machines may differ.
    return min(stored, key=lambda one: one.started_at_ms, default=now)


async def _stored(context: ShardContext, reader: LogReader) -> list[FirstStart]:
    """Return the stored first starts.

    Read each shard's partition of the changelog only up to its first entry that is not a restore
    barrier.
    """
    topic = context.changelog.topic
    changelogs = [TopicPartition(topic, shard) for shard in range(context.topology.shards)]
    options = context.read_options._replace(
        max_records=FETCH_RECORDS,
        fetch_ms=FETCH_MS,
        total_seconds=READ_SECONDS,
        is_enough=lambda batch: _first_entry(batch) is not None,
        purpose="the first start of the group",
    )
    found: list[FirstStart] = []
    async for batch in read_range(reader, await stable_ranges(reader, changelogs), options):
        entry = _first_entry(batch)
        if entry is not None and entry.key == FIRST_START:
            found.append(_parse(batch.partition, entry))
    return found


def _first_entry(batch: ReadBatch) -> SourceRecord | None:
    return next((record for record in batch.records if (record.key or b"") != FENCE), None)


def _parse(changelog: TopicPartition, entry: SourceRecord) -> FirstStart:
    try:
        return msgspec.json.decode(entry.value or b"", type=FirstStart)
    except msgspec.DecodeError as error:
        raise StateCorrupted(
            f"changelog {changelog.topic}/{changelog.partition}: the first start at offset "
            f"{entry.offset} cannot be parsed: {error}"
        ) from error
