"""The watermark shows when ids can be forgotten: when no future record is within their window.

Stream time alone does not show this. After a downtime, the backlog of one input partition may move
stream time far ahead before the shard reads the backlog of another partition. If the shard forgot
ids by stream time, that second backlog could repeat them, and they would be published again. The
shard also does not know which records other shards will still forward to it.

So with a dedup window, every shard regularly announces the lowest timestamp that its inputs may
still bring. The shard writes the announcement to every partition of the repartition topic, after
all records that it has forwarded so far. The watermark is the lowest of the latest announcements of
all shards, minus a grace time. Until every shard has made an announcement, no id is forgotten.

Wall-clock times are those of the brokers (`BrokerClock`). If an announced time is later than the
time at which the broker appended the announcement, the append time counts: the clock of the process
that announced it may be wrong.

Announcements are not part of a shard's stored state. After a restart, no id is forgotten until new
announcements of all shards have arrived, which takes about one interval.
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
# The announcement of a shard that does not know anything about its inputs yet.
NOTHING_KNOWN_MS: Final = 0
# A producer may send a record some time after the record's timestamp. So ids are kept for a grace
# time after the window: a tenth of the window, at most five minutes.
GRACE_PART_OF_WINDOW: Final = 10
MAX_GRACE_MS: Final = 300_000
INTERVALS_PER_WINDOW: Final = 20
TIMESTAMP_RECORDS: Final = 1000
EXPIRE_PER_TRANSACTION: Final = 1000
MIN_INTERVAL_SECONDS: Final = 1.0
MAX_INTERVAL_SECONDS: Final = 60.0


class Announcement(NamedTuple):
    """The time that a shard announces, and the shards that can receive it.

    A shard whose repartition partition has no leader keeps the announcement before this one. That
    is an earlier time, so this shard only forgets ids later.
    """

    watermark_ms: int
    to_shards: Sequence[int]


class LowestTimestamp:
    """The lowest timestamp among at least the last 1,000 records of a partition.

    The last or the highest timestamp is not reliable: a single record may come from a clock that is
    ahead, and later records may have lower timestamps.
    """

    def __init__(self) -> None:
        self._before_ms: int | None = None
        self._least_ms: int | None = None
        self._records = 0

    def add(self, records: Sequence[SourceRecord]) -> None:
        """Add the next records."""
        least_ms = min(record.timestamp for record in records)
        self._least_ms = least_ms if self._least_ms is None else min(least_ms, self._least_ms)
        self._records += len(records)
        if self._records >= TIMESTAMP_RECORDS:
            self._before_ms, self._least_ms, self._records = self._least_ms, None, 0

    @property
    def value_ms(self) -> int | None:
        """The lowest timestamp; None until 1,000 records were read."""
        if self._before_ms is None or self._least_ms is None:
            return self._before_ms
        return min(self._before_ms, self._least_ms)


class Watermarks:
    """The announcements that this shard has received, and when it makes its own."""

    def __init__(self, shards: int, window_seconds: int, topics_seen_at: float) -> None:
        """Without a window (0) nothing is announced and nothing expires.

        `topics_seen_at` is the time of the last check of the topics, in monotonic seconds.
        """
        self.topics_seen_at = topics_seen_at
        self._lowest: defaultdict[TopicPartition, LowestTimestamp] = defaultdict(LowestTimestamp)
        self._shards = shards
        self._window_seconds = window_seconds
        self.is_more_expired = False  # more ids have expired than one transaction could hold
        self._announced: dict[int, int] = {}
        self._next_seconds = 0.0

    def extract(self, records: Sequence[SourceRecord]) -> Sequence[SourceRecord]:
        """Record the announcements among forwarded records and return the other records."""
        if not any(is_announcement(record.headers) for record in records):
            return records
        forwards = []
        for record in records:
            if is_announcement(record.headers):
                shard, watermark_ms = _ANNOUNCEMENT.unpack(record.headers[-1][1] or b"")
                if 0 <= shard < self._shards:  # ignore forged numbers, which would use memory
                    # The repartition topic has LogAppendTime: its timestamps are the broker's.
                    self._announced[shard] = min(watermark_ms, record.timestamp)
            else:
                forwards.append(record)
        return forwards

    def record_read(self, source: TopicPartition, records: Sequence[SourceRecord]) -> None:
        """Record the timestamps of records that were read from an input partition."""
        if self._window_seconds:
            self._lowest[source].add(records)

    def own_ms(
        self, reader: LogReader, inputs: Iterable[TopicPartition], clock: BrokerClock
    ) -> int | None:
        """Return the lowest timestamp that this shard's inputs may still bring; None: not known."""
        positions = []
        for source in inputs:
            seen_at = reader.seen_at(source)
            seen_at_ms = None if seen_at is None else clock.at_ms(seen_at)
            lowest_ms = self._lowest[source].value_ms
            positions.append(InputPosition(reader.backlog(source), seen_at_ms, lowest_ms))
        return own_watermark(positions, clock.at_ms(self.topics_seen_at))

    @property
    def low_ms(self) -> int | None:
        """The watermark; None until every shard has made an announcement, or without a window."""
        if not self._window_seconds or len(self._announced) < self._shards:
            return None
        grace_ms = min(self._window_seconds * 1000 // GRACE_PART_OF_WINDOW, MAX_GRACE_MS)
        return min(self._announced.values()) - grace_ms

    def add_tombstones(self, seen: SeenIds, decision: Decision) -> None:
        """Add tombstones of expired ids to a decision.

        The limit is 1,000 tombstones, or twice the number of new ids in the decision if that is
        more. If it were always 1,000, transactions with more new ids would add ids faster than
        expired ids are deleted, and the memory would grow.
        """
        if (watermark_ms := self.low_ms) is not None:
            limit = max(EXPIRE_PER_TRANSACTION, 2 * len(decision.entries))
            expire(seen, decision, watermark_ms, limit)
            self.is_more_expired = len(decision.expired) >= limit

    def is_due(self, now_seconds: float) -> bool:
        """Return whether this shard should make its next announcement."""
        return bool(self._window_seconds) and now_seconds >= self._next_seconds

    def record_announced(self, now_seconds: float) -> None:
        """Record an announcement; the next one is due an interval later."""
        interval = self._window_seconds / INTERVALS_PER_WINDOW
        self._next_seconds = now_seconds + min(
            MAX_INTERVAL_SECONDS, max(MIN_INTERVAL_SECONDS, interval)
        )


class InputPosition(NamedTuple):
    """How far a shard has read one input partition."""

    backlog: int | None
    """Records that are not read yet, including those of open transactions; None: not known yet."""
    seen_at_ms: int | None
    """When the backlog was measured, by the brokers' clock."""
    lowest_ms: int | None
    """The lowest timestamp among the latest records; None: too few were read."""


def own_watermark(inputs: Iterable[InputPosition], topics_seen_at_ms: int) -> int | None:
    """Return the lowest timestamp that a shard's inputs may still bring; None: not known.

    This is the lowest of these times:

    - For a partition that is read to its end, the time of the last fetch: all further records
      arrive later. This time may be old if the leader is unreachable.
    - For a partition with a backlog, the lowest timestamp among its latest records that were read.
    - The time of the last topic check: partitions that were added later are not known yet.
    """
    watermark_ms = topics_seen_at_ms
    for position in inputs:
        lowest_ms = position.lowest_ms if position.backlog else position.seen_at_ms
        if position.backlog is None or lowest_ms is None:
            return None
        watermark_ms = min(watermark_ms, lowest_ms)
    return watermark_ms


def announcement(shard: int, watermark_ms: int) -> list[tuple[str, bytes | None]]:
    """Return the headers of an announcement; it has neither key nor value.

    A producer of an input cannot forge an announcement: a forwarded record always has another last
    header, which the forwarding shard adds.
    """
    return [(WATERMARK_HEADER, _ANNOUNCEMENT.pack(shard, watermark_ms))]


def is_announcement(headers: Headers) -> bool:
    """Return whether a record of the repartition topic is an announcement, not a forward."""
    if not headers:
        return False
    name, value = headers[-1]
    return name == WATERMARK_HEADER and value is not None and len(value) == _ANNOUNCEMENT.size
