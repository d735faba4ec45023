"""Backfill: sends each checkpoint of a file to an input topic exactly once.

The digest of the file's content and of the topic identifies a backfill. Each transaction commits
records together with the progress in the group's journal. So the same command can resume, even if
the process was killed.

All backfills of a group share one transactional id. So only one backfill runs at a time, and a
later backfill fences an earlier one.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

import msgspec

from consumer.config import Settings
from consumer.errors import Interrupted, TimedOut
from consumer.jobs.backfill.elements import Element, Rejected, read_elements
from consumer.jobs.backfill.file import Content
from consumer.jobs.backfill.forecast import AcceptedElements, Forecast, load_published
from consumer.jobs.backfill.state import BackfillState, entry_key, read_state
from consumer.jobs.backfill.validator import FileSummary, Validator, summarize
from consumer.jobs.context import JobContext
from consumer.jobs.job import Attempt, Job
from consumer.jobs.progress import Goal, ProgressReport
from consumer.jobs.retry import RESUME_HINT, ShutdownSignal
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.port import TransactionBatches
from consumer.pipeline.decode.checkpoint import Decoded
from consumer.pipeline.routing import partition_for_key
from consumer.shard.commit_policy import MAX_TRANSACTION_BYTES, TransactionSizeLimit

PURPOSE: Final = "backfill"
HEADER: Final = "checkpoint-ready.backfill"


class Outcome(msgspec.Struct, frozen=True):
    """The result of a run or of a plan. A plan sends nothing, and only a plan has a forecast."""

    summary: FileSummary
    state: BackfillState | None
    sent: int = 0
    seconds: float = 0.0
    forecast: Forecast | None = None


class Backfill(Job[Outcome, Outcome]):
    """Sends one file to one topic."""

    def __init__(  # noqa: PLR0913 - the options of the command
        self,
        settings: Settings,
        content: Content,
        topic: str,
        shutdown: ShutdownSignal,
        progress: ProgressReport,
        *,
        report_rejected: Callable[[Rejected], None],
        again: bool,
    ) -> None:
        """`report_rejected` receives each element that is not sent.

        If `again`, a file is sent even if it was already sent completely.
        """
        super().__init__(settings, PURPOSE, shutdown, progress)
        self._content = content
        self._topic = topic
        self._report_rejected = report_rejected
        self._again = again
        self._digest = content.digest(topic)
        self._limit = TransactionSizeLimit(settings.max_transaction_records)
        self._summary: FileSummary | None = None
        self._began = 0.0
        self._sent_before = 0
        self._run_number = 0  # 0 until the first attempt has read the journal

    def owns_entry(self, key: bytes) -> bool:
        """Return whether the journal entry is the state of this backfill."""
        return key == entry_key(self._digest)

    def taken_over(self) -> str:
        """Return the error message for a run that a later backfill has fenced."""
        return (
            f"another backfill of group {self.settings.group_id} has taken over; when that one is "
            "done, run the same command again to resume this one"
        )

    async def make_plan(self, attempt: Attempt) -> Outcome:
        """Validate the file and forecast what the service would do with the accepted elements."""
        state = read_state(self.settings, attempt.entries, self._digest)
        accepted = AcceptedElements()
        summary = await self._summarize(attempt.context, accepted.add)
        published = await load_published(attempt.context, accepted.ids)
        return Outcome(summary, state, forecast=accepted.forecast(published, wall_clock_ms()))

    async def prepare(self, context: JobContext) -> Outcome | None:
        """Validate the file in the first attempt; return a result if there is nothing to send.

        There is nothing to send if the file was sent completely (without `again`), or if no
        element is accepted.
        """
        if self._summary is not None:
            return None
        entries = await context.read_journal(self.owns_entry)
        before = read_state(self.settings, entries, self._digest)
        if before is not None and before.finished and not self._again:
            return Outcome(FileSummary(), before)
        summary = await self._summarize(context)
        if not summary.accepted:
            return Outcome(summary, None)
        self._summary = summary
        self._sent_before = 0 if before is None or before.finished else before.sent
        self._began = time.monotonic()
        return None

    async def ensure_targets(self, context: JobContext) -> dict[str, int]:
        """Return ``max.message.bytes`` of the input topic, which already exists."""
        return {self._topic: context.topology.max_message_bytes[self._topic]}

    async def work(self, attempt: Attempt) -> Outcome:
        """Send the elements that the journal does not show as handled."""
        summary = self._summary or FileSummary()
        state = self._start_state(attempt, summary)
        validator = self._validator(attempt.context, state.run)
        elements = islice(read_elements(self._content), state.elements, None)
        goal = Goal(summary.elements, state.elements)
        self.progress.show(goal, state.elements, state.sent)
        while not state.finished:
            if self.shutdown:
                raise self.interrupted(
                    attempt,
                    f"stopped after {state.sent} of {state.accepted} records; {RESUME_HINT}",
                )
            batches = attempt.writer.transaction_batches()
            partitions = attempt.context.topology.inputs[self._topic]
            later = self._fill(batches, validator, elements, state, partitions)
            self._content.require_unchanged()
            try:
                await self.commit(attempt, batches, [later.entry(self._digest)])
            except TimedOut:
                self._limit.record_timeout(later.sent - state.sent)
                raise
            self._limit.record_commit(later.sent - state.sent)
            state = later
            self.progress.show(goal, state.elements, state.sent)
            await asyncio.sleep(0)
        sent, seconds = state.sent - self._sent_before, time.monotonic() - self._began
        return Outcome(summary, state, sent=sent, seconds=seconds)

    async def _summarize(
        self, context: JobContext, on_accepted: Callable[[Decoded], None] | None = None
    ) -> FileSummary:
        summary = await summarize(
            self._content,
            self._validator(context, 1),
            self._report_rejected,
            self.shutdown,
            on_accepted=on_accepted,
        )
        if self.shutdown.signal is not None:
            raise Interrupted("stopped before anything was sent", self.shutdown.signal)
        return summary

    def _start_state(self, attempt: Attempt, summary: FileSummary) -> BackfillState:
        """Return the state from which this attempt continues."""
        stored = read_state(self.settings, attempt.entries, self._digest)
        if not self._run_number:
            is_new = stored is None or (stored.finished and self._again)
            self._run_number = (stored.run if stored else 0) + is_new
        if stored is None or stored.run != self._run_number:
            stored = BackfillState.begin(self._run_number, self._content.name, self._topic)
        return stored.with_summary(summary)

    def _fill(
        self,
        batches: TransactionBatches,
        validator: Validator,
        elements: Iterator[Element | Rejected],
        state: BackfillState,
        partitions: int,
    ) -> BackfillState:
        """Add the next elements to the batches; return the state to commit with them."""
        done, sent, size_bytes = state.elements, state.sent, 0
        finished = True
        for element in elements:
            done += 1
            result = validator.validate(element)
            if isinstance(result, Rejected):
                continue
            key, value, _ = result
            partition = partition_for_key(key, partitions)
            batches.to(self._topic, partition).append(key, value, validator.headers)
            sent += 1
            size_bytes += len(key) + len(value)
            if sent - state.sent >= self._limit.records or size_bytes >= MAX_TRANSACTION_BYTES:
                finished = False
                break
        return state.advanced(done, sent, finished=finished)

    def _validator(self, context: JobContext, run: int) -> Validator:
        # Always four digits: the size of each record is checked with run 1, and the record must
        # have the same size in every later run.
        run_id = f"{self._digest.hex()}-{run:04}"
        max_message_bytes = context.topology.max_message_bytes[self._topic]
        return Validator(max_message_bytes, [(HEADER, run_id.encode())])
