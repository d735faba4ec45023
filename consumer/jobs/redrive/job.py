"""Redrive: sends each dead letter to the input partition that it came from, once.

Each transaction commits the redriven records together with an entry that adds their dead letters
to the redriven set. So no dead letter is redriven twice, however often the command runs and
whenever it is killed.
"""

from contextlib import aclosing
from typing import Final

from consumer.config import Settings
from consumer.jobs.context import JobContext
from consumer.jobs.job import Attempt, Job
from consumer.jobs.progress import Goal, ProgressReport
from consumer.jobs.ranges import ResolvedRange
from consumer.jobs.redrive.dead_letters import (
    DeadLetterFilter,
    parse_records,
    resolve_dead_letters,
)
from consumer.jobs.redrive.decider import RedriveCounts, RedriveDecider
from consumer.jobs.redrive.redriven_set import RedrivenSet, StoredRecord, is_redriven_entry
from consumer.jobs.retry import RESUME_HINT, ShutdownSignal
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.port import TransactionBatches
from consumer.kafka.read import read_range, stable_ranges
from consumer.kafka.types import TopicPartition
from consumer.pipeline.dead_letters import DeadLetterRecord, redriven_partition
from consumer.pipeline.record_size import record_bytes
from consumer.pipeline.records import Header

PURPOSE: Final = "redrive"
# A transaction of this size is sent and committed well within the transaction timeout.
TRANSACTION_DEAD_LETTERS: Final = 1_000
TRANSACTION_BYTES: Final = 4 * 1024 * 1024


class RedriveTransaction:
    """The dead letters of the next transaction."""

    def __init__(self, batches: TransactionBatches) -> None:
        self.batches = batches
        self.stored: list[StoredRecord] = []
        self._size_bytes = 0

    def add(
        self,
        stored: StoredRecord,
        dead_letter: DeadLetterRecord,
        headers: list[Header],
        partition: int,
    ) -> None:
        """Add the original record of a dead letter, for this partition of its input topic."""
        self.batches.to(dead_letter.origin.topic, partition).append(
            dead_letter.key, dead_letter.value, headers
        )
        self.stored.append(stored)
        self._size_bytes += record_bytes(stored.record)

    @property
    def is_full(self) -> bool:
        """Whether the transaction must be committed before more is added."""
        return len(self.stored) >= TRANSACTION_DEAD_LETTERS or self._size_bytes >= TRANSACTION_BYTES


class Redrive(Job[RedriveCounts, RedriveCounts]):
    """One redrive of the dead letters that the filter selects.

    It reads the dead-letter topic up to the last stable offsets at its start. A redriven record
    that fails again becomes a dead letter after these offsets. So only a later redrive reads it.
    """

    def __init__(
        self,
        settings: Settings,
        wanted: DeadLetterFilter,
        max_attempts: int | None,
        shutdown: ShutdownSignal,
        progress: ProgressReport,
    ) -> None:
        super().__init__(settings, PURPOSE, shutdown, progress)
        self._wanted = wanted
        self._max_attempts = max_attempts
        self._resolved: ResolvedRange | None = None
        self._redriven_before: RedrivenSet | None = None
        self._redriven = 0

    def owns_entry(self, key: bytes) -> bool:
        """Return whether the journal entry is part of the redriven set."""
        return is_redriven_entry(key)

    async def make_plan(self, attempt: Attempt) -> RedriveCounts:
        """Return what a run would do with the selected dead letters."""
        await self.prepare(attempt.context)
        return await self._redrive(attempt, RedrivenSet(attempt.entries))

    async def prepare(self, context: JobContext) -> None:
        """Resolve the range in the first attempt; later attempts of this run use the same range."""
        if self._resolved is None:
            self._resolved = await resolve_dead_letters(context, self._wanted)

    async def ensure_targets(self, context: JobContext) -> dict[str, int]:
        """Return ``max.message.bytes`` of the group's topics, which already exist."""
        return context.topology.max_message_bytes

    async def work(self, attempt: Attempt) -> RedriveCounts:
        """Delete the journal entries of deleted dead letters, then redrive the selected ones."""
        redriven = RedrivenSet(attempt.entries)
        await self._forget_deleted(attempt, redriven)
        return await self._redrive(attempt, redriven)

    async def _forget_deleted(self, attempt: Attempt, redriven: RedrivenSet) -> None:
        context = attempt.context
        topic = context.settings.dead_letter_topic
        count = context.topology.dead_letter_partitions
        partitions = [TopicPartition(topic, number) for number in range(count)]
        existing = await stable_ranges(context.reader, partitions)
        log_starts = {p.partition: offsets.start for p, offsets in existing.items()}
        await attempt.writer.forget(redriven.entries_before(log_starts))

    async def _redrive(self, attempt: Attempt, redriven: RedrivenSet) -> RedriveCounts:
        """Read the range once, decide about its dead letters, and commit in transactions."""
        # Keep the set from before this run. It shows later attempts which dead letters this run has
        # redriven: they count them as redriven, not as left out.
        if self._redriven_before is None:
            self._redriven_before = RedrivenSet(attempt.entries)
        counts = RedriveCounts()
        decider = RedriveDecider.of(attempt.context, self._wanted, self._max_attempts)
        resolved = self._resolved or ResolvedRange({})
        positions = {partition: offsets.start for partition, offsets in resolved.ranges.items()}
        first = sum(positions.values())
        goal = Goal(resolved.offsets, 0)
        transaction = RedriveTransaction(attempt.writer.transaction_batches())
        async with aclosing(read_range(attempt.context.reader, resolved.ranges)) as batches:
            async for partition, records, next_offset in batches:
                for stored in parse_records(resolved, partition, records, redriven):
                    self._decide(decider, stored, counts, transaction)
                    if transaction.is_full:
                        await self._commit_transaction(attempt, redriven, transaction, counts)
                        transaction = RedriveTransaction(attempt.writer.transaction_batches())
                    if self.shutdown:
                        break
                positions[partition] = next_offset
                self.progress.show(goal, sum(positions.values()) - first, self._redriven)
                if self.shutdown:
                    break
            else:
                await self._commit_transaction(attempt, redriven, transaction, counts)
                return counts
        await self._commit_transaction(attempt, redriven, transaction, counts)
        done = counts.redriven.dead_letters
        raise self.interrupted(
            attempt, f"stopped; {done} dead letters were redriven; {RESUME_HINT}"
        )

    def _decide(
        self,
        decider: RedriveDecider,
        stored: StoredRecord,
        counts: RedriveCounts,
        transaction: RedriveTransaction,
    ) -> None:
        """Add a dead letter to the transaction, or count why it is left out."""
        dead_letter = stored.dead_letter
        if (
            stored.is_redriven
            and self._redriven_before
            and not self._redriven_before.contains(stored)
        ):
            # An earlier attempt of this run has redriven this dead letter: only count it.
            if self._wanted.selects(dead_letter):
                counts.redriven.add(dead_letter)
            return
        headers = decider.decide(stored, counts, wall_clock_ms())
        if dead_letter is not None and headers is not None:
            partitions = decider.input_partitions[dead_letter.origin.topic]
            partition = redriven_partition(dead_letter, partitions)
            transaction.add(stored, dead_letter, headers, partition)

    async def _commit_transaction(
        self,
        attempt: Attempt,
        redriven: RedrivenSet,
        transaction: RedriveTransaction,
        counts: RedriveCounts,
    ) -> None:
        """Commit the records and the new entry of the redriven set in one transaction."""
        if not transaction.stored:
            return
        entry = redriven.new_entry(transaction.stored)
        await self.commit(attempt, transaction.batches, [entry])
        redriven.add(*entry)
        self._redriven += len(transaction.stored)
        for stored in transaction.stored:
            counts.redriven.add(stored.dead_letter)
