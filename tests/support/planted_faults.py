"""Faults of a shard, to show that a check sees them: in the chaos suite and against the fake.

Each is a design that seems right and works as long as no failure occurs. A fault replaces a part of
the service by calling ``plant(owner, name, replacement)``: ``setattr``, or that of ``monkeypatch``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consumer.pipeline import decider
from consumer.pipeline.decider import Decider
from consumer.shard import startup
from consumer.shard.loop import ShardLoop
from consumer.shard.restore import restore
from consumer.shard.startup import Startup
from consumer.shard.transaction import apply_to_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from consumer.kafka.port import LogReader
    from consumer.kafka.types import TopicPartition
    from consumer.pipeline.decider import Decision
    from consumer.pipeline.records import SourceBatch
    from consumer.shard.changelog import ShardState
    from consumer.shard.context import ShardContext
    from consumer.shard.progress import Progress
    from consumer.shard.start_positions import Start

    Plant = Callable[[Any, str, object], None]


def apply_state_early(plant: Plant) -> None:
    """Let the memory change before the commit, and outlive the transaction that fails."""
    commit = ShardLoop._commit  # noqa: SLF001 - the fault
    memories: dict[int, ShardState] = {}

    async def restore_once(
        context: ShardContext, reader: LogReader, barrier_offset: int, memory: ShardState
    ) -> None:
        kept = memories.setdefault(context.shard, memory)
        if kept is memory:
            await restore(context, reader, barrier_offset, memory)
        else:
            vars(memory).update(vars(kept))

    async def apply_first(
        self: ShardLoop,
        decision: Decision,
        progress: Mapping[TopicPartition, Progress],
        *others: Any,  # noqa: ANN401 - handed through
        **named: Any,  # noqa: ANN401 - the same
    ) -> None:
        apply_to_memory(self._memory, decision, progress)
        await commit(self, decision, progress, *others, **named)

    plant(startup, "restore", restore_once)
    plant(ShardLoop, "_commit", apply_first)


def trust_group_offsets(plant: Plant) -> None:
    """Begin at the committed offsets of the group, as a consumer does by default."""
    verify = Startup.verify

    async def positions(self: Startup) -> Start:
        start = await verify(self)
        group_id = self._context.settings.group_id
        committed = await self._readers.admin.group_offsets(group_id)
        return start._replace(
            positions={source: committed.get(source, 0) for source in start.positions}
        )

    plant(Startup, "verify", positions)


def decide_everything_here(plant: Plant) -> None:
    """Let every shard decide about all records that it reads, without forwards."""
    decide = Decider.decide

    def decide_here(self: Decider, batch: SourceBatch, decision: Decision, ceiling_ms: int) -> None:
        plant(decider, "home", lambda *_: self.settings.shard)
        decide(self, batch, decision, ceiling_ms)

    plant(Decider, "decide", decide_here)


def restore_to_stable_offset(plant: Plant) -> None:
    """Restore up to the end offset that a read_committed consumer gets from the broker."""

    async def restore_short(
        context: ShardContext, reader: LogReader, barrier_offset: int, memory: ShardState
    ) -> None:
        end = (await reader.end_offsets([context.changelog]))[context.changelog]
        await restore(context, reader, min(barrier_offset, end - 1), memory)

    plant(startup, "restore", restore_short)
