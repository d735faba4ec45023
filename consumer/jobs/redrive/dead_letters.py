"""Reads dead letters from their topic, by range, reason and origin."""

import re
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple

import msgspec

from consumer.errors import ClusterError, ConfigError
from consumer.jobs.context import JobContext
from consumer.jobs.held_back import warn_of_held_back
from consumer.jobs.ranges import RangeSpec, ResolvedRange, resolve_range, rfc3339_ms
from consumer.jobs.redrive.redriven_set import RedrivenSet, StoredRecord, is_redriven_entry
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.read import OffsetRange, read_range, stable_ranges
from consumer.kafka.types import TopicPartition
from consumer.pipeline.dead_letters import DeadLetterRecord, parse_dead_letter
from consumer.pipeline.records import Reason, SourceRecord
from schemas.ready_event import Origin

FOREIGN_MESSAGE: Final = "not written by this service: its last headers are different"
_ORIGIN: Final = re.compile(
    r"(?P<topic>[a-zA-Z0-9._-]{1,249})(?:/(?P<partition>[0-9]{1,9})(?::(?P<offset>[0-9]{1,18}))?)?"
)
_ADDRESS: Final = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")


class OriginFilter(NamedTuple):
    """Selects the origins in one topic, in one of its partitions, or at one offset."""

    topic: str
    partition: int | None
    offset: int | None

    def selects(self, origin: Origin) -> bool:
        """Return whether the filter selects this origin."""
        return (
            origin.topic == self.topic
            and self.partition in {None, origin.partition}
            and self.offset in {None, origin.offset}
        )


class DeadLetterFilter(msgspec.Struct, frozen=True):
    """Selects dead letters by range, reason and origin. An empty set or tuple selects all."""

    range: RangeSpec
    allow_truncated: bool = False
    reasons: frozenset[Reason] = frozenset()
    origins: tuple[OriginFilter, ...] = ()

    def selects(self, dead_letter: DeadLetterRecord | None) -> bool:
        """Return whether the filter selects a record; `dead_letter` is None for a foreign record.

        This service did not write a foreign record, so the record has no reason and no origin.
        """
        if dead_letter is None:
            return not self.reasons and not self.origins
        return (not self.reasons or dead_letter.reason in self.reasons) and (
            not self.origins or any(one.selects(dead_letter.origin) for one in self.origins)
        )


def parse_origin(text: str) -> OriginFilter:
    """Parse TOPIC[/PARTITION[:OFFSET]].

    Raises:
        ConfigError: the text has another form.
    """
    found = _ORIGIN.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"--origin: {text!r} is not TOPIC, TOPIC/PARTITION or TOPIC/PARTITION:OFFSET"
        )
    partition, offset = found["partition"], found["offset"]
    return OriginFilter(
        found["topic"],
        None if partition is None else int(partition),
        None if offset is None else int(offset),
    )


def parse_address(text: str) -> tuple[int, int]:
    """Parse PARTITION:OFFSET.

    Raises:
        ConfigError: the text has another form.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise ConfigError(f"{text!r} is not PARTITION:OFFSET, as `dead-letters list` shows it")
    return int(found[1]), int(found[2])


async def resolve_dead_letters(context: JobContext, wanted: DeadLetterFilter) -> ResolvedRange:
    """Return the current offsets of the filter's range in the dead-letter topic.

    Warn about records that an open transaction holds back.

    Raises:
        ConfigError, ClusterError: as ``resolve_range``.
    """
    topic = context.settings.dead_letter_topic
    topics = await context.admin.describe([topic])
    count = context.topology.dead_letter_partitions
    await warn_of_held_back(
        context.reader, [TopicPartition(topic, number) for number in range(count)]
    )
    return await resolve_range(
        context.reader,
        topics,
        wanted.range,
        now_ms=wall_clock_ms(),
        allow_truncated=wanted.allow_truncated,
    )


async def read_redriven(context: JobContext) -> RedrivenSet:
    """Return the dead letters that are already redriven, without fencing a running redrive."""
    return RedrivenSet(await context.read_journal(is_redriven_entry))


async def find_dead_letters(
    context: JobContext, resolved: ResolvedRange, wanted: DeadLetterFilter, redriven: RedrivenSet
) -> AsyncGenerator[StoredRecord, None]:
    """Yield the selected records. Within a partition, they are in offset order."""
    async with aclosing(read_range(context.reader, resolved.ranges)) as batches:
        async for batch in batches:
            for stored in parse_records(resolved, batch.partition, batch.records, redriven):
                if wanted.selects(stored.dead_letter):
                    yield stored


def parse_records(
    resolved: ResolvedRange,
    partition: TopicPartition,
    records: Sequence[SourceRecord],
    redriven: RedrivenSet,
) -> list[StoredRecord]:
    """Return the records that belong to the range, parsed as dead letters."""
    number = partition.partition
    return [_parse_record(number, record, redriven) for record in resolved.within(records)]


def _parse_record(partition: int, record: SourceRecord, redriven: RedrivenSet) -> StoredRecord:
    stored = StoredRecord(partition, record, parse_dead_letter(record))
    return stored._replace(is_redriven=redriven.contains(stored))


async def find_dead_letter(context: JobContext, partition: int, offset: int) -> StoredRecord:
    """Return the record at one offset of the dead-letter topic.

    Raises:
        ConfigError: the partition or the offset does not exist.
        ClusterError: the record is deleted, or the offset never had a record.
    """
    topic = context.settings.dead_letter_topic
    if partition >= context.topology.dead_letter_partitions:
        raise ConfigError(
            f"there is no partition {partition} of {topic}, "
            f"which has {context.topology.dead_letter_partitions}"
        )
    source = TopicPartition(topic, partition)
    redriven = await read_redriven(context)
    existing = (await stable_ranges(context.reader, [source]))[source]
    if offset >= existing.end:
        raise ConfigError(
            f"{topic}/{partition} ends at offset {existing.end}: offset {offset} does not exist"
        )
    if offset < existing.start:
        raise ClusterError(
            f"{topic}/{partition}: offset {offset} is deleted; the first existing offset is "
            f"{existing.start}"
        )
    async with aclosing(
        read_range(context.reader, {source: OffsetRange(offset, offset + 1)})
    ) as batches:
        async for batch in batches:
            for record in batch.records:
                return _parse_record(partition, record, redriven)
    raise ClusterError(
        f"{topic}/{partition}: offset {offset} has no record: it is a transaction marker, or its "
        "transaction was aborted. `dead-letters list` shows the addresses of dead letters"
    )


def list_entry(stored: StoredRecord) -> dict[str, Any]:
    """Return the JSON values that `dead-letters list` shows of a record."""
    dead_letter = stored.dead_letter
    return {
        "address": stored.address,
        "time": rfc3339_ms(stored.record.timestamp),
        "reason": dead_letter and dead_letter.reason,
        "origin": dead_letter and origin_text(dead_letter.origin),
        "attempts": dead_letter and dead_letter.attempts,
        "redriven": stored.is_redriven,
        "cut": dead_letter and dead_letter.is_cut,
        "message": dead_letter.message if dead_letter else FOREIGN_MESSAGE,
        "foreign": dead_letter is None,
    }


def origin_text(origin: Origin) -> str:
    """Return an origin as topic/partition:offset."""
    return f"{origin.topic}/{origin.partition}:{origin.offset}"


class DeadLetterCounts(msgspec.Struct):
    """Counts dead letters by reason and topic of origin."""

    by_reason_and_topic: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    foreign: int = 0

    @property
    def dead_letters(self) -> int:
        """The number of dead letters, without foreign records."""
        return self.by_reason_and_topic.total()

    def add(self, dead_letter: DeadLetterRecord | None) -> None:
        """Count one record."""
        if dead_letter is None:
            self.foreign += 1
        else:
            self.by_reason_and_topic[dead_letter.reason.value, dead_letter.origin.topic] += 1

    def facts(self) -> list[dict[str, Any]]:
        """Return the counts as JSON values, the largest count first."""
        return [
            {"reason": reason, "origin_topic": topic, "count": count}
            for (reason, topic), count in self.by_reason_and_topic.most_common()
        ]
