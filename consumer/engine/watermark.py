"""When an id may be forgotten: no record that is still to come is older than the watermark.

Stream time alone does not tell. After a downtime one input partition's backlog runs it far ahead
before another's is read, and an id forgotten by it would be published again. Nor does a shard know
what others still have to forward to it. So with a window every shard announces now and then, as a
record in every partition of the repartition topic, how far back its inputs may still reach. It
stands behind all that the shard has forwarded until then. The least of all announcements is the
watermark; until each shard has made one, nothing is forgotten.

Announcements are not stored: after a restart new ones come within the interval, and until then
nothing is forgotten either.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Final

from consumer.engine.kafka import TopicPartition
from consumer.pipeline.records import Headers, SourceRecord

WATERMARK_HEADER: Final = "checkpoint-ready.watermark"
_ANNOUNCEMENT: Final = struct.Struct(">iq")  # shard, milliseconds
# A record may reach its topic a little later than its timestamp says; ids are kept that long more.
GRACE_PART_OF_WINDOW: Final = 10
MAX_GRACE_SECONDS: Final = 300
INTERVALS_PER_WINDOW: Final = 20
MIN_INTERVAL_SECONDS: Final = 1.0
MAX_INTERVAL_SECONDS: Final = 60.0


class Watermarks:
    """What the shards have announced to this one, and when this one announces again."""

    def __init__(self, shards: int, window_seconds: int) -> None:
        """Without a window (0) nothing is announced and nothing expires."""
        self._shards = shards
        self._window_seconds = window_seconds
        self._announced: dict[int, int] = {}
        self._next_seconds = 0.0

    def take_out(self, records: Sequence[SourceRecord]) -> Sequence[SourceRecord]:
        """Note the announcements among forwarded records and return the others."""
        if not any(is_announcement(record.headers) for record in records):
            return records
        forwards = []
        for record in records:
            if is_announcement(record.headers):
                shard, watermark_ms = _ANNOUNCEMENT.unpack(record.headers[-1][1] or b"")
                self._announced[shard] = watermark_ms
            else:
                forwards.append(record)
        return forwards

    @property
    def low_ms(self) -> int | None:
        """The watermark, a grace included; None until every shard has announced its own."""
        if not self._window_seconds or len(self._announced) < self._shards:
            return None
        grace_seconds = min(self._window_seconds // GRACE_PART_OF_WINDOW, MAX_GRACE_SECONDS)
        return min(self._announced.values()) - grace_seconds * 1000

    def is_due(self, now_seconds: float) -> bool:
        """Tell whether this shard should announce its own watermark again."""
        return bool(self._window_seconds) and now_seconds >= self._next_seconds

    def note_announced(self, now_seconds: float) -> None:
        """Note an announcement; the next one is an interval later."""
        interval = self._window_seconds / INTERVALS_PER_WINDOW
        self._next_seconds = now_seconds + min(
            MAX_INTERVAL_SECONDS, max(MIN_INTERVAL_SECONDS, interval)
        )


def own_watermark(
    lags: Mapping[TopicPartition, int | None], times_ms: Mapping[TopicPartition, int], now_ms: int
) -> int | None:
    """Return how far back a shard's inputs may still reach; None while that is not known.

    `lags` holds the unread records of each input partition (None: not known yet), `times_ms` the
    latest timestamp that was read of it. A partition that is read to its end gives records from
    now on only, another one from where its records stand.
    """
    watermark_ms = now_ms
    for source, lag in lags.items():
        if lag is None:
            return None
        if lag:
            if source not in times_ms:
                return None
            watermark_ms = min(watermark_ms, times_ms[source])
    return watermark_ms


def announcement(shard: int, watermark_ms: int) -> list[tuple[str, bytes | None]]:
    """Return the headers of an announcement; it has neither key nor value.

    Nobody else can make one: whatever is forwarded for a producer ends with another header.
    """
    return [(WATERMARK_HEADER, _ANNOUNCEMENT.pack(shard, watermark_ms))]


def is_announcement(headers: Headers) -> bool:
    """Tell whether a record of the repartition topic is an announcement, not a forward."""
    if not headers:
        return False
    name, value = headers[-1]
    return name == WATERMARK_HEADER and value is not None and len(value) == _ANNOUNCEMENT.size
