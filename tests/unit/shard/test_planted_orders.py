"""Wrong orders of steps, planted one by one: the check of exactly once must see each of them.

The chaos suite plants such faults into a service on real brokers and needs minutes
(``tests/chaos/planted.py``). Here each takes a fraction of a second. Every scenario passes without
a fault, which is asserted too.
"""

from __future__ import annotations

import asyncio
import itertools
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from consumer.errors import Fenced, TaskFailed
from consumer.kafka.types import TopicPartition
from consumer.pipeline.decider import Decision
from consumer.shard import loop, startup
from consumer.shard.loop import ShardLoop
from consumer.shard.restore import restore
from tests.support import planted_faults as faults
from tests.support import shard_scenarios as scenarios
from tests.support.fake_clients import FakeWriter
from tests.support.fake_deployment import FakeDeployment, NotExactlyOnce
from tests.support.fake_kafka import FakeKafka

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from consumer.kafka import port
    from consumer.shard.changelog import ShardState
    from consumer.shard.context import ShardContext
    from consumer.shard.progress import Progress
    from tests.support.fake_clients import FakeReader
    from tests.support.shard_scenarios import Scenario

    Positions = Mapping[TopicPartition, Progress]
    Handed = Any  # through to what is replaced
    Plant = Callable[[pytest.MonkeyPatch], None]


class Fault(StrEnum):
    """What is wrong with the shard."""

    STATE_BEFORE_COMMIT = "memory changes before the commit and survives the task"
    STATE_NEVER_APPLIED = "memory does not change after the commit"
    COMMIT_UNCHECKED = "the commit is sent although a batch failed"
    COMMIT_RETRIED = "a transaction of unknown outcome is sent again"
    PROGRESS_FIRST = "progress is committed before the events, in another transaction"
    EVENTS_FIRST = "events are committed before their ids, in another transaction"
    LETTERS_FIRST = "dead letters are committed before their progress, in another transaction"
    DECIDED_AHEAD = "the next records are decided while the transaction before is written"
    RESTORE_TO_STABLE_OFFSET = "the restore ends at the last stable offset, not at the barrier"
    RESTORE_OF_UNCOMMITTED = "the restore and the loop read uncommitted records"
    BARRIER_BEFORE_FENCE = "the end of the restore is asked for before the fence"
    NO_FENCE = "each start has a transactional id of its own"
    GROUP_OFFSETS = "reading begins at the committed offsets of the group"
    NO_FORWARDING = "each shard decides about what it reads"


def shared(fault: Callable[[faults.Plant], None]) -> Plant:
    """Return a fault that the chaos suite plants too."""
    return lambda monkeypatch: fault(monkeypatch.setattr)


def state_never_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let only the progress change after a commit."""

    def apply_progress(memory: ShardState, _: Decision, progress: Positions) -> None:
        memory.progress.update(progress)

    monkeypatch.setattr(loop, "apply_to_memory", apply_progress)


def commit_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit as soon as every batch has some answer."""
    send = FakeWriter.send

    async def send_unchecked(
        self: FakeWriter, batches: port.TransactionBatches
    ) -> dict[TopicPartition, int]:
        try:
            return await send(self, batches)
        except Fenced:
            raise
        except TaskFailed:
            return {}

    monkeypatch.setattr(FakeWriter, "send", send_unchecked)


def commit_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a transaction again whose commit has failed."""
    write = ShardLoop._commit  # noqa: SLF001 - the fault

    async def write_until_it_succeeds(self: ShardLoop, *others: Handed, **named: Handed) -> None:
        while True:
            try:
                return await write(self, *others, **named)
            except Fenced:
                raise
            except TaskFailed:
                continue

    monkeypatch.setattr(ShardLoop, "_commit", write_until_it_succeeds)


def _in_two_transactions(
    monkeypatch: pytest.MonkeyPatch,
    split: Callable[[Decision, Positions], tuple[tuple[Decision, Positions], ...]],
) -> None:
    write = ShardLoop._commit  # noqa: SLF001 - the fault

    async def write_two(
        self: ShardLoop, decision: Decision, progress: Positions, *others: Handed, **named: Handed
    ) -> None:
        for part, positions in split(decision, progress):
            await write(self, part, positions, *others, **named)

    monkeypatch.setattr(ShardLoop, "_commit", write_two)


def progress_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit the progress, then what it is the progress of."""
    _in_two_transactions(
        monkeypatch,
        lambda decision, progress: (
            (Decision(stream_time_ms=decision.stream_time_ms), progress),
            (decision, {}),
        ),
    )


def events_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit the events, then their ids and the progress."""
    _in_two_transactions(
        monkeypatch,
        lambda decision, progress: (
            (replace(decision, entries={}), {}),
            (replace(decision, ready=[], forwards=[], dead_letters=[]), progress),
        ),
    )


def letters_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit everything, then the progress."""
    _in_two_transactions(
        monkeypatch,
        lambda decision, progress: (
            (decision, {}),
            (Decision(stream_time_ms=decision.stream_time_ms), progress),
        ),
    )


def decided_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write in the background, and wait for it only before the next write."""
    write = ShardLoop._commit  # noqa: SLF001 - the fault
    written: dict[ShardLoop, asyncio.Task[None]] = {}

    async def write_behind(self: ShardLoop, *others: Handed, **named: Handed) -> None:
        if self in written:
            await written.pop(self)
        written[self] = asyncio.create_task(write(self, *others, **named))

    monkeypatch.setattr(ShardLoop, "_commit", write_behind)


def restore_of_uncommitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every reader see uncommitted and aborted records."""
    reader = FakeKafka.reader

    def uncommitted(self: FakeKafka, client_id: str, **named: Handed) -> FakeReader:
        return reader(self, client_id, **{**named, "committed_only": False})

    monkeypatch.setattr(FakeKafka, "reader", uncommitted)


def barrier_before_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for the end of the changelog, then fence the former owner."""
    fence = FakeWriter.fence
    ends: dict[str, int] = {}

    async def ask_first(self: FakeWriter) -> None:
        changelog = TopicPartition("group.changelog", int(self.transactional_id.split("-")[1]))
        ends[self.transactional_id] = self._cluster.log(changelog).high_watermark
        await fence(self)

    async def restore_short(
        context: ShardContext, reader: FakeReader, barrier_offset: int, memory: ShardState
    ) -> None:
        end = ends[context.settings.transactional_id(context.shard)]
        await restore(context, reader, min(barrier_offset, end - 1), memory)

    monkeypatch.setattr(FakeWriter, "fence", ask_first)
    monkeypatch.setattr(startup, "restore", restore_short)


def no_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each writer a new transactional id."""
    writer, numbers = FakeKafka.writer, itertools.count()

    def unique(self: FakeKafka, transactional_id: str, timeout_ms: int) -> FakeWriter:
        return writer(self, f"{transactional_id}-{next(numbers)}", timeout_ms)

    monkeypatch.setattr(FakeKafka, "writer", unique)


PLANTED: dict[Fault, tuple[Plant, Scenario]] = {
    Fault.STATE_BEFORE_COMMIT: (shared(faults.apply_state_early), scenarios.unknown_outcomes),
    Fault.STATE_NEVER_APPLIED: (state_never_applied, scenarios.repeats_in_a_row),
    Fault.COMMIT_UNCHECKED: (commit_unchecked, scenarios.failed_batches),
    Fault.COMMIT_RETRIED: (commit_retried, scenarios.unknown_outcomes),
    Fault.PROGRESS_FIRST: (progress_first, scenarios.crashes),
    Fault.EVENTS_FIRST: (events_first, scenarios.crashes),
    Fault.LETTERS_FIRST: (letters_first, scenarios.crashes),
    Fault.DECIDED_AHEAD: (decided_ahead, scenarios.repeats_in_a_row),
    Fault.RESTORE_TO_STABLE_OFFSET: (
        shared(faults.restore_to_stable_offset),
        scenarios.open_transaction_on_the_changelog,
    ),
    Fault.RESTORE_OF_UNCOMMITTED: (restore_of_uncommitted, scenarios.crashes),
    Fault.BARRIER_BEFORE_FENCE: (barrier_before_fence, scenarios.takeover),
    Fault.NO_FENCE: (no_fence, scenarios.takeover),
    Fault.GROUP_OFFSETS: (shared(faults.trust_group_offsets), scenarios.wrong_group_offsets),
    Fault.NO_FORWARDING: (
        shared(faults.decide_everything_here),
        scenarios.repeats_on_all_partitions,
    ),
}


async def deployment_for(scenario: Scenario) -> FakeDeployment:
    """Return a deployment with as many shards as a scenario needs."""
    return await FakeDeployment.create(
        shards=3 if scenario is scenarios.repeats_on_all_partitions else 1
    )


@pytest.mark.parametrize("scenario", list(dict.fromkeys(it for _, it in PLANTED.values())))
async def test_without_a_fault_each_scenario_passes(scenario: Scenario) -> None:
    """A check that always failed would prove nothing."""
    await scenario(await deployment_for(scenario))


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name.lower())
async def test_a_planted_order_is_seen(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id is lost or published twice, and the check says so; nothing else fails."""
    plant, scenario = PLANTED[fault]
    deployment = await deployment_for(scenario)
    plant(monkeypatch)
    with pytest.raises(NotExactlyOnce):
        await scenario(deployment)
