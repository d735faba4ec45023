"""A stretch of history as a person names it: from and to, by time or by offset, half-open."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from consumer.config.parsing import TOPIC_NAME
from consumer.errors import ConfigError

UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
FORMS: Final = "RFC 3339 (2026-11-23T10:00:00Z), -48h, epoch milliseconds, or partition:offset"
LAST_MS: Final = 253_402_300_799_999  # the end of the year 9999
_AGO: Final = re.compile(r"-([0-9]{1,6})([smhd])")
_MILLISECONDS: Final = re.compile(r"[0-9]{10,15}")
_PLACE: Final = re.compile(
    r"(?:(?P<topic>[a-zA-Z0-9._-]+)/)?(?P<partition>[0-9]{1,9}):(?P<offset>[0-9]{1,18})"
)


class Place(NamedTuple):
    """An offset in a partition; without a topic when there is only one to choose from."""

    topic: str | None
    partition: int
    offset: int


class Bound(NamedTuple):
    """One end of a range: a time, or an offset in each of some partitions; neither: all."""

    time_ms: int | None = None
    places: tuple[Place, ...] = ()


class HistoryRange(NamedTuple):
    """From (with) and to (without)."""

    start: Bound
    end: Bound


def parse_range(starts: Sequence[str], ends: Sequence[str], now_ms: int) -> HistoryRange:
    """Read the values of ``--from`` and ``--to``; each may be given several times for offsets.

    Raises:
        ConfigError: they are none, or contradict each other.
    """
    found = HistoryRange(_parse("--from", starts, now_ms), _parse("--to", ends, now_ms))
    begin_ms, end_ms = found.start.time_ms, found.end.time_ms
    if begin_ms is not None and end_ms is not None and begin_ms >= end_ms:
        raise ConfigError("--from must lie before --to")
    ends_by_partition = {(at.topic, at.partition): at.offset for at in found.end.places}
    for at in found.start.places:
        end = ends_by_partition.get((at.topic, at.partition))
        if end is not None and at.offset >= end:
            raise ConfigError(f"partition {at.partition}: --from must lie before --to")
    return found


def _parse(option: str, texts: Sequence[str], now_ms: int) -> Bound:
    places = []
    times = []
    for text in ",".join(texts).split(",") if texts else ():
        place = _PLACE.fullmatch(text.strip())
        if place:
            topic = place["topic"]
            if topic is not None and not TOPIC_NAME.fullmatch(topic):
                raise ConfigError(f"{option}: {topic!r} is no topic name")
            places.append(Place(topic, int(place["partition"]), int(place["offset"])))
        else:
            times.append(_time_ms(option, text.strip(), now_ms))
    if len(times) > 1 or (times and places):
        raise ConfigError(f"{option}: give one time, or one offset for each partition")
    named = {(at.topic, at.partition) for at in places}
    if len(named) < len(places):
        raise ConfigError(f"{option}: names a partition twice")
    return Bound(times[0] if times else None, tuple(places))


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
