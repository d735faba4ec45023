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
from consumer.service.app import run_service
from tests.support.planted_faults import (
    apply_state_early,
    decide_everything_here,
    restore_to_stable_offset,
    trust_group_offsets,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.producer.message_accumulator import BatchBuilder

    from consumer.kafka.types import TopicPartition
    from tests.support.planted_faults import Plant

MODULE = "tests.chaos.planted"


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


def commit_unchecked(plant: Plant) -> None:
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


PLANT = {
    Fault.UNCHECKED_COMMIT: commit_unchecked,
    Fault.EARLY_STATE: apply_state_early,
    Fault.TRUSTED_OFFSETS: trust_group_offsets,
    Fault.NO_FORWARDING: decide_everything_here,
    Fault.SHORT_RESTORE: restore_to_stable_offset,
}


def main() -> None:
    """Plant the fault and run the service."""
    PLANT[Fault(sys.argv[1])](plant)
    run_service(Settings.load(os.environ), os.environ)


if __name__ == "__main__":
    main()
