"""Replay: publishes each id's ready event once, even if the process is killed at any moment."""

import time
from contextlib import aclosing

import msgspec

from consumer.config import Settings
from consumer.errors import ConfigError
from consumer.jobs.context import JobContext, open_job_context
from consumer.jobs.job import Attempt, Job
from consumer.jobs.journal import REPLAY, whoami
from consumer.jobs.progress import Goal, ProgressReport
from consumer.jobs.replay.plan import Plan, PlanBuilder
from consumer.jobs.replay.request import ReplayRequest
from consumer.jobs.replay.source import ReplaySource, require_same_topics
from consumer.jobs.replay.state import (
    ReplayState,
    is_of_replay,
    range_states,
    read_settled,
    read_state,
    read_states,
    require_state_fits,
    settled_entry,
    settled_keys,
    state_entry,
)
from consumer.jobs.replay.target import Target, describe_target
from consumer.jobs.replay.transaction import TRANSACTION_EVENTS, OnDecided, ReplayTransaction
from consumer.jobs.retry import RESUME_HINT, ShutdownSignal
from consumer.kafka.clock import wall_clock_ms
from consumer.kafka.read import ReadBatch


class Replay(Job[ReplayState, Plan | ReplayState]):
    """One replay. If it has already begun, `plan` returns its state instead of a plan."""

    def __init__(
        self,
        settings: Settings,
        request: ReplayRequest,
        shutdown: ShutdownSignal,
        progress: ProgressReport,
    ) -> None:
        super().__init__(settings, f"replay-{request.name}", shutdown, progress, rate=request.rate)
        self._request = request
        self._max_events = request.max_events
        self._target: Target | None = None
        self._state: ReplayState | None = None

    def owns_entry(self, key: bytes) -> bool:
        """Return whether the journal entry belongs to this replay."""
        return is_of_replay(self._request.name, key)

    async def make_plan(self, attempt: Attempt) -> Plan | ReplayState:
        """Return the plan, or the state of the replay that has begun under this name."""
        begun = read_state(attempt.entries, self._request.name)
        if begun is not None:
            return begun
        self._max_events = None  # a plan counts every event of the range
        self._target = await describe_target(attempt.context, self._request.target)
        began = time.monotonic()
        builder = PlanBuilder(await self._begin(attempt))
        await self._replay(attempt, builder.source, builder.add)
        return builder.plan(self._request, self._target, time.monotonic() - began)

    async def ensure_targets(self, context: JobContext) -> dict[str, int]:
        """Create the default target if it is missing; return the target's ``max.message.bytes``."""
        self._target = target = await describe_target(context, self._request.target)
        await target.ensure(context)
        return {target.topic: target.max_message_bytes}

    async def work(self, attempt: Attempt) -> ReplayState:
        """Begin or resume, publish what is left, and commit that the replay is finished.

        A new replay commits its range first, so that it has the same range when it resumes.
        """
        request = self._request
        self._state = state = read_state(attempt.entries, request.name)
        if state is None:
            source = await self._begin(attempt)
        else:
            _require_same_arguments(state, request)
            if state.finished_at_ms is not None:
                return state
            require_state_fits(state, self.settings.jobs_topic, attempt.journal_max_bytes)
            await require_same_topics(attempt.context, state)
            source = await ReplaySource.resume(
                attempt.context, request, self._known_target(), state
            )
        source.replayer.settle(read_settled(attempt.entries, request.name))
        await self._replay(attempt, source)
        return await self._finish(attempt)

    async def _begin(self, attempt: Attempt) -> ReplaySource:
        """Resolve the range and commit it as the state of a new replay."""
        context, request, target = attempt.context, self._request, self._known_target()
        now_ms = wall_clock_ms()
        source = await ReplaySource.begin(context, request, target, now_ms)
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
        require_state_fits(state, self.settings.jobs_topic, attempt.journal_max_bytes)
        batches = attempt.writer.transaction_batches()
        await self.commit(attempt, batches, [state_entry(state)])
        self._state = state
        return source

    async def _replay(
        self, attempt: Attempt, source: ReplaySource, on_decided: OnDecided | None = None
    ) -> None:
        """Read the rest of the range, decide about its records, and commit in transactions."""
        if self._remaining_events() == 0:  # an earlier attempt has published the last event
            return
        ranges = self._committed().remaining.ranges
        positions = {partition: offsets.start for partition, offsets in ranges.items()}

        def next_transaction() -> ReplayTransaction:
            return ReplayTransaction(source.replayer, positions, time.monotonic(), on_decided)

        transaction = next_transaction()
        async with aclosing(source.read(attempt.context)) as batches:
            async for batch in batches:
                rest: ReadBatch | None = batch
                while rest is not None:
                    max_events = min(
                        attempt.rate_limiter.max_transaction_events, self._remaining_events()
                    )
                    rest = transaction.decide(rest, max_events)
                    if transaction.is_full(max_events):
                        finished, transaction = transaction, next_transaction()
                        await self._commit_transaction(attempt, source, finished)
                        events = self._committed().counts.events
                        await attempt.rate_limiter.wait(events, self.shutdown)
                    if self.shutdown:
                        raise self.interrupted(attempt, self._stopped_message())
                    if self._remaining_events() == 0:
                        return
            if transaction.next_offsets:
                await self._commit_transaction(attempt, source, transaction)

    async def _commit_transaction(
        self, attempt: Attempt, source: ReplaySource, transaction: ReplayTransaction
    ) -> None:
        """Commit the events, the settled ids and the new state in one transaction."""
        state = self._committed()
        batches = attempt.writer.transaction_batches()
        transaction.write_events(batches, self._known_target())
        # Copy the dict `invalid`, because `add` changes it and the committed state must not change.
        counts = msgspec.structs.replace(state.counts, invalid=dict(state.counts.invalid))
        counts.add(transaction.counts)
        advanced = msgspec.structs.replace(
            state,
            updated_at_ms=wall_clock_ms(),
            ranges=state.advance_ranges(transaction.next_offsets, transaction.fingerprints),
            counts=counts,
            transactions=state.transactions + 1,
            busy_seconds=state.busy_seconds + transaction.seconds,
        )
        entries = [state_entry(advanced)]
        if transaction.settled:
            entries.append(settled_entry(state.name, state.transactions, transaction.settled))
        await self.commit(attempt, batches, entries)
        source.replayer.settle(transaction.settled)
        self._set_committed(advanced)

    async def _finish(self, attempt: Attempt) -> ReplayState:
        """Delete the settled ids from the journal, then commit that the replay is finished.

        At this point there is nothing left to publish. So if the process dies before the last
        commit, the next run only deletes the settled ids again and commits the finished state.
        """
        await attempt.writer.forget(settled_keys(self._committed()))
        now_ms = wall_clock_ms()
        state = msgspec.structs.replace(
            self._committed(), updated_at_ms=now_ms, finished_at_ms=now_ms
        )
        batches = attempt.writer.transaction_batches()
        await self.commit(attempt, batches, [state_entry(state)])
        self._set_committed(state)
        return state

    def _set_committed(self, state: ReplayState) -> None:
        self._state = state
        goal = Goal(state.offsets, state.handled_offsets, self._request.max_events)
        self.progress.show(goal, state.handled_offsets, state.counts.events)

    def _committed(self) -> ReplayState:
        if self._state is None:
            raise RuntimeError("the replay has no state before it begins")
        return self._state

    def _known_target(self) -> Target:
        if self._target is None:
            raise RuntimeError("the target is not described yet")
        return self._target

    def _remaining_events(self) -> int:
        """Return how many events the next transaction may have."""
        if self._max_events is None:
            return TRANSACTION_EVENTS
        return min(TRANSACTION_EVENTS, self._max_events - self._committed().counts.events)

    def _stopped_message(self) -> str:
        state = self._committed()
        return (
            f"replay {state.name} is stopped at {state.percent}% "
            f"({state.counts.events} events published); {RESUME_HINT}"
        )


async def list_replays(settings: Settings) -> list[ReplayState]:
    """Return every replay of the group, the latest first, without fencing a running one.

    Raises:
        ClusterError: the cluster is not usable.
    """
    async with open_job_context(settings, "replays") as context:
        return read_states(await context.read_journal(lambda key: key.startswith(REPLAY)))


async def find_replay(settings: Settings, name: str) -> ReplayState | None:
    """Return the replay of this name, or None.

    Raises:
        ClusterError: the cluster is not usable.
    """
    found = (state for state in await list_replays(settings) if state.name == name)
    return next(found, None)


def _require_same_arguments(state: ReplayState, request: ReplayRequest) -> None:
    for option, started_with in state.arguments.items():
        if request.arguments[option] != started_with:
            raise ConfigError(
                f"replay {state.name} was started with --{option.replace('_', '-')} "
                f"{started_with!r}; use the same value to resume it, or choose another --name"
            )
