"""Puts dead letters back to the inputs they came from, each of them once.

What was put back stands in the redriven, in the same transaction as the records; so it makes no
difference how often the command runs, where it is killed, or by which filters it is called.
"""

from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Final

from consumer.errors import Interrupted
from consumer.jobs.context import JobContext
from consumer.jobs.journal import Journal
from consumer.jobs.progress import Goal, display
from consumer.jobs.ranges import ResolvedRange
from consumer.jobs.redrive.plan import RedriveCounts, select_in
from consumer.jobs.redrive.redriven_set import RedrivenSet, is_redriven
from consumer.jobs.redrive.selection import Found, Wanted, read_letters, resolve_letters
from consumer.jobs.retry import ShutdownSignal, run_with_retries
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.port import TransactionBatches
from consumer.kafka.read import read_range, stable_ranges
from consumer.kafka.types import TopicPartition
from consumer.pipeline.dead_letters import DeadLetterRecord, redriven_partition
from consumer.pipeline.record_size import record_bytes
from consumer.pipeline.records import Header

PURPOSE: Final = "redrive"
# Of one transaction: it must be sent and committed well within its timeout.
TRANSACTION_LETTERS: Final = 1_000
TRANSACTION_BYTES: Final = 4 * 1024 * 1024
Show = Callable[[int, int], None]


class Transaction:
    """What the next commit puts back."""

    def __init__(self, transaction_batches: TransactionBatches) -> None:
        self.transaction_batches = transaction_batches
        self.letters: list[Found] = []
        self._size_bytes = 0

    def add(
        self, found: Found, letter: DeadLetterRecord, headers: list[Header], partition: int
    ) -> None:
        """Address one to a partition of its input."""
        self.transaction_batches.to(letter.origin.topic, partition).append(
            letter.key, letter.value, headers
        )
        self.letters.append(found)
        self._size_bytes += record_bytes(found.record)

    @property
    def is_full(self) -> bool:
        """Whether it should be committed before more is added."""
        return len(self.letters) >= TRANSACTION_LETTERS or self._size_bytes >= TRANSACTION_BYTES


class Redrive:
    """One run, over as many attempts as it takes."""

    def __init__(
        self, context: JobContext, wanted: Wanted, max_attempts: int | None, stop: ShutdownSignal
    ) -> None:
        self.counts = RedriveCounts()
        self._session = context
        self._wanted = wanted
        self._selection = select_in(context, wanted, max_attempts)
        self._stop = stop
        self._committed = 0
        self._before: RedrivenSet | None = None
        self._is_finished = False

    async def run(self, write: Callable[[bytes], None]) -> RedriveCounts:
        """Put back what is meant, up to the end as it is now; return what was done.

        What fails again meanwhile becomes a dead letter behind that end: the next redrive's.

        Raises:
            Interrupted: an end was asked for; the same command goes on.
            CheckpointReadyError: another process does the same, or attempts fail one by one.
        """
        context = self._session
        resolved = await resolve_letters(context, self._wanted)
        written = {**context.topology.max_message_bytes, **await context.ensure_journal()}
        goal = Goal(resolved.offsets, 0)
        with display("redrive", goal, unit="records", write=write) as bar:
            await run_with_retries(
                lambda: self._attempt(resolved, written, bar.show),
                lambda: self._committed,
                self._stop,
            )
        if self._stop.signal is not None and not self._is_finished:
            done = self.counts.redriven.letters
            raise Interrupted(
                f"stopped; {done} dead letters were put back: run the same command to go on",
                self._stop.signal,
            )
        return self.counts

    async def _attempt(
        self, resolved: ResolvedRange, written: Mapping[str, int], show: Show
    ) -> None:
        """Go through the resolved once.

        1. Take the journal over: whoever did the same is fenced, and what is in doubt is settled.
        2. Drop entries of dead letters that retention has deleted.
        3. Put back what the redriven does not hold, a transaction at a time.
        """
        async with self._session.journal(PURPOSE, written) as journal:
            entries = await journal.open(is_redriven)  # 1.
            redriven = RedrivenSet(entries)
            # What an attempt before this one has put back was put back by this run.
            if self._before is None:
                self._before = RedrivenSet(entries)
            self.counts = RedriveCounts()
            await self._prune(journal, redriven)  # 2.
            await self._put_back(journal, redriven, resolved, show)  # 3.

    async def _prune(self, journal: Journal, redriven: RedrivenSet) -> None:
        context = self._session
        topic = context.settings.dead_letter_topic
        there = await stable_ranges(
            context.reader,
            [TopicPartition(topic, n) for n in range(context.topology.dead_letter_partitions)],
        )
        outlived = redriven.outlived({p.partition: part.start for p, part in there.items()})
        await journal.forget(outlived)

    async def _put_back(
        self, journal: Journal, redriven: RedrivenSet, resolved: ResolvedRange, show: Show
    ) -> None:
        passed = {partition: part.start for partition, part in resolved.ranges.items()}
        first = sum(passed.values())
        transaction, is_stopped = Transaction(journal.transaction_batches()), False
        async with aclosing(read_range(self._session.reader, resolved.ranges)) as batches:
            async for partition, records, next_offset in batches:
                for found in read_letters(resolved, partition, records, redriven):
                    self._consider(found, transaction)
                    if transaction.is_full:
                        await self._commit(journal, redriven, transaction)
                        transaction = Transaction(journal.transaction_batches())
                    if self._stop:
                        break
                passed[partition] = next_offset
                show(sum(passed.values()) - first, self._committed)
                is_stopped = bool(self._stop)
                if is_stopped:
                    break
        await self._commit(journal, redriven, transaction)
        self._is_finished = not is_stopped

    def _consider(self, found: Found, transaction: Transaction) -> None:
        """Add a dead letter to the transaction, or count why it is left out."""
        letter = found.letter
        selection, before = self._selection, self._before
        if found.is_redriven and before and not before.holds(found.partition, found.record):
            if self._wanted.takes(letter):
                self.counts.redriven.count(letter)  # by an attempt whose commit went unheard
            return
        headers = selection.select(found, self.counts, wall_clock_ms())
        if letter is not None and headers is not None:
            partitions = selection.input_partitions[letter.origin.topic]
            transaction.add(found, letter, headers, redriven_partition(letter, partitions))

    async def _commit(
        self, journal: Journal, redriven: RedrivenSet, transaction: Transaction
    ) -> None:
        if not transaction.letters:
            return
        entry = redriven.entry((found.partition, found.record) for found in transaction.letters)
        await journal.commit(transaction.transaction_batches, [entry])
        redriven.add(*entry)
        self._committed += len(transaction.letters)
        for found in transaction.letters:
            self.counts.redriven.count(found.letter)
