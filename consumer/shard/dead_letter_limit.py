"""The dead-letter limit: the share of invalid records in a window of offsets of one partition.

The window is a number of offsets. So the result depends only on the log, and not on the size of
transactions or the time of a start. A new process counts the dead letters of the window before its
position again, and so reaches the limit at the same record.

The count must survive a restart. Otherwise, if Kubernetes restarts the process again and again,
each process would write more dead letters before it ends, until it reaches the end of the input.
The count is not stored. Instead, the new process reads the records before its position from the
input again, and decides about them again. This shows which of them became dead letters.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import structlog

from consumer.config import PREFIX, Settings
from consumer.errors import LimitReached, TimedOut
from consumer.kafka.read import OffsetRange, read_range
from consumer.kafka.types import TopicPartition
from consumer.pipeline.decider import Decider, Decision
from consumer.pipeline.records import (
    DeadLetter,
    Reason,
    ShardSettings,
    SourceBatch,
    SourceRecord,
)
from consumer.pipeline.seen_ids import SeenIds
from consumer.shard.buffer import Buffer
from consumer.shard.context import ShardContext, SideReaders
from consumer.shard.watermark import is_announcement

LOOK_BACK_SECONDS: Final = 20.0
FETCH_MS: Final = 100
FETCH_RECORDS: Final = 500
NO_CEILING_MS: Final = 2**62
_NOT_COUNTED: Final = frozenset({Reason.CONFLICTING_DUPLICATE, Reason.TOMBSTONE})
log = structlog.get_logger(__name__)


class CountedDeadLetter(NamedTuple):
    """A dead letter that counts for the limit: the offset at which it counts, and the reason."""

    offset: int
    reason: Reason


class Breach(NamedTuple):
    """The dead letters in a window that has reached the limit.

    ``last_offset`` is the offset of the dead letter with which the window reached the limit.
    """

    source: TopicPartition
    first_offset: int
    last_offset: int
    reasons: Counter[Reason]


class DeadLetterLimit:
    """Counts dead letters by partition, without I/O.

    The limit is a percentage of the whole window, even while fewer offsets were read. With 10% of
    1,000 offsets, the 100th dead letter in a window reaches the limit. A percentage of the offsets
    read so far would already be reached by an invalid first record.
    """

    def __init__(self, percent: int, window_offsets: int) -> None:
        self.window_offsets = window_offsets
        self.threshold = max(1, -(-percent * window_offsets // 100))
        self._windows: dict[TopicPartition, deque[CountedDeadLetter]] = {}

    def count(
        self, source: TopicPartition, dead_letters: Iterable[CountedDeadLetter]
    ) -> Breach | None:
        """Add dead letters of one partition, in offset order; return the first breach, or None."""
        window = self._windows.setdefault(source, deque())
        breach = None
        for added in dead_letters:
            window.append(added)
            while window[0].offset <= added.offset - self.window_offsets:
                window.popleft()
            if breach is None and len(window) >= self.threshold:
                reasons = Counter(one.reason for one in window)
                breach = Breach(source, window[0].offset, added.offset, reasons)
        return breach


class DeadLetterGuard:
    """Refuses a decision whose dead letters reach the limit, before any part of it is written."""

    def __init__(self, settings: Settings, readers: SideReaders) -> None:
        self._readers = readers
        self._percent = settings.dead_letter_limit_percent
        self._limit = DeadLetterLimit(self._percent, settings.dead_letter_window_records)
        self._looked_back: set[TopicPartition] = set()

    async def check(
        self, context: ShardContext, buffer: Buffer, decision: Decision, seen: SeenIds
    ) -> None:
        """Accept a decision, or raise ``LimitReached``, which ends the process.

        1. Accept any decision if there is no limit, and a decision without dead letters.
        2. At the first dead letter of a partition in this task, first count the dead letters in
           the window before the partition's buffered records.
        3. Count the dead letters of the decision.

        `seen` is the memory that the decision was made against.

        Raises:
            LimitReached: a partition has too many dead letters. Nothing of this decision is
                committed.
            TaskFailed, TransientError, ClusterError: the records of the window cannot be read. If
                this read only takes too long, nothing is raised; the rest of it is not counted.
        """
        if not self._percent or not decision.dead_letters:  # 1.
            return
        first_offsets: dict[TopicPartition, int] = {}
        ends: dict[TopicPartition, int] = {}
        for source, records in buffer:
            first_offsets.setdefault(source, records[0].offset)
            ends[source] = records[-1].offset
        for source, dead_letters in _by_source(context, decision, ends).items():
            if source not in self._looked_back:  # 2.
                end = first_offsets[source]
                before = await self._look_back(context, source, end, seen)
                self._limit.count(source, before)
                self._looked_back.add(source)
            breach = self._limit.count(source, dead_letters)  # 3.
            if breach is not None:
                raise self._refusal(context, breach, first_offsets[source])

    async def _look_back(
        self, context: ShardContext, source: TopicPartition, end: int, seen: SeenIds
    ) -> list[CountedDeadLetter]:
        """Decide again about the window before ``end``; return the dead letters that count."""
        options = context.read_options._replace(
            max_records=FETCH_RECORDS,
            fetch_ms=FETCH_MS,
            stall_seconds=math.inf,
            total_seconds=LOOK_BACK_SECONDS,
            purpose="the window of the dead-letter limit",
        )
        found: list[CountedDeadLetter] = []
        async with self._readers.open(context, committed_only=True) as reader:
            log_start = (await reader.beginning_offsets([source]))[source]
            window = OffsetRange(max(log_start, end - self._limit.window_offsets), end)
            try:
                async for batch in read_range(reader, {source: window}, options):
                    found += _decide_again(context, source, batch.records, seen)
            except TimedOut as error:
                # The window was not read in time, for example because its records are large. Do not
                # count the rest of the window. This is better than to stop the shard.
                log.warning(
                    "dead_letter_window_cut",
                    shard=context.shard,
                    **source._asdict(),
                    error=str(error),
                )
        return found

    def _refusal(self, context: ShardContext, breach: Breach, unread_from: int) -> LimitReached:
        topic, partition = breach.source
        reasons = ", ".join(f"{reason} {count}" for reason, count in breach.reasons.most_common())
        log.error(
            "dead_letter_limit_reached",
            shard=context.shard,
            topic=topic,
            partition=partition,
            first_offset=breach.first_offset,
            last_offset=breach.last_offset,
            unread_from=unread_from,
            reasons={str(reason): count for reason, count in breach.reasons.items()},
        )
        return LimitReached(
            f"dead-letter limit: {topic}/{partition} has {breach.reasons.total()} records that "
            f"cannot be published ({reasons}) from offset {breach.first_offset} to "
            f"{breach.last_offset}, which is {self._percent}% of {self._limit.window_offsets} or "
            f"more. The partition is unread from offset {unread_from} on. Fix the producer. Then "
            f"raise {PREFIX}DEAD_LETTER_LIMIT_PERCENT (0: no limit) so that these records become "
            f"dead letters, or delete them from the input"
        )


def _by_source(
    context: ShardContext, decision: Decision, ends: dict[TopicPartition, int]
) -> dict[TopicPartition, list[CountedDeadLetter]]:
    """Return the dead letters that count for the limit, by the partition that was read.

    `ends` has the last offset that was read of each partition.
    """
    found: dict[TopicPartition, list[CountedDeadLetter]] = {}
    for letter in _counted(decision):
        source = TopicPartition(letter.origin.topic, letter.origin.partition)
        offset = letter.origin.offset
        if source not in ends:
            # The record is a forward: its origin is a partition of another shard. The offset of the
            # forward in the repartition topic is not known here. So the dead letter counts at the
            # last offset of the repartition partition in the buffer.
            source = TopicPartition(context.settings.repartition_topic, context.shard)
            offset = ends[source]
        found.setdefault(source, []).append(CountedDeadLetter(offset, letter.reason))
    return found


def _decide_again(
    context: ShardContext,
    source: TopicPartition,
    records: Sequence[SourceRecord],
    seen: SeenIds,
) -> list[CountedDeadLetter]:
    """Return the dead letters that count among records before the position, in offset order.

    1. Decide with an empty memory. With the current memory, a record that became a dead letter
       could now be a duplicate, because its id was published later.
    2. Decide with the current memory, to find the conflicting duplicates for whose content the
       memory has no room.
    """
    if not records:
        return []
    last_offset = records[-1].offset
    forwarded = context.is_forwards(source)
    if forwarded:
        records = [record for record in records if not is_announcement(record.headers)]
    batch = SourceBatch(source.topic, source.partition, records, forwarded)
    pipeline, again = context.pipeline(), Decision()
    Decider(pipeline, SeenIds(0)).decide(batch, again, NO_CEILING_MS)  # 1.
    again.unremembered = _unremembered(pipeline, seen, batch)  # 2.
    found = _by_source(context, again, {source: last_offset}).get(source, [])
    return sorted(found, key=lambda one: one.offset)


def _unremembered(pipeline: ShardSettings, seen: SeenIds, batch: SourceBatch) -> list[DeadLetter]:
    decision = Decision()
    Decider(pipeline, seen).decide(batch, decision, NO_CEILING_MS)
    return decision.unremembered


def _counted(decision: Decision) -> Iterator[DeadLetter]:
    """Yield the dead letters that count for the limit, in the order of their records.

    A conflicting duplicate does not count if the memory remembers its content. Its id is published,
    so subscribers miss nothing, and the same content becomes a dead letter only once. A conflicting
    duplicate counts if the memory has no room for its content: the number of such records has no
    limit. A tombstone does not count: it is no checkpoint, and a compacted input can hold any
    number of tombstones.
    """
    counted = [letter for letter in decision.dead_letters if letter.reason not in _NOT_COUNTED]
    letters = [*counted, *decision.unremembered]
    yield from sorted(letters, key=lambda letter: letter.origin.offset)
