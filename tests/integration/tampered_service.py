"""The service with one thing arranged that would otherwise take months, or an unlucky network.

    python -m tests.integration.tampered_service TAMPERING ARGUMENT

- `frozen STEP`: it freezes itself (SIGSTOP) when a task first reaches this step.
- `striking SIGNAL:PID:SHARD`: it sends a broker this signal as the shard's sixth EndTxn sets out.
- `slow RATE`: to send a transaction takes a second for each so many of its records.
- `aged RECORDS`: the first producer of each shard has written so many records to each partition
  already, and its sequence numbers go on from there.
- `haunted SECONDS`: so long after a shard's first fence an InitProducerId of its own former start
  arrives at the broker.
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
    """Return the command for a `Service` that freezes itself at this step."""
    return [MODULE, FROZEN, step.value]


def striking(sign: signal.Signals, pid: int, shard: int) -> list[str]:
    """Return the command for a `Service` that sends a broker a signal just before an EndTxn."""
    return [MODULE, STRIKING, f"{sign.value}:{pid}:{shard}"]


def slow(records_per_second: int) -> list[str]:
    """Return the command for a `Service` behind a link that takes no more than this."""
    return [MODULE, SLOW, str(records_per_second)]


def aged(records: int) -> list[str]:
    """Return the command for a `Service` whose producers have written so much already."""
    return [MODULE, AGED, str(records)]


def haunted(seconds: float) -> list[str]:
    """Return the command for a `Service` that a late InitProducerId of its own will fence."""
    return [MODULE, HAUNTED, str(seconds)]


def replace(where: type, name: str, method: object) -> None:
    """Put another method in the place of one, for the rest of this process."""
    setattr(where, name, method)


class Freezer(LogObserver):
    """Logs as the service does, and stops the process when its step has come for the first time."""

    def __init__(self, step: Step) -> None:
        """Arm it."""
        self._step: Step | None = step

    def on_step(self, shard: int, step: Step) -> None:
        """Freeze at the step, once."""
        super().on_step(shard, step)
        if step is self._step:
            self._step = None
            os.kill(os.getpid(), signal.SIGSTOP)


class Striker(LogObserver):
    """Logs as the service does, and strikes a broker with a shard's EndTxn on its way."""

    def __init__(self, sign: int, pid: int, shard: int) -> None:
        """Arm it."""
        self._sign, self._pid, self._shard = sign, pid, shard
        self._commits_left = STRUCK_COMMIT

    def on_step(self, shard: int, step: Step) -> None:
        """Count the commits; the last one is struck."""
        super().on_step(shard, step)
        if shard != self._shard or step is not Step.COMMITTING:
            return
        self._commits_left -= 1
        if self._commits_left == 0:
            os.kill(self._pid, self._sign)


def slow_down(records_per_second: int) -> None:
    """Let each send take as long as a narrow link would make it."""
    send = KafkaWriter._send  # noqa: SLF001 - the part of it that has a bound

    async def send_slowly(
        writer: KafkaWriter, finished: Mapping[TopicPartition, list[BatchBuilder]]
    ) -> dict[TopicPartition, int]:
        records = sum(batch.record_count() for batches in finished.values() for batch in batches)
        await asyncio.sleep(records / records_per_second)
        return await send(writer, finished)

    replace(KafkaWriter, "_send", send_slowly)


def age_producers(records: int) -> None:
    """Let each transactional id's first producer begin its counts late."""
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
    """Let each transactional id's first fence be followed by one more, from nobody."""
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
    """Run the service, tampered with."""
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
