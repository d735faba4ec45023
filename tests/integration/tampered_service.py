"""The service with a condition that normally needs months of operation, or a rare network failure.

    python -m tests.integration.tampered_service TAMPERING ARGUMENT

- `frozen STEP`: it freezes itself (SIGSTOP) when a task first reaches this step.
- `striking SIGNAL:PID:SHARD`: it sends a broker this signal when it sends the shard's sixth EndTxn.
- `slow RATE`: it sends this many records of a transaction per second.
- `aged RECORDS`: the first producer of each shard begins as if it had already written this many
  records to each partition; its sequence numbers continue from there.
- `haunted SECONDS`: this many seconds after the first fence of a shard, a delayed InitProducerId
  request of the same process arrives at the broker.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

from consumer.config import Settings
from consumer.kafka.client import Connection
from consumer.kafka.client.writer import KafkaWriter
from consumer.service.app import run_service
from consumer.service.logs import LogObserver
from consumer.shard.events import Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.producer.message_accumulator import BatchBuilder

    from consumer.kafka.types import TopicPartition

MODULE = "tests.integration.tampered_service"
FROZEN, STRIKING, SLOW, AGED, HAUNTED = "frozen", "striking", "slow", "aged", "haunted"
STRUCK_COMMIT = 6
GHOST_TIMEOUT_MS = 15_000


def frozen_at(step: Step) -> list[str]:
    """Return the command for a `ServiceProcess` that freezes itself at this step."""
    return [MODULE, FROZEN, step.value]


def striking(sign: signal.Signals, pid: int, shard: int) -> list[str]:
    """Return the command for a `ServiceProcess` that signals a broker just before an EndTxn."""
    return [MODULE, STRIKING, f"{sign.value}:{pid}:{shard}"]


def slow(records_per_second: int) -> list[str]:
    """Return the command for a `ServiceProcess` with a link of this rate."""
    return [MODULE, SLOW, str(records_per_second)]


def aged(records: int) -> list[str]:
    """Return the command for a `ServiceProcess` whose producers begin with this many records."""
    return [MODULE, AGED, str(records)]


def haunted(seconds: float) -> list[str]:
    """Return the command for a `ServiceProcess` that a late InitProducerId of its own fences."""
    return [MODULE, HAUNTED, str(seconds)]


def replace(where: type, name: str, method: object) -> None:
    """Replace a method for the rest of this process."""
    setattr(where, name, method)


class Freezer(LogObserver):
    """Logs as the service does, and freezes the process at the first occurrence of the step."""

    def __init__(self, step: Step) -> None:
        """Set the target."""
        self._step: Step | None = step

    def on_step(self, shard: int, step: Step) -> None:
        """Freeze at the step, once."""
        super().on_step(shard, step)
        if step is self._step:
            self._step = None
            os.kill(os.getpid(), signal.SIGSTOP)


class Striker(LogObserver):
    """Logs as the service does, and sends a signal to a broker just before a shard's EndTxn."""

    def __init__(self, sign: int, pid: int, shard: int) -> None:
        """Set the target."""
        self._sign, self._pid, self._shard = sign, pid, shard
        self._commits_left = STRUCK_COMMIT

    def on_step(self, shard: int, step: Step) -> None:
        """Count the commits; send the signal at the last one."""
        super().on_step(shard, step)
        if shard != self._shard or step is not Step.COMMITTING:
            return
        self._commits_left -= 1
        if self._commits_left == 0:
            os.kill(self._pid, self._sign)


def slow_down(records_per_second: int) -> None:
    """Delay each send as a slow link does."""
    send = KafkaWriter._send  # noqa: SLF001 - the part of it that has a bound

    async def send_slowly(
        writer: KafkaWriter, finished: Mapping[TopicPartition, list[BatchBuilder]]
    ) -> dict[TopicPartition, int]:
        records = sum(batch.record_count() for batches in finished.values() for batch in batches)
        await asyncio.sleep(records / records_per_second)
        return await send(writer, finished)

    replace(KafkaWriter, "_send", send_slowly)


def age_producers(records: int) -> None:
    """Let the first producer of each transactional id start with this count of records."""
    start, seen = KafkaWriter.fence, set[str]()

    async def fence(writer: KafkaWriter) -> None:
        await start(writer)
        if writer.transactional_id not in seen:
            seen.add(writer.transactional_id)
            manager = writer._producer._txn_manager  # noqa: SLF001 - where the library counts
            manager._sequence_numbers = defaultdict(lambda: records)  # noqa: SLF001 - the same
            writer._records_written = records  # noqa: SLF001 - where we count

    replace(KafkaWriter, "fence", fence)


def haunt_producers(seconds: float, connection: Connection) -> None:
    """After the first fence of each transactional id, send one more that no shard waits for."""
    start, ghosts = KafkaWriter.fence, dict[str, asyncio.Task[None]]()

    async def come_late(ghost: KafkaWriter) -> None:
        await asyncio.sleep(seconds)
        try:
            await start(ghost)
        finally:
            await ghost.close()

    async def fence(writer: KafkaWriter) -> None:
        await start(writer)
        name = writer.transactional_id
        if name not in ghosts:
            ghost = KafkaWriter(connection, name, GHOST_TIMEOUT_MS)
            ghosts[name] = asyncio.create_task(come_late(ghost))

    replace(KafkaWriter, "fence", fence)


def main() -> None:
    """Run the service with the changes."""
    tampering, argument = sys.argv[1:]
    settings = Settings.load(os.environ)
    observer = LogObserver()
    if tampering == FROZEN:
        observer = Freezer(Step(argument))
    elif tampering == STRIKING:
        observer = Striker(*map(int, argument.split(":")))
    elif tampering == SLOW:
        slow_down(int(argument))
    elif tampering == AGED:
        age_producers(int(argument))
    else:
        haunt_producers(float(argument), Connection.of(settings))
    run_service(settings, os.environ, observer=observer)


if __name__ == "__main__":
    main()
