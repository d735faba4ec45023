"""When an id may be forgotten: no record that is still to come is older than the watermark.

Stream time alone does not tell. After a downtime one input partition's backlog runs it far ahead
before another's is read, and an id forgotten by it would be published again. Nor does a shard know
what others still have to forward to it. So with a window every shard announces now and then, as a
record in every partition of the repartition topic, how far back its inputs may still reach. It
stands behind all that the shard has forwarded until then. The least of all announcements is the
watermark; until each shard has made one, nothing is forgotten.

Times of day are the brokers' (`BrokerClock`), and an announcement counts for no more than the time
at which the broker appended it: the clock of a process that announces may be wrong.

Announcements are not stored: after a restart new ones come within the interval, and until then
nothing is forgotten either.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from consumer.kafka.clock import BrokerClock
from consumer.kafka.port import LogReader
from consumer.kafka.types import TopicPartition
from consumer.pipeline.decider import Decision, expire
from consumer.pipeline.records import Headers, SourceRecord
from consumer.pipeline.seen_ids import SeenIds

WATERMARK_HEADER: Final = "checkpoint-ready.watermark"
_ANNOUNCEMENT: Final = struct.Struct(">iq")  # shard, milliseconds
# What a shard announces that does not know anything of its inputs yet.
NOTHING_KNOWN_MS: Final = 0
# A record may reach its topic a little later than its timestamp says; ids are kept that long more.
GRACE_PART_OF_WINDOW: Final = 10
MAX_GRACE_MS: Final = 300_000
INTERVALS_PER_WINDOW: Final = 20
REACH_RECORDS: Final = 1000
EXPIRE_PER_TRANSACTION: Final = 1000
MIN_INTERVAL_SECONDS: Final = 1.0
MAX_INTERVAL_SECONDS: Final = 60.0


class Reach:
    """Down to which timestamp the latest records of a partition reach.

    It is the least of the last thousand or two, not the last or the latest one: a single record
    with a clock ahead must not speak for those behind it.
    """

    def __init__(self) -> None:
        self._before_ms: int | None = None
        self._least_ms: int | None = None
        self._records = 0

    def note(self, records: Sequence[SourceRecord]) -> None:
        """Take in the next records."""
        least_ms = min(record.timestamp for record in records)
        self._least_ms = least_ms if self._least_ms is None else min(least_ms, self._least_ms)
        self._records += len(records)
        if self._records >= REACH_RECORDS:
            self._before_ms, self._least_ms, self._records = self._least_ms, None, 0

    @property
    def until_ms(self) -> int | None:
        """The timestamp; None while too few records were read to tell."""
        if self._before_ms is None or self._least_ms is None:
            return self._before_ms
        return min(self._before_ms, self._least_ms)


class Watermarks:
    """What the shards have announced to this one, and when this one announces again."""

    def __init__(self, shards: int, window_seconds: int, topics_seen_at: float) -> None:
        """Without a window (0) nothing is announced and nothing expires.

        `topics_seen_at`: monotonic seconds.
        """
        self.topics_seen_at = topics_seen_at
        self._reaches: defaultdict[TopicPartition, Reach] = defaultdict(Reach)
        self._shards = shards
        self._window_seconds = window_seconds
        self.is_more_expired = False  # than one transaction could hold
        self._announced: dict[int, int] = {}
        self._next_seconds = 0.0

    def extract(self, records: Sequence[SourceRecord]) -> Sequence[SourceRecord]:
        """Note the announcements among forwarded records and return the others."""
        if not any(is_announcement(record.headers) for record in records):
            return records
        forwards = []
        for record in records:
            if is_announcement(record.headers):
                shard, watermark_ms = _ANNOUNCEMENT.unpack(record.headers[-1][1] or b"")
                if 0 <= shard < self._shards:  # another number is forged: it would take memory
                    # The repartition topic has LogAppendTime: its timestamps are the broker's.
                    self._announced[shard] = min(watermark_ms, record.timestamp)
            else:
                forwards.append(record)
        return forwards

    def record_read(self, source: TopicPartition, records: Sequence[SourceRecord]) -> None:
        """Note where an input partition's records stand."""
        if self._window_seconds:
            self._reaches[source].note(records)

    def own_ms(
        self, reader: LogReader, inputs: Iterable[TopicPartition], clock: BrokerClock
    ) -> int | None:
        """Return what this shard may announce, None while that is not known."""
        views = []
        for source in inputs:
            seen_at = reader.seen_at(source)
            seen_at_ms = None if seen_at is None else clock.at_ms(seen_at)
            until_ms = self._reaches[source].until_ms
            views.append(InputView(reader.backlog(source), seen_at_ms, until_ms))
        return own_watermark(views, clock.at_ms(self.topics_seen_at))

    @property
    def low_ms(self) -> int | None:
        """The watermark, a grace included; None until every shard has announced its own."""
        if not self._window_seconds or len(self._announced) < self._shards:
            return None
        grace_ms = min(self._window_seconds * 1000 // GRACE_PART_OF_WINDOW, MAX_GRACE_MS)
        return min(self._announced.values()) - grace_ms

    def add_tombstones(self, seen: SeenIds, decision: Decision) -> None:
        """Let a decision forget: at least twice as many ids as it enters, or memory would grow."""
        if (watermark_ms := self.low_ms) is not None:
            limit = max(EXPIRE_PER_TRANSACTION, 2 * len(decision.entries))
            expire(seen, decision, watermark_ms, limit)
            self.is_more_expired = len(decision.expired) >= limit

    def is_due(self, now_seconds: float) -> bool:
        """Tell whether this shard should announce its own watermark again."""
        return bool(self._window_seconds) and now_seconds >= self._next_seconds

    def record_announced(self, now_seconds: float) -> None:
        """Note an announcement; the next one is an interval later."""
        interval = self._window_seconds / INTERVALS_PER_WINDOW
        self._next_seconds = now_seconds + min(
            MAX_INTERVAL_SECONDS, max(MIN_INTERVAL_SECONDS, interval)
        )


class InputView(NamedTuple):
    """What a shard knows of one input partition."""

    backlog: int | None
    """Records that are not read yet, those of open transactions too; None: not known yet."""
    seen_at_ms: int | None
    """When that was so, by the brokers' clock."""
    read_until_ms: int | None
    """The timestamp down to which the latest records reach back; None: too few were read."""


def own_watermark(inputs: Iterable[InputView], topics_seen_at_ms: int) -> int | None:
    """Return how far back a shard's inputs may still reach; None while that is not known.

    An input partition that is read to its end brings only what came since it was looked at (a
    leader may be out of reach for long), another one goes on from where its records stand. And
    there may be partitions that are not known yet, born after the topics were looked at.
    """
    watermark_ms = topics_seen_at_ms
    for view in inputs:
        reaches_ms = view.read_until_ms if view.backlog else view.seen_at_ms
        if view.backlog is None or reaches_ms is None:
            return None
        watermark_ms = min(watermark_ms, reaches_ms)
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
