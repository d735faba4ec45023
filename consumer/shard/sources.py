"""Reads the sources of a running shard, tracks their progress, and checks that they are intact."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Final

import structlog
from msgspec.structs import replace

from consumer.errors import TaskFailed
from consumer.kafka.held_back import NOT_HELD_BACK, UNANSWERED_SECONDS, HeldBackLog, HeldBackSources
from consumer.kafka.port import LogReader
from consumer.kafka.types import TopicPartition
from consumer.shard.buffer import Buffer
from consumer.shard.changelog import ShardState
from consumer.shard.context import ShardContext, SideReaders
from consumer.shard.deferred_sources import NEW, NO_LEADER, DeferredSources
from consumer.shard.progress import Continuity, Identity, Progress, judge
from consumer.shard.start_positions import Start, inspect
from consumer.shard.status import SourceStatus

INTACT: Final = Continuity.INTACT
log = structlog.get_logger(__name__)


class Sources:
    """Reads the partitions of one shard, and knows the progress of each.

    ``buffer`` holds the records that are not decided yet. ``pending_progress`` is progress that is
    not committed yet. It covers only duplicates, transaction markers, aborted records and new
    partitions. If a crash loses it, the next task reads these offsets again, with the same result.
    ``deferred`` holds the sources that are not read now.
    """

    def __init__(
        self,
        context: ShardContext,
        memory: ShardState,
        reader: LogReader,
        readers: SideReaders,
        start: Start,
    ) -> None:
        """Assign the sources to `reader`, each at its offset in the positions of `start`."""
        self.deferred = DeferredSources(context, memory, readers)
        self.deferred.add(start.deferred)
        self.buffer = Buffer()
        self.pending_progress: dict[TopicPartition, Progress] = {}
        self.reader = reader
        self._context = context
        self._memory = memory
        self._readers = readers
        self._partitions = list(start.positions)
        self._running_since = time.monotonic()
        self._forwards = context.forwards
        self._gathered_batch_start: int | None = None
        self._handled_batch_start: int | None = None
        self._trimmable_offset: int | None = None
        self._held_back = HeldBackSources()
        self._held_back_log = HeldBackLog(context.shard, context.settings.bootstrap_servers)
        reader.assign(start.positions)
        reader.use_running_fetch_settings()

    async def gather(self, timeout_ms: int, max_records: int) -> bool:
        """Fetch records into the buffer; return whether any came.

        Raises:
            TaskFailed: the reader's positions are unknown.
        """
        fetched = await self.reader.fetch(timeout_ms, max_records)
        self.buffer.add(fetched, self.reader.position)
        if self._forwards in fetched:
            self._gathered_batch_start = fetched[self._forwards].batch_start
        return bool(fetched)

    def clear_buffer(self) -> None:
        """Drop the gathered records: they are handled."""
        self.buffer = Buffer()
        self._handled_batch_start = self._gathered_batch_start

    def record_committed(self) -> None:
        """Forget the pending progress: the memory has it now. Find what can be trimmed."""
        self.pending_progress = {}
        fingerprint_offset = self._memory.fingerprint_offset(self._forwards)
        for start in (self._handled_batch_start, self._gathered_batch_start):
            if start is not None and fingerprint_offset is not None and start <= fingerprint_offset:
                self._trimmable_offset = start

    @property
    def trimmable_offset(self) -> int | None:
        """Forwards before this offset can be deleted; None until a forward was handled.

        It is the first offset of a batch. If the log start of a leader is within a batch, a replica
        that returns after a leader change can fail for ever: it truncates its log to this offset,
        and then cannot append the batch, which begins before it (docs/non-obvious.md, Kafka 4.3).
        The batch of the last handled forward is kept, because the last-record fingerprint belongs
        to this record.
        """
        return self._trimmable_offset

    async def revalidate(self) -> None:
        """Check, before the next decision, that each source is still the log that was read.

        1. Drop the buffered records, to read them again: some may be from before a truncation and
           others from after it.
        2. Inspect each source with another reader, and compare the result with the source's
           progress.

        Raises:
            TaskFailed, TransientError, ClusterError: a source may lack records that were read, or
                a broker does not answer. The next task decides where to resume.
        """
        # Clear the flag first: if a fetch is refused during the check, the reader sets it again.
        self.reader.needs_revalidation = False
        handled = self._handled()
        self.buffer = Buffer()  # 1.
        self.reader.assign({source: progress.next_offset for source, progress in handled.items()})
        async with self._readers.open(self._context, committed_only=False) as reader:  # 2.
            found = await inspect(self._context, reader, self._readers.admin, handled)
        broken = [
            f"{source.topic}/{source.partition} was {verdict.continuity.value} while it was read; "
            f"the next task reads it from offset {verdict.resume_at} on"
            for source, progress in handled.items()
            if (verdict := judge(progress, found[source])) != (INTACT, progress.next_offset)
        ]
        if broken:
            raise TaskFailed(", ".join(broken))

    def refresh_identities(self, context: ShardContext) -> None:
        """Use newly checked topics; request a revalidation if a source has a new leader epoch.

        Raises:
            TaskFailed: a topic was recreated. The next task decides where to resume.
        """
        self._defer_leaderless(context)
        for source in self._partitions:
            (id_before, epoch_before), (id_now, epoch_now) = (
                self._context.identity(source),
                context.identity(source),
            )
            if None not in {id_before, id_now} and id_before != id_now:
                raise TaskFailed(f"topic {source.topic} was deleted and created again")
            if epoch_before != epoch_now:  # the new leader may lack records
                self.reader.needs_revalidation = True
        self._context = context

    def _defer_leaderless(self, context: ShardContext) -> None:
        """Stop reading the inputs that have no leader, so that nothing waits for them.

        Records in the buffer stay there: the brokers had committed them.
        """
        lost = [source for source in self.inputs if not context.has_leader(source)]
        if lost:
            self.defer_moved_positions()
            self._assign({s: self.reader.position(s) for s in self._partitions if s not in lost})
        fresh = [s for s in context.sources() if s not in self._partitions and s not in lost]
        self.deferred.keep_only(context.sources())
        self.deferred.add(
            {s: NEW for s in fresh if s not in self.deferred and context.has_leader(s)}
            | {s: NO_LEADER for s in (*lost, *fresh) if not context.has_leader(s)}
        )

    def begin_check(self) -> bool:
        """Begin to check the deferred sources, new partitions among them, beside the loop.

        Return False if it must be begun later: because a check runs, or because the buffer is not
        empty. A source may have been deferred while the buffer held records of it. Then its
        progress is final only when they are handled.
        """
        if self.buffer:
            return False
        return self.deferred.begin_check(self._context, self._known_progress())

    def add_checked(self) -> bool:
        """Read the deferred sources that a check has found; return whether progress has changed.

        The other sources keep their positions, and the gathered records stay in the buffer: they
        are before the reader's positions.

        Raises:
            ClusterError: the ACLs do not permit a request of the check.
        """
        start = self.deferred.take_checked(self._context, self._known_progress())
        if start is None or not start.positions:
            return False
        self._assign({s: self.reader.position(s) for s in self._partitions} | start.positions)
        self.pending_progress = {**self.pending_progress, **start.changed}
        names = [f"{source.topic}/{source.partition}" for source in start.positions]
        log.info("sources_added", shard=self._context.shard, sources=names)
        return bool(start.changed)

    def _assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._partitions = list(positions)
        self.reader.assign(positions)

    async def close(self) -> None:
        """End a check of deferred sources."""
        await self.deferred.close()

    def buffered_progress(self, stream_time_ms: int) -> dict[TopicPartition, Progress]:
        """Return the progress to commit with the gathered records, including pending progress.

        Each source gets its identity of the last topic check. If that check found a new leader
        epoch, `refresh_identities` requested a revalidation, which has judged the source since. A
        source that was deferred since its records were gathered keeps its stored identity.
        """
        known = self._known_progress()
        gathered = {
            source: progress.following(known[source]).identified(
                self._context.identity(source) if source in self._partitions else Identity()
            )
            for source, progress in self.buffer.progress_after(stream_time_ms).items()
        }
        return {**self.pending_progress, **gathered}

    def defer_moved_positions(self) -> bool:
        """Add to the pending progress the positions that moved over markers or aborted records.

        Return whether there are such positions.
        """
        known = self._known_progress()
        moved = {
            source: progress
            for source, progress in self._handled().items()
            if progress.next_offset > known[source].next_offset
        }
        self.pending_progress = {**self.pending_progress, **moved}
        return bool(moved)

    def check_held_back(self, now: float) -> None:
        """Once a second, measure held-back records; log sources held back for a minute or more."""
        if self._held_back.check(now, self.reader, self._partitions):
            self._held_back_log.check(now, self._held_back.views)

    @property
    def inputs(self) -> list[TopicPartition]:
        """The sources that are input partitions."""
        return [source for source in self._partitions if not self._context.is_forwards(source)]

    @property
    def is_caught_up(self) -> bool:
        """Whether the reader has delivered all readable records, as far as its lags are known."""
        return not any(self.reader.lag(source) for source in self._partitions)

    @property
    def is_unanswered(self) -> bool:
        """Whether the leader of a source has not answered for ``UNANSWERED_SECONDS``."""
        oldest = time.monotonic() - UNANSWERED_SECONDS
        return any((self.reader.seen_at(s) or 0) < oldest for s in self._partitions)

    @property
    def is_behind(self) -> bool:
        """Whether unhandled records exist, or may exist because a leader does not answer."""
        return bool(self.buffer) or not self.is_caught_up or self.is_unanswered

    @property
    def positions(self) -> dict[TopicPartition, int]:
        """The next offset of each source: all earlier records are handled.

        With an empty buffer, this is the reader's position, which also moves over markers.
        """
        if not self.buffer:
            return {source: self.reader.position(source) for source in self._partitions}
        known = self._known_progress()
        return {s: known[s].next_offset for s in self._partitions if s in known}

    @property
    def statuses(self) -> tuple[SourceStatus, ...]:
        """The status of each source. The lag of a source includes its buffered records."""
        now, gathered = time.monotonic(), Counter[TopicPartition]()
        for source, records in self.buffer:
            gathered[source] += len(records)
        held_back, statuses = self._held_back.views, []
        for source in self._partitions:
            lag = self.reader.lag(source)
            seen_at = self.reader.seen_at(source) or self._running_since
            status = SourceStatus(
                *source,
                lag=None if lag is None else lag + gathered[source],
                unanswered_seconds=max(0.0, now - seen_at),
                held_back=held_back.get(source, NOT_HELD_BACK),
            )
            # A lag of 0 was true at the last answer of the leader. If the leader has not answered
            # since, new records may have arrived, so the lag is unknown.
            is_unknown = status.is_silent and not status.lag
            statuses.append(replace(status, lag=None, held_back=None) if is_unknown else status)
        statuses += [
            SourceStatus(*source, None, self.deferred.seconds(source), None, reason)
            for source, reason in self.deferred.reasons.items()
        ]
        return tuple(statuses)

    def _known_progress(self) -> dict[TopicPartition, Progress]:
        return {**self._memory.progress, **self.pending_progress}

    def _handled(self) -> dict[TopicPartition, Progress]:
        """Return the progress of each source over its handled records, committed or not.

        For a source without buffered records, this progress includes the markers up to the reader's
        position.
        """
        known = self._known_progress()
        gathered = {source for source, _ in self.buffer}
        return {
            source: known[source]
            if source in gathered
            else replace(
                known[source],
                next_offset=max(known[source].next_offset, self.reader.position(source)),
            )
            for source in self._partitions
        }
