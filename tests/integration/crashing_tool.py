"""A command with a crash: it kills its own process at a chosen step of a transaction.

    python -m tests.integration.crashing_tool STEP OCCURRENCE DELAY_MS COMMAND…

The steps are those of a transaction (`Step`): decided, sent, committing, committed. The first
transaction of a process is its restore barrier, which counts as the first occurrence of each step.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from consumer.cli import main as run_command
from consumer.kafka.client.writer import KafkaWriter
from consumer.kafka.port import TransactionBatches
from consumer.kafka.types import TopicPartition
from consumer.shard.events import Step
from tests.integration.crashing_service import die

if TYPE_CHECKING:
    from collections.abc import Callable

MODULE = "tests.integration.crashing_tool"
_send, _commit = KafkaWriter.send, KafkaWriter.commit


def tool_crashing_at(step: Step, occurrence: int, *command: str, delay_ms: float = 0) -> list[str]:
    """Return the command for a `ServiceProcess` that crashes at this step."""
    return [MODULE, step.value, str(occurrence), str(delay_ms), *command]


def fuse(step: Step, occurrence: int, delay_ms: float) -> Callable[[Step], None]:
    """Return the callback for each step; it kills the process at the chosen one."""
    left = occurrence

    def reach(reached: Step) -> None:
        nonlocal left
        left -= reached is step
        if left != 0 or reached is not step:
            return
        if step is Step.COMMITTING:
            # The commit begins when this returns: a kill here would come before its EndTxn.
            asyncio.get_running_loop().call_later(delay_ms / 1000, die)
        else:
            die()

    return reach


def main() -> int:
    """Run the command until the crash."""
    reach = fuse(Step(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))

    async def send(self: KafkaWriter, batches: TransactionBatches) -> dict[TopicPartition, int]:
        reach(Step.DECIDED)
        offsets = await _send(self, batches)
        reach(Step.SENT)
        return offsets

    async def commit(self: KafkaWriter) -> None:
        reach(Step.COMMITTING)
        await _commit(self)
        reach(Step.COMMITTED)

    KafkaWriter.send = send  # type: ignore[method-assign] # the fuse
    KafkaWriter.commit = commit  # type: ignore[method-assign] # the fuse
    return run_command(sys.argv[4:])


if __name__ == "__main__":
    sys.exit(main())
