"""The real service with one fault planted into its engine, to show that the checker sees it.

    python -m tests.chaos.planted FAULT

Each fault is a design that seems right and works as long as no failure occurs.
"""

from __future__ import annotations

import asyncio
import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from consumer.config import Settings
from consumer.kafka.client.writer import KafkaWriter
from consumer.pipeline import decider as pipeline
from consumer.pipeline.decider import Decider
from consumer.service.app import run_service
from consumer.shard import startup
from consumer.shard.loop import ShardLoop
from consumer.shard.restore import restore
from consumer.shard.startup import Startup
from consumer.shard.transaction import apply_to_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.producer.message_accumulator import BatchBuilder

    from consumer.kafka.client.reader import KafkaReader
    from consumer.kafka.types import TopicPartition
    from consumer.pipeline.decider import Decision
    from consumer.pipeline.records import SourceBatch
    from consumer.shard.changelog import ShardState
    from consumer.shard.context import ShardContext
    from consumer.shard.progress import Progress

MODULE = "tests.chaos.planted"
KEPT_MEMORIES: dict[int, ShardState] = {}


class Fault(StrEnum):
    """What is wrong with the service."""

    UNCHECKED_COMMIT = "unchecked-commit"
    EARLY_STATE = "early-state"
    TRUSTED_OFFSETS = "trusted-offsets"
    NO_FORWARDING = "no-forwarding"
    SHORT_RESTORE = "short-restore"


def with_fault(fault: Fault) -> list[str]:
    """Return the command for a `Service` with this fault."""
    return [MODULE, fault.value]


def plant(owner: object, name: str, replacement: object) -> None:
    """Put something else in the place of a part that must be there."""
    getattr(owner, name)
    setattr(owner, name, replacement)


def commit_unchecked() -> None:
    """Commit as soon as every batch has an answer, without checking the answer."""

    async def send(
        self: KafkaWriter, finished: Mapping[TopicPartition, list[BatchBuilder]]
    ) -> dict[TopicPartition, int]:
        producer = self._producer
        await producer.begin_transaction()
        answers: list[tuple[TopicPartition, asyncio.Future[Any]]] = []
        for target, batches in finished.items():
            for batch in batches:
                answer = await producer.send_batch(batch, target.topic, partition=target.partition)
                answers.append((target, answer))
        await asyncio.wait([answer for _, answer in answers])
        first_offsets: dict[TopicPartition, int] = {}
        for target, answer in answers:
            if answer.exception() is None:
                first_offsets.setdefault(target, answer.result().offset)
        return first_offsets

    plant(KafkaWriter, "_send", send)


def apply_state_early() -> None:
    """Let the memory change before the commit, and outlive the transaction that fails."""
    commit = ShardLoop._commit  # noqa: SLF001 - the fault

    async def restore_once(
        context: ShardContext, reader: KafkaReader, barrier_offset: int, memory: ShardState
    ) -> None:
        kept = KEPT_MEMORIES.setdefault(context.shard, memory)
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


def trust_group_offsets() -> None:
    """Begin where the group's committed offsets say, as a consumer does by default."""
    verify = Startup.verify

    async def positions(self: Startup, *, accept_empty_state: bool) -> dict[TopicPartition, int]:
        known = await verify(self, accept_empty_state=accept_empty_state)
        group_id = self._context.settings.group_id
        committed = await self._readers.admin.group_offsets(group_id)
        return {source: committed.get(source, 0) for source in known}

    plant(Startup, "verify", positions)


def keep_records_where_they_are() -> None:
    """Let every shard decide about whatever it reads: each has ids of its own."""
    decide = Decider.decide

    def decide_here(self: Decider, batch: SourceBatch, decision: Decision, ceiling_ms: int) -> None:
        plant(pipeline, "home", lambda *_: self.settings.shard)
        decide(self, batch, decision, ceiling_ms)

    plant(Decider, "decide", decide_here)


def restore_to_end_offsets() -> None:
    """Restore up to the end offset that a read_committed consumer gets from the broker."""

    async def restore_short(
        context: ShardContext, reader: KafkaReader, barrier_offset: int, memory: ShardState
    ) -> None:
        end = (await reader.end_offsets([context.changelog]))[context.changelog]
        await restore(context, reader, min(barrier_offset, end - 1), memory)

    plant(startup, "restore", restore_short)


PLANT = {
    Fault.UNCHECKED_COMMIT: commit_unchecked,
    Fault.EARLY_STATE: apply_state_early,
    Fault.TRUSTED_OFFSETS: trust_group_offsets,
    Fault.NO_FORWARDING: keep_records_where_they_are,
    Fault.SHORT_RESTORE: restore_to_end_offsets,
}


def main() -> None:
    """Plant the fault and run the service."""
    PLANT[Fault(sys.argv[1])]()
    run_service(Settings.load(os.environ), os.environ)


if __name__ == "__main__":
    main()
