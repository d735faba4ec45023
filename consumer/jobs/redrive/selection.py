"""Dead letters as they lie in their topic: found by range, reason and origin, and shown."""

import re
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple

import msgspec

from consumer.errors import ClusterError, ConfigError
from consumer.jobs.context import JobContext
from consumer.jobs.left_out import say_left_out
from consumer.jobs.ranges import RangeSpec, ResolvedRange, resolve, rfc3339_ms
from consumer.jobs.redrive.redriven_set import RedrivenSet, is_redriven
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.read import OffsetRange, read_range, stable_ranges
from consumer.kafka.types import TopicPartition
from consumer.pipeline.dead_letters import DeadLetterRecord, parse_dead_letter
from consumer.pipeline.records import Reason, SourceRecord
from schemas.ready_event import Origin

FOREIGN_MESSAGE: Final = "not written by this service: its last headers are not those of ours"
_ORIGIN: Final = re.compile(
    r"(?P<topic>[a-zA-Z0-9._-]{1,249})(?:/(?P<partition>[0-9]{1,9})(?::(?P<offset>[0-9]{1,18}))?)?"
)
_ADDRESS: Final = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")


class OriginFilter(NamedTuple):
    """Where records came from: a topic, a partition of it, or one record."""

    topic: str
    partition: int | None
    offset: int | None

    def takes(self, origin: Origin) -> bool:
        """Tell whether an origin is meant."""
        return (
            origin.topic == self.topic
            and self.partition in {None, origin.partition}
            and self.offset in {None, origin.offset}
        )


class Wanted(msgspec.Struct, frozen=True):
    """Which dead letters a command is about; no reasons and no origins: all of the range."""

    history: RangeSpec
    allow_truncated: bool = False
    reasons: frozenset[Reason] = frozenset()
    origins: tuple[OriginFilter, ...] = ()

    def takes(self, letter: DeadLetterRecord | None) -> bool:
        """Tell whether a record is meant; one that is no dead letter has no reason or origin."""
        if letter is None:
            return not self.reasons and not self.origins
        return (not self.reasons or letter.reason in self.reasons) and (
            not self.origins or any(one.takes(letter.origin) for one in self.origins)
        )


class Found(NamedTuple):
    """A record of the dead-letter topic; without a letter it is not one of ours."""

    partition: int
    record: SourceRecord
    letter: DeadLetterRecord | None
    is_redriven: bool

    @property
    def address(self) -> str:
        """The name by which a person asks for it: partition:offset."""
        return f"{self.partition}:{self.record.offset}"


def parse_origin(text: str) -> OriginFilter:
    """Read TOPIC[/PARTITION[:OFFSET]].

    Raises:
        ConfigError: it is something else.
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
    """Read PARTITION:OFFSET.

    Raises:
        ConfigError: it is something else.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise ConfigError(f"{text!r} is not PARTITION:OFFSET, as `dead-letters list` shows it")
    return int(found[1]), int(found[2])


async def resolve_letters(context: JobContext, wanted: Wanted) -> ResolvedRange:
    """Return the offsets of the range in the dead-letter topic as it is now.

    Raises:
        ConfigError, ClusterError: as ``resolve`` says.
    """
    topic = context.settings.dead_letter_topic
    topics = await context.admin.describe([topic])
    count = context.topology.dead_letter_partitions
    await say_left_out(context.reader, [TopicPartition(topic, number) for number in range(count)])
    return await resolve(
        context.reader,
        topics,
        wanted.history,
        now_ms=wall_clock_ms(),
        allow_truncated=wanted.allow_truncated,
    )


async def read_ledger(context: JobContext) -> RedrivenSet:
    """Return what was put back until now; nothing is created, and no redrive is disturbed."""
    return RedrivenSet(await context.read_journal(is_redriven))


async def find_letters(
    context: JobContext, resolved: ResolvedRange, wanted: Wanted, redriven: RedrivenSet
) -> AsyncGenerator[Found, None]:
    """Yield the records that are meant, the oldest of each partition first."""
    async with aclosing(read_range(context.reader, resolved.ranges)) as batches:
        async for batch in batches:
            for found in read_letters(resolved, batch.partition, batch.records, redriven):
                if wanted.takes(found.letter):
                    yield found


def read_letters(
    resolved: ResolvedRange,
    partition: TopicPartition,
    records: Sequence[SourceRecord],
    redriven: RedrivenSet,
) -> list[Found]:
    """Return those records that the range means, read back."""
    number = partition.partition
    return [
        Found(number, record, parse_dead_letter(record), redriven.holds(number, record))
        for record in resolved.within(records)
    ]


async def find_letter(context: JobContext, partition: int, offset: int) -> Found:
    """Return the record at one place.

    Raises:
        ConfigError: there is no such place.
        ClusterError: its record is deleted, or there never was one.
    """
    topic = context.settings.dead_letter_topic
    if partition >= context.topology.dead_letter_partitions:
        raise ConfigError(
            f"there is no partition {partition} of {topic}, "
            f"which has {context.topology.dead_letter_partitions}"
        )
    place = TopicPartition(topic, partition)
    redriven = await read_ledger(context)
    there = (await stable_ranges(context.reader, [place]))[place]
    if offset >= there.end:
        raise ConfigError(f"{topic}/{partition} ends at offset {there.end}: {offset} is not there")
    if offset < there.start:
        raise ClusterError(
            f"{topic}/{partition}: offset {offset} is deleted, offset {there.start} is the first "
            "that is left"
        )
    async with aclosing(
        read_range(context.reader, {place: OffsetRange(offset, offset + 1)})
    ) as batches:
        async for batch in batches:
            for record in batch.records:
                return Found(
                    partition, record, parse_dead_letter(record), redriven.holds(partition, record)
                )
    raise ClusterError(
        f"{topic}/{partition}: there is no record at offset {offset}, but the end of a transaction "
        "or something never committed; `dead-letters list` shows where dead letters are"
    )


def summary(found: Found) -> dict[str, Any]:
    """Return what a list says of a dead letter."""
    letter = found.letter
    return {
        "address": found.address,
        "time": rfc3339_ms(found.record.timestamp),
        "reason": letter and letter.reason,
        "origin": letter and place(letter.origin),
        "attempts": letter and letter.attempts,
        "redriven": found.is_redriven,
        "cut": letter and letter.is_cut,
        "message": letter.message if letter else FOREIGN_MESSAGE,
        "foreign": letter is None,
    }


def place(origin: Origin) -> str:
    """Return an origin as a person writes it."""
    return f"{origin.topic}/{origin.partition}:{origin.offset}"


class Counted(msgspec.Struct):
    """How many dead letters there are, by reason and topic of origin."""

    by: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    foreign: int = 0

    @property
    def letters(self) -> int:
        """How many dead letters were counted."""
        return self.by.total()

    def count(self, letter: DeadLetterRecord | None) -> None:
        """Count one."""
        if letter is None:
            self.foreign += 1
        else:
            self.by[letter.reason.value, letter.origin.topic] += 1

    def facts(self) -> list[dict[str, Any]]:
        """Return it for a program, the most frequent first."""
        return [
            {"reason": reason, "origin_topic": topic, "count": count}
            for (reason, topic), count in self.by.most_common()
        ]
