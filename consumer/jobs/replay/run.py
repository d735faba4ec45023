"""Publishes ready events of the past again: each id once, whatever kills the process midway."""

import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

import msgspec

from consumer.config import Settings
from consumer.errors import ConfigError, Interrupted
from consumer.jobs.context import JobContext, open_job_context
from consumer.jobs.journal import Journal, whoami
from consumer.jobs.replay import source as replay_source
from consumer.jobs.replay.request import ReplayRequest
from consumer.jobs.replay.source import Source, Target
from consumer.jobs.replay.state import (
    ReplayState,
    is_of_replay,
    range_states,
    read_settled,
    read_state,
    require_room,
    settled_keys,
    settled_record,
    state_record,
)
from consumer.jobs.retry import RateLimiter, ShutdownSignal, run_with_retries
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.read import ReadBatch
from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import PackedBatch, SourceRecord
from consumer.pipeline.replay_decider import ReplayDecision, Replayer
from consumer.pipeline.routing import partition_for_key
from consumer.shard.progress import Fingerprint

DECIDE_CHUNK: Final = 1_000
TRANSACTION_EVENTS: Final = 5_000
TRANSACTION_BYTES: Final = 8 * 1024 * 1024
# Of a resolved without events the progress is saved too, if not as often.
TRANSACTION_OFFSETS: Final = 50_000
# One entry of the journal holds the ids that a transaction settles. It must fit the journal's
# max.message.bytes, also where none of these ids is an event (16 bytes each: 256 KiB).
TRANSACTION_SETTLED: Final = 16 * 1024

OnProgress = Callable[[ReplayState], None]


class ReplayRun:
    """Carries out one replay; ``state`` is what is committed of it."""

    def __init__(
        self,
        settings: Settings,
        request: ReplayRequest,
        stop: ShutdownSignal,
        on_progress: OnProgress,
    ) -> None:
        self.state: ReplayState | None = None
        self._settings = settings
        self._request = request
        self._stop = stop
        self._on_progress = on_progress

    async def run(self) -> ReplayState:
        """Replay until all is published, and go on by itself after trouble of the cluster.

        Raises:
            Interrupted: asked to stop; what is committed stays.
            ConfigError: a replay of this name has other arguments.
            ClusterError: a person must mend the cluster, or choose another range.
        """

        def transactions() -> int:
            return 0 if self.state is None else self.state.transactions

        return await run_with_retries(self._attempt, transactions, self._stop)

    async def _attempt(self) -> ReplayState:
        """Begin, or go on with what is committed.

        1. Fence whoever works at this replay, and read how far it is.
        2. Find out what is left and which records were published; a new replay commits its range.
        3. Read, decide and write, one transaction after the other.
        4. Commit that it is finished.
        """
        request, purpose = self._request, f"replay-{self._request.name}"
        async with open_job_context(self._settings, purpose) as context:
            target = await replay_source.describe_target(context, request)
            await replay_source.ensure_target(context, target)
            written = {target.topic: target.max_message_bytes, **await context.ensure_journal()}
            async with context.journal(purpose, written) as journal:
                name = request.name
                entries = await journal.open(lambda key: is_of_replay(name, key))  # 1.
                self.state = read_state(entries, name)
                if self.state is not None:
                    _require_same(self.state, request)
                    if self.state.finished_at_ms is not None:
                        return self.state
                journal_bytes = written[self._settings.jobs_topic]
                source = await self._source(context, journal, target, journal_bytes)  # 2.
                source.replayer.settle(read_settled(entries, name))
                await self._replay(context, journal, target, source)  # 3.
                return await self._finish(journal)  # 4.

    async def _source(
        self, context: JobContext, journal: Journal, target: Target, journal_bytes: int
    ) -> Source:
        request, state = self._request, self.state
        if state is not None:
            require_room(state, journal.partition.topic, journal_bytes)
            await replay_source.refuse_recreated(context, state)
            return await replay_source.resume(context, request, target, state)
        now_ms = wall_clock_ms()
        source = await replay_source.begin(context, request, target, now_ms)
        state = ReplayState(
            name=request.name,
            arguments=request.arguments,
            target=target.topic,
            started_by=whoami(),
            started_at_ms=now_ms,
            updated_at_ms=now_ms,
            from_ms=source.resolved.from_ms,
            to_ms=source.resolved.to_ms,
            ranges=range_states(source.resolved),
            changelog_ends=source.changelog_ends,
            known_ids=len(source.origins),
            topic_ids={
                topic: topic_id
                for topic, topic_id in context.topology.topic_ids.items()
                if topic in context.topology.inputs
            },
        )
        require_room(state, journal.partition.topic, journal_bytes)
        # From here on the range is the same, however often it is begun anew.
        await journal.commit(journal.transaction_batches(), [state_record(state)])
        self.state = state
        return source

    async def _replay(
        self, context: JobContext, journal: Journal, target: Target, source: Source
    ) -> None:
        pace = RateLimiter(self._request.rate)
        writing = _Writing(self, journal, target, source.replayer)
        async with aclosing(replay_source.read(context, source.resolved)) as batches:
            async for batch in batches:
                rest: ReadBatch | None = batch
                while rest is not None:
                    room = min(TRANSACTION_EVENTS, pace.room, self._room())
                    rest = writing.decide(rest, room)
                    if writing.is_due(room):
                        await writing.write()
                        await pace.wait(self.committed.counts.events, self._stop)
                    self._refuse_to_go_on()
                    if self._room() == 0:
                        return
            await writing.write()

    @property
    def committed(self) -> ReplayState:
        """The state of a replay that has begun."""
        if self.state is None:
            raise RuntimeError("a replay was written before it was begun")
        return self.state

    def accept(self, state: ReplayState) -> None:
        """Take over a state that was committed."""
        self.state = state
        self._on_progress(state)

    def _room(self) -> int:
        """Return how many events there may still be."""
        limit = self._request.max_events
        return TRANSACTION_EVENTS if limit is None else limit - self.committed.counts.events

    def _refuse_to_go_on(self) -> None:
        if self._stop.signal is not None:
            state = self.committed
            raise Interrupted(
                f"replay {state.name} is stopped at {state.percent}% "
                f"({state.counts.events} events published); the same command goes on with the rest",
                self._stop.signal,
            )

    async def _finish(self, journal: Journal) -> ReplayState:
        """Drop the settled ids and commit that the replay is finished, in this order.

        A process that dies between the two has handled every record of the range already, so the
        next start publishes nothing and drops the rest.
        """
        await journal.forget(settled_keys(self.committed))
        now_ms = wall_clock_ms()
        state = msgspec.structs.replace(self.committed, updated_at_ms=now_ms, finished_at_ms=now_ms)
        await journal.commit(journal.transaction_batches(), [state_record(state)])
        self.accept(state)
        return state


class _Writing:
    """The transaction that is being gathered, and its commit."""

    def __init__(
        self, run: ReplayRun, journal: Journal, target: Target, replayer: Replayer
    ) -> None:
        self._run = run
        self._journal = journal
        self._target = target
        self._replayer = replayer
        self._decision = ReplayDecision()
        self._next_offsets: dict[TopicPartition, int] = {}
        ranges = run.committed.rest.ranges
        self._positions = {partition: part.start for partition, part in ranges.items()}
        self._began = time.monotonic()
        self._lasts: dict[TopicPartition, SourceRecord] = {}
        self._passed = 0
        self._bytes = 0
        self._measured = 0

    def decide(self, batch: ReadBatch, room: int) -> ReadBatch | None:
        """Decide about some records while the transaction holds less than `room` events.

        A batch without any is decided at once: that nothing of the range lies there is progress,
        too. Returns what is left of the batch, if anything.
        """
        partition, records, next_offset = batch
        chunk = records[:DECIDE_CHUNK]
        decided = self._replayer.decide(partition, chunk, self._decision, room)
        if decided:
            last = records[decided - 1]
            if not isinstance(last.value, PackedBatch):  # a higher limit makes its records readable
                self._lasts[partition] = last
        rest = records[decided:]
        reached = rest[0].offset if rest else next_offset
        self._passed += reached - self._positions.get(partition, reached)
        self._positions[partition] = self._next_offsets[partition] = reached
        return batch._replace(records=rest) if rest else None

    def is_due(self, room: int) -> bool:
        """Tell whether the transaction is full."""
        events = self._decision.events
        self._bytes += sum(len(event.value) for event in events[self._measured :])
        self._measured = len(events)
        return (
            len(events) >= room
            or len(self._decision.settled) >= TRANSACTION_SETTLED
            or self._bytes >= TRANSACTION_BYTES
            or self._passed >= TRANSACTION_OFFSETS
        )

    async def write(self) -> None:
        """Make it true: events, the ids that are settled, and how far the replay is, together."""
        if not self._next_offsets:
            return
        state, decision = self._run.committed, self._decision
        transaction_batches = self._journal.transaction_batches()
        for event in decision.events:
            number = partition_for_key(event.key, self._target.partitions)
            transaction_batches.to(self._target.topic, number).append(
                event.key, event.value, event.headers
            )
        counts = msgspec.structs.replace(state.counts, invalid=dict(state.counts.invalid))
        counts.add(decision.counts)
        now = time.monotonic()
        moved = msgspec.structs.replace(
            state,
            updated_at_ms=wall_clock_ms(),
            ranges=state.moved(
                self._next_offsets, {p: Fingerprint.of(last) for p, last in self._lasts.items()}
            ),
            counts=counts,
            transactions=state.transactions + 1,
            busy_seconds=state.busy_seconds + now - self._began,
        )
        entries = [state_record(moved)]
        if decision.settled:
            entries.append(settled_record(state.name, state.transactions, decision.settled))
        await self._journal.commit(transaction_batches, entries)
        self._replayer.settle(decision.settled)
        self._run.accept(moved)
        self._decision, self._next_offsets, self._lasts = ReplayDecision(), {}, {}
        self._began, self._passed, self._bytes, self._measured = now, 0, 0, 0


def _require_same(state: ReplayState, request: ReplayRequest) -> None:
    for option, was in state.arguments.items():
        if request.arguments[option] != was:
            raise ConfigError(
                f"replay {state.name} was started with --{option.replace('_', '-')} {was!r}; "
                "say the same to go on with it, or choose another --name"
            )
