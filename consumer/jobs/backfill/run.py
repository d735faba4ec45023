"""Feeds checkpoints of the past into an input topic, each exactly once.

A run is known by the digest of what its file holds and of its target. How far it is stands in the
group's journal and is committed together with what was sent, so the same command goes on where a
killed one ended, whatever the step.

Backfills of a group share one transactional id: one at a time is at work, and the later one ends
the earlier.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final

import msgspec

from consumer.errors import (
    CheckpointReadyError,
    Fenced,
    Interrupted,
    TimedOut,
)
from consumer.jobs.backfill.elements import Element, Rejected, read_elements
from consumer.jobs.backfill.file import Content
from consumer.jobs.backfill.plan import (
    Contents,
    FileSummary,
    Forecast,
    Validator,
    load_published,
    summary,
)
from consumer.jobs.backfill.state import BackfillState, is_entry_of, read_state
from consumer.jobs.context import JobContext
from consumer.jobs.journal import Journal
from consumer.jobs.progress import Display
from consumer.jobs.retry import ShutdownSignal, run_with_retries
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.port import TransactionBatches
from consumer.pipeline.routing import partition_for_key
from consumer.shard.commit_policy import MAX_TRANSACTION_BYTES, TransactionSizeLimit

PURPOSE: Final = "backfill"
HEADER: Final = "checkpoint-ready.backfill"


class Outcome(msgspec.Struct, frozen=True):
    """What a run has come to; `forecast` is that of a plan, in which nothing is sent."""

    summary: FileSummary
    state: BackfillState | None
    sent: int = 0
    seconds: float = 0.0
    forecast: Forecast | None = None


class Backfill:
    """One file on its way into one topic."""

    def __init__(
        self,
        context: JobContext,
        content: Content,
        topic: str,
        report: Callable[[Rejected], None],
        stop: ShutdownSignal,
    ) -> None:
        """`report` is told each element that is not sent."""
        self._session = context
        self._settings = context.settings
        self._content = content
        self._topic = topic
        self._report = report
        self._stop = stop
        self._digest = content.digest(topic)
        self._is_ours = is_entry_of(self._digest)
        self._limit_bytes = context.topology.max_message_bytes[topic]
        self._limit = TransactionSizeLimit(context.settings.max_transaction_records)
        self._run = 0  # which one this is, once that is known
        self._committed: BackfillState | None = None

    async def look(self) -> BackfillState | None:
        """Return what the journal knows of this content, without disturbing anybody.

        Raises:
            TaskFailed, TransientError, ClusterError: it cannot be read.
        """
        entries = await self._session.read_journal(self._is_ours)
        return read_state(self._settings, entries, self._digest)

    async def plan(self, state: BackfillState | None) -> Outcome:
        """Tell what a run would do; nothing is sent and nothing is made.

        Raises:
            Interrupted, CheckpointReadyError: as the functions it calls.
        """
        contents = Contents()
        found = await self._survey(contents.note)
        published = await load_published(self._session, contents.ids)
        return Outcome(found, state, forecast=contents.forecast(published, wall_clock_ms()))

    async def run(
        self, show: Callable[[FileSummary, BackfillState | None], Display], *, again: bool
    ) -> Outcome:
        """Send what is accepted and not yet sent.

        Raises:
            Interrupted: asked to stop; what is committed stays.
            CheckpointReadyError: another backfill took over, or the trouble does not end.
        """
        before = await self.look()
        if before is not None and before.finished and not again:
            return Outcome(FileSummary(), before)
        found = await self._survey()
        if not found.accepted:
            return Outcome(found, None)
        written = {self._topic: self._limit_bytes, **await self._session.ensure_journal()}
        unfinished = before if before is not None and not before.finished else None
        sent_before = unfinished.sent if unfinished else 0
        began = time.monotonic()
        with show(found, unfinished) as display:
            state = await run_with_retries(
                lambda: self._attempt(written, found, display, again=again),
                lambda: self._committed.elements if self._committed else 0,
                self._stop,
            )
        return Outcome(
            found, state, sent=state.sent - sent_before, seconds=time.monotonic() - began
        )

    async def _survey(self, note: Callable[..., None] | None = None) -> FileSummary:
        found = await summary(self._content, self._judge(1), self._report, self._stop, note=note)
        if self._stop.signal is not None:
            raise Interrupted("stopped before anything was sent", self._stop.signal)
        return found

    async def _attempt(
        self, written: Mapping[str, int], found: FileSummary, display: Display, *, again: bool
    ) -> BackfillState:
        """Take the journal over and send from where it stands."""
        async with self._session.journal(PURPOSE, written) as journal:
            try:
                entries = await journal.open(self._is_ours)
                stored = read_state(self._settings, entries, self._digest)
                return await self._send(journal, self._begin(stored, found, again=again), display)
            except Fenced as error:
                raise CheckpointReadyError(
                    f"another backfill of group {self._settings.group_id} has taken over; run the "
                    "same command again when that one is done, to go on where this one ended"
                ) from error

    def _begin(
        self, stored: BackfillState | None, found: FileSummary, *, again: bool
    ) -> BackfillState:
        """Return the state to go on from."""
        if not self._run:
            is_new = stored is None or (stored.finished and again)
            self._run = (stored.run if stored else 0) + is_new
        if stored is None or stored.run != self._run:
            stored = BackfillState.begin(self._run, self._content.name, self._topic)
        return stored.of(found)

    async def _send(
        self, journal: Journal, state: BackfillState, display: Display
    ) -> BackfillState:
        judge = self._judge(state.run)
        elements = islice(read_elements(self._content), state.elements, None)
        display.show(state.elements, state.sent)
        while not state.finished:
            if self._stop.signal is not None:
                raise Interrupted(
                    f"stopped after {state.sent} of {state.accepted} records; "
                    "run the same command to go on",
                    self._stop.signal,
                )
            transaction_batches = journal.transaction_batches()
            later = self._fill(transaction_batches, judge, elements, state)
            self._content.require_unchanged()
            try:
                await journal.commit(transaction_batches, [later.entry(self._digest)])
            except TimedOut:
                self._limit.record_timeout(later.sent - state.sent)
                raise
            self._limit.record_commit(later.sent - state.sent)
            self._committed = state = later
            display.show(state.elements, state.sent)
            await asyncio.sleep(0)
        return state

    def _fill(
        self,
        transaction_batches: TransactionBatches,
        judge: Validator,
        elements: Iterator[Element | Rejected],
        state: BackfillState,
    ) -> BackfillState:
        """Add the next elements to the batches; return the state to commit with them."""
        partitions = self._session.topology.inputs[self._topic]
        done, sent, size_bytes = state.elements, state.sent, 0
        finished = True
        for element in elements:
            done += 1
            judged = judge.judge(element)
            if isinstance(judged, Rejected):
                continue
            key, value, _ = judged
            partition = partition_for_key(key, partitions)
            transaction_batches.to(self._topic, partition).append(key, value, judge.headers)
            sent += 1
            size_bytes += len(key) + len(value)
            if sent - state.sent >= self._limit.records or size_bytes >= MAX_TRANSACTION_BYTES:
                finished = False
                break
        return state.advanced(done, sent, finished=finished)

    def _judge(self, run: int) -> Validator:
        # Four digits: a record that fits in one run fits in the next.
        run_id = f"{self._digest.hex()}-{run:04}"
        return Validator(self._limit_bytes, [(HEADER, run_id.encode())])
