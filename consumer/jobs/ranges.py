"""A resolved of history as a person names it: from and to, by time or by offset, half-open."""

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
_PLACE: Final = re.compile(
    r"(?:(?P<topic>[a-zA-Z0-9._-]+)/)?(?P<partition>[0-9]{1,9}):(?P<offset>[0-9]{1,18})"
)


class PartitionOffset(NamedTuple):
    """An offset in a partition; without a topic when there is only one to choose from."""

    topic: str | None
    partition: int
    offset: int


class RangeBound(NamedTuple):
    """One end of a range: a time, or an offset in each of some partitions; neither: all."""

    time_ms: int | None = None
    places: tuple[PartitionOffset, ...] = ()


class RangeSpec(NamedTuple):
    """From (with) and to (without)."""

    start: RangeBound
    end: RangeBound


def parse_range(starts: Sequence[str], ends: Sequence[str], now_ms: int) -> RangeSpec:
    """Read the values of ``--from`` and ``--to``; each may be given several times for offsets.

    Raises:
        ConfigError: they are none, or contradict each other.
    """
    found = RangeSpec(_parse("--from", starts, now_ms), _parse("--to", ends, now_ms))
    begin_ms, end_ms = found.start.time_ms, found.end.time_ms
    if begin_ms is not None and end_ms is not None and begin_ms >= end_ms:
        raise ConfigError("--from must lie before --to")
    ends_by_partition = {(at.topic, at.partition): at.offset for at in found.end.places}
    for at in found.start.places:
        end = ends_by_partition.get((at.topic, at.partition))
        if end is not None and at.offset >= end:
            raise ConfigError(f"partition {at.partition}: --from must lie before --to")
    return found


def _parse(option: str, texts: Sequence[str], now_ms: int) -> RangeBound:
    places = []
    times = []
    for text in ",".join(texts).split(",") if texts else ():
        place = _PLACE.fullmatch(text.strip())
        if place:
            topic = place["topic"]
            if topic is not None and not TOPIC_NAME.fullmatch(topic):
                raise ConfigError(f"{option}: {topic!r} is no topic name")
            places.append(PartitionOffset(topic, int(place["partition"]), int(place["offset"])))
        else:
            times.append(_time_ms(option, text.strip(), now_ms))
    if len(times) > 1 or (times and places):
        raise ConfigError(f"{option}: give one time, or one offset for each partition")
    named = {(at.topic, at.partition) for at in places}
    if len(named) < len(places):
        raise ConfigError(f"{option}: names a partition twice")
    return RangeBound(times[0] if times else None, tuple(places))


def _time_ms(option: str, text: str, now_ms: int) -> int:
    ago = _AGO.fullmatch(text)
    if ago:
        length = timedelta(**{UNITS[ago[2]]: int(ago[1])})
        return max(0, now_ms - length // timedelta(milliseconds=1))
    if _MILLISECONDS.fullmatch(text):
        if int(text) < now_ms // 100:
            raise ConfigError(f"{option}: {text} looks like seconds; epoch milliseconds are meant")
        return min(int(text), LAST_MS)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option}: {text!r} is none of {FORMS}") from None
    if moment.tzinfo is None:
        raise ConfigError(f"{option}: {text!r} needs its offset from UTC, for instance {text}Z")
    return max(0, (moment - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1))


# A range of history as offsets: resolved once, when a tool begins, and refused where it is cut.

UNLIMITED: Final = "-1"
_ACCEPT: Final = "--allow-truncated takes what is still there"


class ResolvedRange(msgspec.Struct, frozen=True):
    """What of each partition is read, and which of its records count, by their own timestamps."""

    ranges: dict[TopicPartition, OffsetRange]
    from_ms: int | None = None
    to_ms: int | None = None
    begins_at_offsets: bool = False
    """Whether a person named the first offsets; else the first is what a time means, or all."""

    def within(self, records: Sequence[SourceRecord]) -> Sequence[SourceRecord]:
        """Return the records that the range means; producers may have stamped others between."""
        if self.from_ms is None and self.to_ms is None:
            return records
        return [record for record in records if self.holds(record.timestamp)]

    def holds(self, timestamp_ms: int) -> bool:
        """Tell whether the range means a record of that time."""
        if self.from_ms is not None and timestamp_ms < self.from_ms:
            return False
        return self.to_ms is None or timestamp_ms < self.to_ms

    @property
    def offsets(self) -> int:
        """How many offsets there are to pass; transaction markers are among them."""
        return sum(part.end - part.start for part in self.ranges.values())


async def resolve(
    reader: LogReader,
    topics: Mapping[str, TopicDescription],
    wanted: RangeSpec,
    *,
    now_ms: int,
    allow_truncated: bool,
) -> ResolvedRange:
    """Return the offsets of a range as the topics stand now.

    A time is exact: from the first record that is as late, and where producers set the timestamps
    to the end of the log, since a later record may be older.

    Raises:
        ConfigError: a bound names a partition that does not exist, or an offset that does not yet.
        ClusterError: records of the range are deleted; the message says what is still there.
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
    there = await stable_ranges(reader, partitions)
    _require_existing(there, starts, "--from")
    _require_existing(there, ends, "--to")
    cut = [
        f"{_name(p)}: offset {offset} is deleted, offset {there[p].start} is the first that is left"
        for p, offset in starts.items()
        if offset < there[p].start
    ]
    cut += [
        f"{_name(p)}: everything before offset {offset} is deleted, offset {there[p].start} is the "
        "first that is left"
        for p, offset in ends.items()
        if 0 < offset <= there[p].start and p not in starts
    ]
    begins_at_offsets = bool(starts)
    from_ms, to_ms = wanted.start.time_ms, wanted.end.time_ms
    if from_ms is not None:
        starts = await _first_from(reader, there, from_ms)
        cut += await _cut_by_time(reader, topics, there, from_ms, now_ms)
    if to_ms is not None:
        appended = {p: s for p, s in there.items() if _is_append_time(topics[p.topic])}
        ends = await _first_from(reader, appended, to_ms)
    if cut and not allow_truncated:
        raise ClusterError("\n".join(["the range is cut by retention:", *cut, _ACCEPT]))
    ranges = {
        p: OffsetRange(
            max(there[p].start, starts.get(p, 0)), min(there[p].end, ends.get(p, there[p].end))
        )
        for p in partitions
    }
    return ResolvedRange(
        {p: OffsetRange(part.start, max(part.start, part.end)) for p, part in ranges.items()},
        from_ms,
        to_ms,
        begins_at_offsets,
    )


def _offsets(
    option: str, bound: RangeBound, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, int]:
    existing = set(partitions)
    return {_partition_of(option, place, existing): place.offset for place in bound.places}


def _partition_of(
    option: str, place: PartitionOffset, existing: set[TopicPartition]
) -> TopicPartition:
    topics = sorted({partition.topic for partition in existing})
    if place.topic is None and len(topics) > 1:
        raise ConfigError(
            f"{option}: there are several topics; say which: "
            f"{topics[0]}/{place.partition}:{place.offset}"
        )
    partition = TopicPartition(place.topic or topics[0], place.partition)
    if partition not in existing:
        known = ", ".join(topics)
        raise ConfigError(f"{option}: there is no partition {_name(partition)} of {known}")
    return partition


def _require_existing(
    there: Mapping[TopicPartition, OffsetRange], offsets: Mapping[TopicPartition, int], option: str
) -> None:
    for partition, offset in offsets.items():
        if offset > there[partition].end:
            end = there[partition].end
            raise ConfigError(f"{option}: {_name(partition)} ends at offset {end}, before {offset}")


async def _first_from(
    reader: LogReader, there: Mapping[TopicPartition, OffsetRange], time_ms: int
) -> dict[TopicPartition, int]:
    found = await reader.offsets_for_times(dict.fromkeys(there, time_ms)) if there else {}
    return {
        partition: there[partition].end if at is None else at[0] for partition, at in found.items()
    }


async def _cut_by_time(
    reader: LogReader,
    topics: Mapping[str, TopicDescription],
    there: Mapping[TopicPartition, OffsetRange],
    from_ms: int,
    now_ms: int,
) -> list[str]:
    """Say of which partitions records of the range may have been deleted."""
    doubtful = [
        partition
        for partition, part in there.items()
        if part.start > 0 and _may_be_deleted(topics[partition.topic], from_ms, now_ms)
    ]
    firsts = await reader.offsets_for_times(dict.fromkeys(doubtful, 0)) if doubtful else {}
    cut = []
    for partition, first in firsts.items():
        if first is None:
            cut.append(f"{_name(partition)}: nothing is left")
        elif first[1] > from_ms:
            cut.append(
                f"{_name(partition)}: the first record that is left is offset {first[0]} "
                f"of {rfc3339_ms(first[1])}"
            )
    return cut


def _may_be_deleted(topic: TopicDescription, from_ms: int, now_ms: int) -> bool:
    """Tell whether retention may have reached records from that time on; a young one is safe."""
    retention_ms = topic.configs.get("retention.ms", UNLIMITED)
    if topic.configs.get("retention.bytes", UNLIMITED) != UNLIMITED or retention_ms == UNLIMITED:
        return True  # by size, or by hand: when is not known
    return from_ms < now_ms - int(retention_ms)


def _is_append_time(topic: TopicDescription) -> bool:
    return topic.configs.get("message.timestamp.type") == "LogAppendTime"


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}/{partition.partition}"


def rfc3339_ms(time_ms: int) -> str:
    """Return a time of day in UTC, to the millisecond; a number that is none stays a number."""
    try:
        moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=time_ms)
    except OverflowError:  # producers may write any number there
        return f"{time_ms} ms"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
