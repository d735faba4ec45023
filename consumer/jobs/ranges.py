"""Ranges of records: parsed from ``--from`` and ``--to``, then resolved to offsets.

A range includes its start and excludes its end. Its bounds are times or offsets.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from consumer.config.parsing import TOPIC_NAME
from consumer.errors import ClusterError, ConfigError
from consumer.kafka.port import LogReader
from consumer.kafka.read import OffsetRange, stable_ranges
from consumer.kafka.types import TopicDescription, TopicPartition
from consumer.pipeline.records import SourceRecord

UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
FORMS: Final = "RFC 3339 (2026-11-23T10:00:00Z), -48h, epoch milliseconds, or partition:offset"
LAST_MS: Final = 253_402_300_799_999  # the end of the year 9999
_AGO: Final = re.compile(r"-([0-9]{1,6})([smhd])")
_MILLISECONDS: Final = re.compile(r"[0-9]{10,15}")
_OFFSET: Final = re.compile(
    r"(?:(?P<topic>[a-zA-Z0-9._-]+)/)?(?P<partition>[0-9]{1,9}):(?P<offset>[0-9]{1,18})"
)


class PartitionOffset(NamedTuple):
    """An offset in a partition. `topic` may be None if the command reads only one topic."""

    topic: str | None
    partition: int
    offset: int


class RangeBound(NamedTuple):
    """One bound of a range: a time, or offsets of some partitions. If both are empty: no limit."""

    time_ms: int | None = None
    offsets: tuple[PartitionOffset, ...] = ()


class RangeSpec(NamedTuple):
    """A range as the user gave it: the inclusive start and the exclusive end."""

    start: RangeBound
    end: RangeBound


def parse_range(starts: Sequence[str], ends: Sequence[str], now_ms: int) -> RangeSpec:
    """Parse the values of ``--from`` and ``--to``.

    Several values of one option must be offsets of different partitions.

    Raises:
        ConfigError: a value is not valid, or the values contradict each other.
    """
    found = RangeSpec(_parse("--from", starts, now_ms), _parse("--to", ends, now_ms))
    begin_ms, end_ms = found.start.time_ms, found.end.time_ms
    if begin_ms is not None and end_ms is not None and begin_ms >= end_ms:
        raise ConfigError("--from must be before --to")
    ends_by_partition = {(at.topic, at.partition): at.offset for at in found.end.offsets}
    for at in found.start.offsets:
        end = ends_by_partition.get((at.topic, at.partition))
        if end is not None and at.offset >= end:
            raise ConfigError(f"partition {at.partition}: --from must be before --to")
    return found


def _parse(option: str, texts: Sequence[str], now_ms: int) -> RangeBound:
    offsets = []
    times = []
    for text in ",".join(texts).split(",") if texts else ():
        match = _OFFSET.fullmatch(text.strip())
        if match:
            topic = match["topic"]
            if topic is not None and not TOPIC_NAME.fullmatch(topic):
                raise ConfigError(f"{option}: {topic!r} is not a valid topic name")
            offsets.append(PartitionOffset(topic, int(match["partition"]), int(match["offset"])))
        else:
            times.append(_time_ms(option, text.strip(), now_ms))
    if len(times) > 1 or (times and offsets):
        raise ConfigError(f"{option}: give one time, or one offset for each partition")
    named = {(at.topic, at.partition) for at in offsets}
    if len(named) < len(offsets):
        raise ConfigError(f"{option}: names the same partition twice")
    return RangeBound(times[0] if times else None, tuple(offsets))


def _time_ms(option: str, text: str, now_ms: int) -> int:
    ago = _AGO.fullmatch(text)
    if ago:
        length = timedelta(**{UNITS[ago[2]]: int(ago[1])})
        return max(0, now_ms - length // timedelta(milliseconds=1))
    if _MILLISECONDS.fullmatch(text):
        if int(text) < now_ms // 100:
            raise ConfigError(f"{option}: {text} looks like epoch seconds; use milliseconds")
        return min(int(text), LAST_MS)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option}: {text!r} is not one of these forms: {FORMS}") from None
    if moment.tzinfo is None:
        raise ConfigError(f"{option}: {text!r} has no UTC offset; write for example {text}Z")
    return max(0, (moment - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1))


UNLIMITED: Final = "-1"
TRUNCATED: Final = "retention has deleted a part of the range:"
ALLOW_TRUNCATED_HINT: Final = "use --allow-truncated to continue with the records that still exist"


class ResolvedRange(msgspec.Struct, frozen=True):
    """A range as the offsets to read in each partition, and the limits of record timestamps."""

    ranges: dict[TopicPartition, OffsetRange]
    from_ms: int | None = None
    to_ms: int | None = None
    starts_at_offsets: bool = False
    """Whether the user named the start offsets. If not, a time or the log start decided them."""

    def within(self, records: Sequence[SourceRecord]) -> Sequence[SourceRecord]:
        """Return the records whose timestamps are in the range; drop the other records."""
        if self.from_ms is None and self.to_ms is None:
            return records
        return [record for record in records if self.contains_time(record.timestamp)]

    def contains_time(self, timestamp_ms: int) -> bool:
        """Return whether a record with this timestamp belongs to the range."""
        if self.from_ms is not None and timestamp_ms < self.from_ms:
            return False
        return self.to_ms is None or timestamp_ms < self.to_ms

    @property
    def offsets(self) -> int:
        """The number of offsets to read, including those of transaction markers."""
        return sum(part.end - part.start for part in self.ranges.values())


async def resolve_range(
    reader: LogReader,
    topics: Mapping[str, TopicDescription],
    wanted: RangeSpec,
    *,
    now_ms: int,
    allow_truncated: bool,
) -> ResolvedRange:
    """Return the offsets of a range in the topics as they are now.

    If a bound has offsets, only the partitions that the bounds name are read.

    If the start is a time, the range begins at the first record that is not older than this time.
    If the end is a time and producers set the timestamps, the range is read to the last stable
    offset, because records after the first one that is too new may be older again.

    Raises:
        ConfigError: a bound names a partition or an offset that does not exist.
        ClusterError: records of the range are deleted, or may be deleted (not raised with
            `allow_truncated`). The message has the first existing offsets.
    """
    partitions = [
        TopicPartition(name, number)
        for name, topic in sorted(topics.items())
        for number in range(topic.partitions)
    ]
    starts = _offsets("--from", wanted.start, partitions)
    ends = _offsets("--to", wanted.end, partitions)
    if starts or ends:
        partitions = [partition for partition in partitions if partition in {**starts, **ends}]
    existing = await stable_ranges(reader, partitions)
    _require_existing(existing, starts, "--from")
    _require_existing(existing, ends, "--to")
    deleted = [
        f"{_name(p)}: offset {offset} is deleted; the first existing offset is {existing[p].start}"
        for p, offset in starts.items()
        if offset < existing[p].start
    ]
    deleted += [
        f"{_name(p)}: all records before offset {offset} are deleted; the first existing offset is "
        f"{existing[p].start}"
        for p, offset in ends.items()
        if 0 < offset <= existing[p].start and p not in starts
    ]
    starts_at_offsets = bool(starts)
    from_ms, to_ms = wanted.start.time_ms, wanted.end.time_ms
    if from_ms is not None:
        starts = await _first_from(reader, existing, from_ms)
        deleted += await _deleted_by_time(reader, topics, existing, from_ms, now_ms)
    if to_ms is not None:
        appended = {p: s for p, s in existing.items() if _is_append_time(topics[p.topic])}
        ends = await _first_from(reader, appended, to_ms)
    if deleted and not allow_truncated:
        raise ClusterError("\n".join([TRUNCATED, *deleted, ALLOW_TRUNCATED_HINT]))
    ranges = {
        p: OffsetRange(
            max(existing[p].start, starts.get(p, 0)),
            min(existing[p].end, ends.get(p, existing[p].end)),
        )
        for p in partitions
    }
    return ResolvedRange(
        {p: OffsetRange(part.start, max(part.start, part.end)) for p, part in ranges.items()},
        from_ms,
        to_ms,
        starts_at_offsets,
    )


def _offsets(
    option: str, bound: RangeBound, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, int]:
    known = set(partitions)
    return {_partition_of(option, at, known): at.offset for at in bound.offsets}


def _partition_of(option: str, at: PartitionOffset, known: set[TopicPartition]) -> TopicPartition:
    topics = sorted({partition.topic for partition in known})
    if at.topic is None and len(topics) > 1:
        raise ConfigError(
            f"{option}: there are several topics; name one, for example "
            f"{topics[0]}/{at.partition}:{at.offset}"
        )
    partition = TopicPartition(at.topic or topics[0], at.partition)
    if partition not in known:
        names = ", ".join(topics)
        raise ConfigError(f"{option}: there is no partition {_name(partition)} of {names}")
    return partition


def _require_existing(
    existing: Mapping[TopicPartition, OffsetRange],
    offsets: Mapping[TopicPartition, int],
    option: str,
) -> None:
    for partition, offset in offsets.items():
        if offset > existing[partition].end:
            end = existing[partition].end
            raise ConfigError(f"{option}: {_name(partition)} ends at offset {end}, before {offset}")


async def _first_from(
    reader: LogReader, existing: Mapping[TopicPartition, OffsetRange], time_ms: int
) -> dict[TopicPartition, int]:
    found = await reader.offsets_for_times(dict.fromkeys(existing, time_ms)) if existing else {}
    return {
        partition: existing[partition].end if at is None else at[0]
        for partition, at in found.items()
    }


async def _deleted_by_time(
    reader: LogReader,
    topics: Mapping[str, TopicDescription],
    existing: Mapping[TopicPartition, OffsetRange],
    from_ms: int,
    now_ms: int,
) -> list[str]:
    """Return a line for each partition in which retention may have deleted records of the range."""
    doubtful = [
        partition
        for partition, part in existing.items()
        if part.start > 0 and _may_be_deleted(topics[partition.topic], from_ms, now_ms)
    ]
    firsts = await reader.offsets_for_times(dict.fromkeys(doubtful, 0)) if doubtful else {}
    lines = []
    for partition, first in firsts.items():
        if first is None:
            lines.append(f"{_name(partition)}: no record exists any more")
        elif first[1] > from_ms:
            lines.append(
                f"{_name(partition)}: the first existing record has offset {first[0]} "
                f"and time {rfc3339_ms(first[1])}"
            )
    return lines


def _may_be_deleted(topic: TopicDescription, from_ms: int, now_ms: int) -> bool:
    """Return whether retention may have deleted records that are not older than `from_ms`."""
    retention_ms = topic.configs.get("retention.ms", UNLIMITED)
    if topic.configs.get("retention.bytes", UNLIMITED) != UNLIMITED or retention_ms == UNLIMITED:
        return True  # the time of a deletion by size or by an operator is unknown
    return from_ms < now_ms - int(retention_ms)


def _is_append_time(topic: TopicDescription) -> bool:
    return topic.configs.get("message.timestamp.type") == "LogAppendTime"


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}/{partition.partition}"


def rfc3339_ms(time_ms: int) -> str:
    """Return a time in UTC with milliseconds; a time outside of the calendar stays a number."""
    try:
        moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=time_ms)
    except OverflowError:  # producers may write any number
        return f"{time_ms} ms"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
