"""The loop of a running shard: gather, decide, commit one transaction, only then apply it."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import structlog

from consumer.errors import CheckpointReadyError, Leaderless, TimedOut
from consumer.kafka.port import TransactionalWriter, TransactionBatches
from consumer.kafka.types import TopicPartition
from consumer.pipeline.decider import Decider, Decision
from consumer.pipeline.records import Counts, SourceBatch
from consumer.shard.buffer import Gathered
from consumer.shard.changelog import ShardState
from consumer.shard.commit_policy import CommitPolicy, TransactionSizeLimit
from consumer.shard.context import ShardContext, SideReaders
from consumer.shard.dead_letter_limit import DeadLetterGuard
from consumer.shard.events import LostTransaction, Observer, Step
from consumer.shard.progress import Progress
from consumer.shard.sources import Sources
from consumer.shard.transaction import apply_to_memory, build_transaction, report
from consumer.shard.watermark import Announcement, Watermarks

# Records in a chunk. After each chunk the event loop runs, so that heartbeats and the other shards
# continue.
DECIDE_CHUNK: Final = 500
# A record's timestamp is trusted if it is at most this much later than the brokers' time. This
# process only estimates that time: the brokers' clocks differ a little, and their responses take a
# moment.
CEILING_SLACK_MS: Final = 1000
# How often an idle shard saves positions that moved over transaction markers. Otherwise retention
# could delete the markers first, and the next start would report them as lost records.
MOVED_SECONDS: Final = 60.0
log = structlog.get_logger(__name__)


class ShardLoop:
    """The repeated part of a task. After any error the outcome is in doubt: close the task.

    The loop decides against the memory, writes the decision in one transaction, and applies it to
    the memory after the commit returned. Only then does it make the next decision. Without the ids
    of the previous decision in the memory, the next decision could publish these ids again.
    """

    def __init__(  # noqa: PLR0913 - what a task has prepared for it
        self,
        context: ShardContext,
        *,
        memory: ShardState,
        sources: Sources,
        writer: TransactionalWriter,
        readers: SideReaders,
        observer: Observer,
        limit: TransactionSizeLimit,
        topics_seen_at: float,
    ) -> None:
        """`topics_seen_at` is the time of the last check of the topics, in monotonic seconds."""
        self.sources = sources
        self.transactions = 0
        self.handled_records = 0
        self._context = context
        self._memory = memory
        self._writer = writer
        self._observer = observer
        self._clock = context.clock
        self._decider = Decider(context.pipeline(), memory.seen)
        self._limit = limit
        self._commit_policy = CommitPolicy(context.settings.commit_interval_ms / 1000, limit)
        self._guard = DeadLetterGuard(context.settings, readers)
        self._next_moved = self._clock() + MOVED_SECONDS
        self._is_check_due = False  # of the deferred sources
        self._unreported_counts = Counts()
        self._unreported_topics: Counter[str] = Counter()
        self._watermarks = Watermarks(
            context.topology.shards, context.settings.dedup_window_seconds, topics_seen_at
        )

    async def run_once(self) -> None:
        """Gather records. If a decision is due, decide, commit one transaction, and then apply it.

        1. Fetch records of the sources into the buffer.
        2. If a decision is due, decide about all buffered records, against the memory.
        3. Write the decision and the progress in one transaction. If the decision has no output,
           keep its progress for a later transaction instead.
        4. Apply the decision to the memory, after the commit returned.

        If no decision is due, commit pending progress when its time has come. With an empty buffer,
        also write an announcement and further tombstones, if they are due.

        Raises:
            TaskFailed, ClusterError: the transaction's outcome is in doubt.
            LimitReached: with this decision, the dead letters of a partition reach the limit.
        """
        now = await self._gather()  # 1.
        if self._is_decision_due(now):
            buffer = self.sources.buffer
            decision = await self._decide()  # 2.
            await self._guard.check(self._context, buffer, decision, self._memory.seen)
            progress = self.sources.buffered_progress(decision.stream_time_ms)
            if decision.needs_commit:
                await self._commit(decision, progress, began=now, records=tuple(buffer))  # 3., 4.
            else:
                self._defer(decision, progress)
            self.sources.clear_buffer()
            self._commit_policy.record_emptied()
        elif self._commit_policy.is_progress_due(now):
            await self._commit_pending_progress()
        elif now >= self._next_moved:
            self._next_moved = now + MOVED_SECONDS
            self._defer_moved_positions(now)
        if not self.sources.buffer:
            await self._announce_watermark()
            await self._continue_expiry()

    async def save_all_progress(self) -> None:
        """At an orderly end, commit the progress of all handled records."""
        # If a leader does not answer, a transaction may have to wait for it. Positions that moved
        # over markers are not worth this wait.
        if not self.sources.is_unanswered:
            self._defer_moved_positions(self._clock())
        await self._commit_pending_progress()

    async def write_markers(self, partitions: Iterable[TopicPartition]) -> None:
        """Commit a transaction without records in these partitions.

        The markers of this commit also end an earlier transaction there: the task has committed
        the earlier transaction, but the brokers did not write its markers.

        Raises:
            TaskFailed, ClusterError: the outcome is in doubt.
        """
        await self._writer.commit_in(partitions)

    async def refresh_topology(self, context: ShardContext, topics_seen_at: float) -> None:
        """Use newly checked topics: their limits, their new partitions, and which have a leader.

        `topics_seen_at` is the time of that check, in monotonic seconds.

        Raises:
            TaskFailed: a source was recreated. The next task decides where to resume.
        """
        is_changed = context.topology != self._context.topology
        self.sources.refresh_identities(context)
        if is_changed:
            self._context = context
            self._decider = Decider(context.pipeline(), self._memory.seen)
            await self._writer.refresh()
            if self.sources.pending_progress:
                self._commit_policy.record_moved(self._clock())
        self._is_check_due = bool(self.sources.deferred)
        self._watermarks.topics_seen_at = topics_seen_at

    async def _gather(self) -> float:
        """Fetch once, and revalidate the sources if the reader requests it; return the time.

        Before that, read the deferred sources that a check has found in order.
        """
        sources, policy = self.sources, self._commit_policy
        await self._add_deferred()
        self._context.heartbeat.beat()
        timeout_ms = policy.fetch_timeout_ms(self._clock(), caught_up=sources.is_caught_up)
        if await sources.gather(timeout_ms, max(1, self._limit.records - sources.buffer.records)):
            policy.record_buffered(self._clock())
        if sources.reader.needs_revalidation:
            policy.record_emptied()
            await sources.revalidate()
        self._context.heartbeat.beat()
        now = self._clock()
        sources.check_held_back(now)
        return now

    async def _add_deferred(self) -> None:
        """Check deferred sources once after each check of the topics, and add those that are back.

        Their changed progress is committed before their records are decided, as at a start.
        """
        sources = self.sources
        if self._is_check_due and sources.begin_check():
            self._is_check_due = False
        if sources.deferred and sources.add_checked():
            await self._commit_pending_progress()

    def _is_decision_due(self, now: float) -> bool:
        return self._commit_policy.is_decision_due(
            now,
            records=self.sources.buffer.records,
            size_bytes=self.sources.buffer.size_bytes,
            caught_up=self.sources.is_caught_up,
        )

    async def _decide(self) -> Decision:
        """Return the decision about all buffered records. The memory does not change."""
        decision = self._new_decision()
        ceiling_ms = self._writer.broker_clock.now_ms() + CEILING_SLACK_MS
        for source, gathered in self.sources.buffer:
            forwarded = self._context.is_forwards(source)
            records = self._watermarks.extract(gathered) if forwarded else gathered
            for begin in range(0, len(records), DECIDE_CHUNK):
                chunk = records[begin : begin + DECIDE_CHUNK]
                batch = SourceBatch(source.topic, source.partition, chunk, forwarded)
                self._decider.decide(batch, decision, ceiling_ms)
                self._unreported_topics[source.topic] += len(chunk)
                await asyncio.sleep(0)
            if not forwarded:
                self._watermarks.record_read(source, gathered)
        self._watermarks.add_tombstones(self._memory.seen, decision)
        return decision

    def _new_decision(self) -> Decision:
        decision = Decision(stream_time_ms=self._memory.seen.stream_time_ms)
        decision.counts, self._unreported_counts = self._unreported_counts, Counts()
        return decision

    async def _commit(
        self,
        decision: Decision,
        progress: Mapping[TopicPartition, Progress],
        began: float,
        announced: Announcement | None = None,
        records: Sequence[Gathered] = (),
    ) -> None:
        """Commit a decision about `records`, with the progress, and apply both to the memory.

        1. Build every batch before the transaction begins.
        2. Send and commit. Until this returns, the outcome is unknown.
        3. Only now apply the decision and the progress to the memory.
        """
        shard = self._context.shard
        batches = self._context.new_batches(self._writer)
        build_transaction(self._context, batches, decision, progress, announced)  # 1.
        self._observer.on_step(shard, Step.DECIDED)
        try:
            await self._send_and_commit(batches)  # 2.
        except CheckpointReadyError as error:
            duration_ms = (self._clock() - began) * 1000
            self._observer.on_transaction_lost(LostTransaction(shard, error, duration_ms, records))
            raise
        self._observer.on_step(shard, Step.COMMITTED)
        apply_to_memory(self._memory, decision, progress)  # 3.
        self.sources.record_committed()
        self._record_commit(decision, progress, began, records)

    async def _send_and_commit(self, batches: TransactionBatches) -> None:
        """Write one transaction. If the send times out, later transactions have fewer records.

        The same if a partition has no leader: so the records before the first one that needs this
        partition are published.

        Raises:
            TaskFailed, TransientError, ClusterError: the outcome of the transaction is unknown.
        """
        shard = self._context.shard
        try:
            await self._writer.send(batches)
        except Leaderless as error:
            self._limit.record_timeout(self.sources.buffer.records)
            log.warning("transaction_waits_for_leader", shard=shard, error=str(error))
            raise
        except TimedOut:
            self._limit.record_timeout(self.sources.buffer.records)
            log.warning("transaction_too_slow", shard=shard, records_from_now=self._limit.records)
            raise
        self._observer.on_step(shard, Step.SENT)
        self._observer.on_step(shard, Step.COMMITTING)
        await self._writer.commit()

    def _record_commit(
        self,
        decision: Decision,
        progress: Mapping[TopicPartition, Progress],
        began: float,
        records: Sequence[Gathered],
    ) -> None:
        """Count and report a committed transaction."""
        self._context.heartbeat.beat()
        self._limit.record_commit(self.sources.buffer.records)
        self.transactions += 1
        self.handled_records += decision.counts.consumed
        now = self._clock()
        self._commit_policy.record_commit(now)
        by_topic, self._unreported_topics = self._unreported_topics, Counter()
        self._observer.on_transaction(
            report(
                self._context.shard,
                decision,
                progress,
                (now - began) * 1000,
                by_topic,
                sources=records,
            )
        )

    def _defer(self, decision: Decision, progress: Mapping[TopicPartition, Progress]) -> None:
        """Keep progress and counts for the next commit: this decision has no output."""
        self.sources.pending_progress = dict(progress)
        self._unreported_counts = decision.counts
        self._memory.seen.stream_time_ms = decision.stream_time_ms
        self._commit_policy.record_moved(self._clock())

    def _defer_moved_positions(self, now: float) -> None:
        if self.sources.defer_moved_positions():
            self._commit_policy.record_moved(now)

    async def _commit_pending_progress(self) -> None:
        """Commit the pending progress (duplicates, markers, new partitions), if there is any."""
        pending = self.sources.pending_progress
        if pending:
            await self._commit(self._new_decision(), pending, began=self._clock())

    async def _announce_watermark(self) -> None:
        """If due, announce to all shards the lowest timestamp that this shard may still read."""
        now = self._clock()
        sources = self.sources
        # A deferred source may bring records of any time, like one that was never fetched.
        if sources.deferred or not self._watermarks.is_due(now):
            return
        announced_ms = self._watermarks.own_ms(
            sources.reader, sources.inputs, self._writer.broker_clock
        )
        if announced_ms is not None:
            pending = sources.pending_progress
            announced = Announcement(announced_ms, self._reachable_shards())
            await self._commit(self._new_decision(), pending, now, announced)
            self._watermarks.record_announced(now)

    def _reachable_shards(self) -> list[int]:
        """Return the shards to whose partition of the repartition topic this shard can write."""
        topic = self._context.settings.repartition_topic
        return [
            shard
            for shard in range(self._context.topology.shards)
            if self._context.has_leader(partition := TopicPartition(topic, shard))
            and partition not in self._writer.unchecked
        ]

    async def _continue_expiry(self) -> None:
        """Write further tombstones, if more ids have expired than one transaction could hold."""
        if self._watermarks.is_more_expired:
            decision = self._new_decision()
            self._watermarks.add_tombstones(self._memory.seen, decision)
            if decision.needs_commit:
                pending = self.sources.pending_progress
                await self._commit(decision, pending, began=self._clock())
