"""A running shard: gather records, decide, write one transaction, only then change memory."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import structlog
from msgspec.structs import replace

from consumer.errors import CheckpointReadyError, TaskFailed, TimedOut
from consumer.kafka.held_back import NOT_HELD_BACK, UNANSWERED_SECONDS, HeldBackLog, HeldBackSources
from consumer.kafka.port import LogReader, TransactionalWriter, TransactionBatches
from consumer.kafka.types import TopicPartition
from consumer.pipeline.decider import Decision, process
from consumer.pipeline.records import Counts, SourceBatch
from consumer.shard.buffer import Buffer, Gathered
from consumer.shard.changelog import ShardState
from consumer.shard.commit_policy import CommitPolicy, TransactionSizeLimit
from consumer.shard.context import ShardContext, SideReaders
from consumer.shard.dead_letter_limit import DeadLetterGuard
from consumer.shard.events import LostTransaction, Observer, Step
from consumer.shard.progress import Continuity, Progress, judge
from consumer.shard.start_positions import inspect, unread_lost
from consumer.shard.status import SourceView
from consumer.shard.transaction import apply_to_memory, build_transaction, report
from consumer.shard.watermark import Watermarks

# Between chunks the event loop runs, so that heartbeats and the other shards go on.
DECIDE_CHUNK: Final = 500
# A record may be this much later than the brokers' time as it is known here: their clocks differ a
# little, and their answers take a moment.
CEILING_SLACK_MS: Final = 1000
# How often an idle shard saves that its position has moved behind markers. They come behind the
# transaction that is handled, and retention may delete them before the next one saves progress.
MOVED_SECONDS: Final = 60.0
INTACT: Final = Continuity.INTACT
log = structlog.get_logger(__name__)


class ShardLoop:
    """The part of a task that repeats. Any error it raises is in doubt: drop the task.

    A decision is made against the memory, written in one transaction, and applied to the memory
    after the commit returned. The next batch is decided only then: one decided ahead would not
    know the ids of the one before.
    """

    def __init__(  # noqa: PLR0913 - what a task has prepared for it
        self,
        context: ShardContext,
        *,
        memory: ShardState,
        reader: LogReader,
        writer: TransactionalWriter,
        readers: SideReaders,
        observer: Observer,
        positions: Mapping[TopicPartition, int],
        limit: TransactionSizeLimit,
        topics_seen_at: float,
    ) -> None:
        self.transactions = 0
        self.handled_records = 0
        self._context = context
        self._memory = memory
        self._reader = reader
        self._writer = writer
        self._readers = readers
        self._observer = observer
        self._clock = context.clock
        self._pipeline = context.pipeline()
        self._limit = limit
        self._commit_policy = CommitPolicy(context.settings.commit_interval_ms / 1000, limit)
        self._guard = DeadLetterGuard(context.settings, readers)
        self._sources = list(positions)
        self._reader.assign(positions)
        self._reader.use_running_fetch_settings()
        self._held_back = HeldBackSources()
        self._held_back_log = HeldBackLog(context.shard, context.settings.bootstrap_servers)
        self._buffer = Buffer()
        self._pending_progress: dict[TopicPartition, Progress] = {}
        self._next_moved = self._clock() + MOVED_SECONDS
        self._uncounted = Counts()
        self._consumed_by_topic: Counter[str] = Counter()  # decided, and not reported yet
        self._running_since = time.monotonic()
        self._watermarks = Watermarks(
            context.topology.shards, context.settings.dedup_window_seconds, topics_seen_at
        )

    async def run_once(self) -> None:
        """Gather; when due, decide and make the decision true.

        Raises:
            TaskFailed, ClusterError: the transaction's outcome is in doubt.
            LimitReached: the decision holds more dead letters than are allowed.
        """
        await self._gather()
        if self._reader.needs_revalidation:
            await self._judge_again()
        now = self._clock()
        if self._held_back.check(now, self._reader, self._sources):
            self._held_back_log.check(now, self._held_back.views)
        if self._commit_policy.is_decision_due(
            now,
            records=self._buffer.records,
            size_bytes=self._buffer.size_bytes,
            caught_up=self._is_caught_up(),
        ):
            decision = await self._decide()
            seen = self._memory.seen
            await self._guard.check(self._context, self._buffer, decision, seen)
            progress = {**self._pending_progress, **self._progress_behind(decision.stream_time_ms)}
            if decision.needs_commit:
                await self._write(decision, progress, began=now, sources=tuple(self._buffer))
            else:
                self._defer_progress(decision, progress)
            self._buffer = Buffer()
        elif self._commit_policy.is_progress_due(now):
            await self._save_progress()
        elif now >= self._next_moved:
            self._next_moved = now + MOVED_SECONDS
            self._record_moved(now)
        if not self._buffer:
            await self._announce_watermark()
            await self._forget_more()

    async def save_all_progress(self) -> None:
        """Commit, at an orderly end, whatever is handled and not saved."""
        if not self._is_unanswered():  # a broker that is gone must not hold up the end
            self._record_moved(self._clock())
        await self._save_progress()

    async def _save_progress(self) -> None:
        """Commit progress over records that were all duplicates, or over markers alone."""
        if self._pending_progress:
            await self._write(self._new_decision(), self._pending_progress, began=self._clock())

    async def write_markers(self, partitions: Iterable[TopicPartition]) -> None:
        """Write the marker that the brokers have left out of a transaction that we committed.

        Raises:
            TaskFailed, ClusterError: the outcome is in doubt.
        """
        await self._writer.commit_in(partitions)

    async def refresh_topology(self, context: ShardContext, topics_seen_at: float) -> None:
        """Take over what the topics were like at that time (monotonic seconds).

        Raises:
            TaskFailed: a source is another topic now; the start of the next task deals with it.
        """
        for source in self._sources:
            (id_before, epoch_before), (id_now, epoch_now) = (
                self._context.identity(source),
                context.identity(source),
            )
            if None not in {id_before, id_now} and id_before != id_now:
                raise TaskFailed(f"topic {source.topic} was deleted and created again")
            if epoch_before != epoch_now:  # another leader, which may lack records
                self._reader.needs_revalidation = True
        if context.topology != self._context.topology:
            await self._apply_topology(context)
        self._watermarks.topics_seen_at = topics_seen_at

    async def _apply_topology(self, context: ShardContext) -> None:
        """Go by changed topics: their limits, and new input partitions from their beginning.

        The other sources go on where they are.
        """
        self._context, self._pipeline = context, context.pipeline()
        await self._writer.refresh()
        fresh = [source for source in context.sources() if source not in self._sources]
        if not fresh:
            return
        starts = await self._reader.beginning_offsets(fresh)
        # What is gathered but not decided yet lies before the reader's position and stays.
        positions = {source: self._reader.position(source) for source in self._sources}
        positions.update(starts)
        self._sources = list(positions)
        self._reader.assign(positions)
        for source, log_start in starts.items():
            if log_start > 0:
                unread_lost(context, source, 0, log_start)
            born = Progress(log_start, self._memory.seen.stream_time_ms)
            self._pending_progress[source] = born.identified(context.identity(source))
        self._commit_policy.record_moved(self._clock())
        names = [f"{source.topic}/{source.partition}" for source in fresh]
        log.info("sources_added", shard=context.shard, sources=names)

    @property
    def positions(self) -> dict[TopicPartition, int]:
        """The next offset of each source that is handled; for lag tools.

        With nothing in hand it is the reader's position, which also lies behind the markers of
        transactions; else what is committed.
        """
        if not self._buffer:
            return {source: self._reader.position(source) for source in self._sources}
        known = {**self._memory.progress, **self._pending_progress}
        return {s: known[s].next_offset for s in self._sources if s in known}

    @property
    def is_behind(self) -> bool:
        """Whether records are not handled yet, or whether there are any is not known."""
        return (
            bool(self._buffer)
            or not self._is_caught_up()
            # Whose fetches are not answered may have any backlog.
            or self._is_unanswered()
        )

    @property
    def source_views(self) -> tuple[SourceView, ...]:
        """What is known of each source's lag, records in hand included."""
        now, in_hand = time.monotonic(), Counter[TopicPartition]()
        for source, records in self._buffer:
            in_hand[source] += len(records)
        held_back, views = self._held_back.views, []
        for source in self._sources:
            lag = self._reader.lag(source)
            seen_at = self._reader.seen_at(source) or self._running_since
            view = SourceView(
                *source,
                lag=None if lag is None else lag + in_hand[source],
                unanswered_seconds=max(0.0, now - seen_at),
                held_back=held_back.get(source, NOT_HELD_BACK),
            )
            # That there is no lag is an answer's word, and good for a moment only.
            is_unknown = view.is_silent and not view.lag
            views.append(replace(view, lag=None, held_back=None) if is_unknown else view)
        return tuple(views)

    async def _gather(self) -> None:
        room = max(1, self._limit.records - self._buffer.records)
        timeout_ms = self._commit_policy.fetch_timeout_ms(
            self._clock(), caught_up=self._is_caught_up()
        )
        fetched = await self._reader.fetch(timeout_ms, room)
        self._buffer.add(fetched, self._reader.position)
        if fetched:
            self._commit_policy.record_buffered(self._clock())

    async def _judge_again(self) -> None:
        """Make sure that the sources still are what they were, before anything more is decided.

        1. Give back what is gathered: some of it may be of before, and some of after.
        2. Judge each source by what is handled of it, with another reader.

        Raises:
            TaskFailed: one is not, or does not answer; the start of the next task deals with it.
        """
        self._reader.needs_revalidation = False  # before: a new doubt meanwhile must not be missed
        handled = self._handled()
        self._buffer = Buffer()  # 1.
        self._commit_policy.record_dropped()
        self._reader.assign({source: progress.next_offset for source, progress in handled.items()})
        async with self._readers.open(self._context, committed_only=False) as look:  # 2.
            found = await inspect(self._context, look, self._readers.admin, handled)
        broken = [
            f"{source.topic}/{source.partition} was {verdict.continuity.value} up to "
            f"{verdict.resume_at}"
            for source, progress in handled.items()
            if (verdict := judge(progress, found[source])) != (INTACT, progress.next_offset)
        ]
        if broken:
            raise TaskFailed(f"{', '.join(broken)} while it was read")

    def _handled(self) -> dict[TopicPartition, Progress]:
        """Return how far each source is handled, saved or not; markers at its end included."""
        known = {**self._memory.progress, **self._pending_progress}
        gathered = {source for source, _ in self._buffer}
        return {
            source: known[source]
            if source in gathered
            else replace(
                known[source],
                next_offset=max(known[source].next_offset, self._reader.position(source)),
            )
            for source in self._sources
        }

    def _progress_behind(self, stream_time_ms: int) -> dict[TopicPartition, Progress]:
        """Return the progress of what is gathered, with the identity that was judged last."""
        known = {**self._memory.progress, **self._pending_progress}
        return {
            source: progress.following(known[source]).identified(self._context.identity(source))
            for source, progress in self._buffer.progress_behind(stream_time_ms).items()
        }

    def _record_moved(self, now: float) -> None:
        """Remember positions that moved without a record: behind markers, or aborted records."""
        moved = {
            source: progress
            for source, progress in self._handled().items()
            if progress.next_offset > self._known_offset(source)
        }
        if moved:
            self._pending_progress = {**self._pending_progress, **moved}
            self._commit_policy.record_moved(now)

    def _known_offset(self, source: TopicPartition) -> int:
        return (self._pending_progress.get(source) or self._memory.progress[source]).next_offset

    def _is_unanswered(self) -> bool:
        unseen = time.monotonic() - UNANSWERED_SECONDS
        return any((self._reader.seen_at(s) or 0) < unseen for s in self._sources)

    async def _announce_watermark(self) -> None:
        """Tell all shards now and then how far back our inputs may still reach."""
        now = self._clock()
        if not self._watermarks.is_due(now):
            return
        inputs = [source for source in self._sources if not self._context.is_forwards(source)]
        announced_ms = self._watermarks.own_ms(self._reader, inputs, self._writer.broker_clock)
        if announced_ms is not None:
            await self._write(self._new_decision(), self._pending_progress, now, announced_ms)
            self._watermarks.record_announced(now)

    async def _forget_more(self) -> None:
        """Go on with tombstones where one transaction could not hold them all."""
        if self._watermarks.is_more_expired:
            decision = self._new_decision()
            self._watermarks.add_tombstones(self._memory.seen, decision)
            if decision.needs_commit:
                await self._write(decision, self._pending_progress, began=self._clock())

    def _is_caught_up(self) -> bool:
        return not any(self._reader.lag(source) for source in self._sources)

    async def _decide(self) -> Decision:
        decision = self._new_decision()
        ceiling_ms = self._writer.broker_clock.now_ms() + CEILING_SLACK_MS
        for source, gathered in self._buffer:
            forwarded = self._context.is_forwards(source)
            records = self._watermarks.extract(gathered) if forwarded else gathered
            for begin in range(0, len(records), DECIDE_CHUNK):
                chunk = records[begin : begin + DECIDE_CHUNK]
                batch = SourceBatch(source.topic, source.partition, chunk, forwarded)
                process(self._pipeline, self._memory.seen, batch, decision, ceiling_ms)
                self._consumed_by_topic[source.topic] += len(chunk)
                await asyncio.sleep(0)
            if not forwarded:
                self._watermarks.record_read(source, gathered)
        self._watermarks.add_tombstones(self._memory.seen, decision)
        return decision

    def _new_decision(self) -> Decision:
        decision = Decision(stream_time_ms=self._memory.seen.stream_time_ms)
        decision.counts, self._uncounted = self._uncounted, Counts()
        return decision

    async def _write(
        self,
        decision: Decision,
        progress: Mapping[TopicPartition, Progress],
        began: float,
        announced_ms: int | None = None,
        sources: Sequence[Gathered] = (),
    ) -> None:
        """Make a decision true; `sources` are what it was decided from.

        1. Build every batch, before a transaction is open.
        2. Send them and check each one's own outcome.
        3. Commit; until it returns, its outcome is unknown.
        4. Change memory, and only now.
        """
        shard = self._context.shard
        transaction = self._context.new_batches(self._writer)
        build_transaction(self._context, transaction, decision, progress, announced_ms)  # 1.
        self._observer.on_step(shard, Step.DECIDED)
        try:
            await self._send_and_commit(transaction)  # 2., 3.
        except CheckpointReadyError as error:
            duration_ms = (self._clock() - began) * 1000
            self._observer.on_transaction_lost(LostTransaction(shard, error, duration_ms, sources))
            raise
        self._observer.on_step(shard, Step.COMMITTED)
        apply_to_memory(self._memory, decision, progress)  # 4.
        self._pending_progress = {}
        self._limit.record_commit(self._buffer.records)
        self.transactions += 1
        self.handled_records += decision.counts.consumed
        now = self._clock()
        self._commit_policy.record_commit(now)
        by_topic, self._consumed_by_topic = self._consumed_by_topic, Counter()
        duration_ms = (now - began) * 1000
        self._observer.on_transaction(
            report(shard, decision, progress, duration_ms, by_topic, sources=sources)
        )

    async def _send_and_commit(self, transaction: TransactionBatches) -> None:
        shard = self._context.shard
        try:
            await self._writer.send(transaction)
        except TimedOut:
            self._limit.record_timeout(self._buffer.records)
            log.warning("transaction_too_slow", shard=shard, records_from_now=self._limit.records)
            raise
        self._observer.on_step(shard, Step.SENT)
        self._observer.on_step(shard, Step.COMMITTING)
        await self._writer.commit()

    def _defer_progress(
        self, decision: Decision, progress: Mapping[TopicPartition, Progress]
    ) -> None:
        """Remember progress and counts over mere duplicates; the next commit saves them."""
        self._pending_progress = dict(progress)
        self._uncounted = decision.counts
        self._memory.seen.stream_time_ms = decision.stream_time_ms
        self._commit_policy.record_deferred(self._clock())
