"""How much poison of one partition may go to the dead letters: a share over a window. Pure.

The window is counted in offsets of the partition and so depends on the log alone: neither on how
records were cut into transactions nor on when the process was started. Whoever starts anew and
counts the offsets before its position again comes to the same answer, at the same record.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import structlog

from consumer.config import PREFIX, Settings
from consumer.errors import LimitReached
from consumer.kafka.types import TopicPartition
from consumer.pipeline.decider import Decision, process
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


class Poison(NamedTuple):
    """One dead letter: where its record lies, and why it is one."""

    offset: int
    reason: Reason


class Breach(NamedTuple):
    """The limit is reached: the poison of the window that ends with ``last_offset``."""

    source: TopicPartition
    first_offset: int
    last_offset: int
    reasons: Counter[Reason]


class DeadLetterLimit:
    """Counts poison by partition. With a limit of 10% of 1,000 offsets the 100th breaks it.

    A window that has only begun is not taken for a small one: where less was read than the window
    holds, it takes as many dead letters as in a full one, so the first poison of a topic stops
    nothing.
    """

    def __init__(self, percent: int, window_offsets: int) -> None:
        self.window_offsets = window_offsets
        self.least_poison = max(1, -(-percent * window_offsets // 100))
        self._windows: dict[TopicPartition, deque[Poison]] = {}

    def count(self, source: TopicPartition, poison: Iterable[Poison]) -> Breach | None:
        """Take in poison of one partition, in the order of its offsets; tell the first breach."""
        window = self._windows.setdefault(source, deque())
        breach = None
        for found in poison:
            window.append(found)
            while window[0].offset <= found.offset - self.window_offsets:
                window.popleft()
            if breach is None and len(window) >= self.least_poison:
                reasons = Counter(one.reason for one in window)
                breach = Breach(source, window[0].offset, found.offset, reasons)
        return breach


# The dead-letter limit of one shard: looked at before a transaction, and after a start anew.
#
# The limit must survive a restart, or a supervisor that starts the process again and again would
# drain a topic into the dead letters window by window. Nothing is stored for it: the records before
# the position still lie in the input, and deciding about them again tells which were poison.

LOOK_BACK_SECONDS: Final = 20.0
FETCH_MS: Final = 100
FETCH_RECORDS: Final = 500
NO_CEILING_MS: Final = 2**62
_NOT_COUNTED: Final = frozenset({Reason.CONFLICTING_DUPLICATE, Reason.TOMBSTONE})
log = structlog.get_logger(__name__)


class DeadLetterGuard:
    """Refuses a decision whose dead letters reach the limit, before anything of it is written."""

    def __init__(self, settings: Settings, readers: SideReaders) -> None:
        self._readers = readers
        self._percent = settings.dead_letter_limit_percent
        self._limit = DeadLetterLimit(self._percent, settings.dead_letter_window_records)
        self._looked_back: set[TopicPartition] = set()

    async def check(
        self, context: ShardContext, buffer: Buffer, decision: Decision, seen: SeenIds
    ) -> None:
        """Let a decision pass, or end the process.

        1. A decision without poison passes; the window is made of poison alone.
        2. At the first poison of a partition since the start, look back over its window.
        3. Count.

        `seen` is the memory that the decision was made against.

        Raises:
            LimitReached: a partition has too much poison; what is gathered stays unread.
            TaskFailed: the broker did not show the window.
        """
        if not self._percent or not decision.dead_letters:  # 1.
            return
        first_offsets: dict[TopicPartition, int] = {}
        ends: dict[TopicPartition, int] = {}
        for source, records in buffer:
            first_offsets.setdefault(source, records[0].offset)
            ends[source] = records[-1].offset
        for source, poison in _by_source(context, decision, ends).items():
            if source not in self._looked_back:  # 2.
                end = first_offsets[source]
                before = await self._look_back(context, source, end, seen)
                self._limit.count(source, before)
                self._looked_back.add(source)
            breach = self._limit.count(source, poison)  # 3.
            if breach is not None:
                raise self._refusal(context, breach, first_offsets[source])

    async def _look_back(
        self, context: ShardContext, source: TopicPartition, end: int, seen: SeenIds
    ) -> list[Poison]:
        """Decide once more about the window before ``end``, for the sake of its poison."""
        async with self._readers.open(context, committed_only=True) as reader:
            log_start = (await reader.beginning_offsets([source]))[source]
            start = max(log_start, end - self._limit.window_offsets)
            if start >= end:
                return []
            deadline = context.clock() + LOOK_BACK_SECONDS
            reader.assign({source: start})
            poison: list[Poison] = []
            while reader.position(source) < end:
                context.heartbeat.beat()
                if context.clock() > deadline:
                    # Huge records: the rest of the window is given up rather than the shard.
                    log.warning("dead_letter_window_cut", shard=context.shard, **source._asdict())
                    break
                for records in (await reader.fetch(FETCH_MS, FETCH_RECORDS)).values():
                    before = [record for record in records if record.offset < end]
                    poison += _poison_again(context, source, before, seen)
                await asyncio.sleep(0)
            return poison

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
            f"more; it is left unread from offset {unread_from} on: mend the producer, and then "
            f"let these records go to the dead letters by a higher "
            f"{PREFIX}DEAD_LETTER_LIMIT_PERCENT (0: no limit), or delete them from the input"
        )


def _by_source(
    context: ShardContext, decision: Decision, ends: dict[TopicPartition, int]
) -> dict[TopicPartition, list[Poison]]:
    """Return the poison of each partition that was read, in the order of its offsets."""
    found: dict[TopicPartition, list[Poison]] = {}
    for letter in _poison_letters(decision):
        source = TopicPartition(letter.origin.topic, letter.origin.partition)
        offset = letter.origin.offset
        if source not in ends:
            # It was forwarded, and its origin names a partition of another shard. Where it lay in
            # the repartition topic is not told: it counts where what was read of that ends.
            source = TopicPartition(context.settings.repartition_topic, context.shard)
            offset = ends[source]
        found.setdefault(source, []).append(Poison(offset, letter.reason))
    return found


def _poison_again(
    context: ShardContext,
    source: TopicPartition,
    records: Sequence[SourceRecord],
    seen: SeenIds,
) -> list[Poison]:
    """Return the poison among records before the position, in the order of their offsets.

    1. Without a memory: whatever the records are, they cannot be taken for duplicates.
    2. With the memory as it is: which conflicts it has no room for. They are all that counts here.
    """
    if not records:
        return []
    last_offset = records[-1].offset
    forwarded = context.is_forwards(source)
    if forwarded:
        records = [record for record in records if not is_announcement(record.headers)]
    batch = SourceBatch(source.topic, source.partition, records, forwarded)
    pipeline, again = context.pipeline(), Decision()
    process(pipeline, SeenIds(0), batch, again, NO_CEILING_MS)  # 1.
    again.unremembered = _unremembered(pipeline, seen, batch)  # 2.
    poison = _by_source(context, again, {source: last_offset}).get(source, [])
    return sorted(poison, key=lambda one: one.offset)


def _unremembered(pipeline: ShardSettings, seen: SeenIds, batch: SourceBatch) -> list[DeadLetter]:
    decision = Decision()
    process(pipeline, seen, batch, decision, NO_CEILING_MS)
    return decision.unremembered


def _poison_letters(decision: Decision) -> Iterator[DeadLetter]:
    """Yield the dead letters that count, in the order of their records.

    A conflicting duplicate that is remembered does not: it is a sound record, its id is published,
    nothing is kept from the subscribers by it, and it is a dead letter only once. One that memory
    has no room for does: there is no end of those. A tombstone does not: it never was a checkpoint,
    and on a compacted input there may be any number of them.
    """
    counted = [letter for letter in decision.dead_letters if letter.reason not in _NOT_COUNTED]
    letters = [*counted, *decision.unremembered]
    yield from sorted(letters, key=lambda letter: letter.origin.offset)
