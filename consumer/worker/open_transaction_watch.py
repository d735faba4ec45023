"""Every two minutes, checks for transactions that the brokers left open while shards run.

One check serves all shards of the process. It sends one metadata request, and one DescribeProducers
request (KIP-664) to each leader. The check can find three things:

- A transaction of an earlier owner of a shard. The shard's task ends. The next task fences, and
  then waits until the transaction is ended.
- A transaction that a running shard has already committed, but whose marker is missing in a
  partition. The shard writes the marker.
- A transaction of another producer that stays open for five minutes. The check logs it, because
  subscribers get no records after the start of the transaction.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

import msgspec
import structlog

from consumer.errors import ClusterError, TaskFailed, TransientError
from consumer.kafka.open_transactions import CHECK_SECONDS, OpenTransactionCheck, of_earlier_owners
from consumer.kafka.port import TransactionalWriter
from consumer.kafka.types import OpenTransaction, TopicPartition

# The time between two checks. If the brokers left a transaction open in a partition, subscribers
# get no later record of this partition until the producer's next marker there ends the transaction.
INTERVAL_SECONDS: Final = 120.0
# Longer than any common transaction.timeout.ms, for which clients use one minute by default.
REPORT_AFTER_SECONDS: Final = 300.0
REPORT_AGAIN_SECONDS: Final = 3600.0
log = structlog.get_logger(__name__)


class WritingTask(Protocol):
    """The part of a shard's task that the watch uses."""

    shard: int

    @property
    def running_writer(self) -> TransactionalWriter | None:
        """The task's writer while the task runs, else None."""

    def stop_for_hanging_transaction(self, description: str) -> None:
        """End the task before its next transaction."""

    def write_markers(self, partitions: Iterable[TopicPartition]) -> None:
        """Write the missing markers of the task's own committed transaction to these partitions."""


class _Seen(msgspec.Struct):
    """What the checks know about a transaction that the last check found open."""

    since: float
    begun: int | None
    """How many transactions the writer of this transaction had begun at the first check that found
    the transaction open and the writer running. So this transaction is one of them.

    None: no check has found a running shard in this process whose writer wrote the transaction.
    """
    next_report: float = 0.0


class OpenTransactionWatch:
    """Runs ``check`` every two minutes, and keeps what the checks have found."""

    def __init__(
        self,
        check: OpenTransactionCheck,
        tasks: Callable[[], Iterable[WritingTask]],
        clock: Callable[[], float],
    ) -> None:
        """`check` queries the topics of the service, `tasks` returns the tasks of this process."""
        self._open_transactions = check
        self._tasks = tasks
        self._clock = clock
        self._seen: dict[OpenTransaction, _Seen] = {}

    async def keep_checking(self) -> None:
        """Check every two minutes; never return."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            try:
                await self.check()
            except (ClusterError, TaskFailed, TransientError) as error:
                log.warning("hanging_check_failed", error=str(error))

    @property
    def open_seconds(self) -> Mapping[str, float]:
        """By topic: for how many seconds its oldest open transaction has been observed."""
        now = self._clock()
        oldest = dict.fromkeys(self._open_transactions.topics, 0.0)
        for transaction, seen in self._seen.items():
            topic = transaction.partition.topic
            oldest[topic] = max(oldest.get(topic, 0.0), now - seen.since)
        return oldest

    async def check(self) -> None:
        """Query once. If a transaction may hang, query again a second later, and act on the result.

        Raises:
            TransientError, TaskFailed, ClusterError: as ``OpenTransactionCheck.query``.
        """
        if await self._check_once(is_last=False):
            await asyncio.sleep(CHECK_SECONDS)
            await self._check_once(is_last=True)

    async def _check_once(self, *, is_last: bool) -> bool:
        """Return whether a transaction may hang. With `is_last`, also act on each such transaction.

        1. Take the writers of the running tasks. Each of them fenced before the query. So all
           transactions of earlier owners should have ended.
        2. Query the leaders for the open transactions.
        3. Compare these transactions with each writer whose task still runs.
        """
        # 1.
        writers = [(task, writer) for task in self._tasks() if (writer := task.running_writer)]
        answer = await self._open_transactions.query()  # 2.
        found = answer.found
        self._remember(found, [writer for _, writer in writers])
        may_hang = False
        for task, writer in writers:  # 3.
            if task.running_writer is not writer:
                continue
            older = of_earlier_owners(found, *writer.producer_id_and_epoch)
            own = [it for it in found if self._is_left_by(writer, it)]
            may_hang = may_hang or bool(older or own)
            if not older:  # partitions that have a leader again are checked now
                writer.unchecked &= answer.unchecked
            if is_last and older:
                description = self._open_transactions.describe(writer.transactional_id, older)
                task.stop_for_hanging_transaction(description)
            elif is_last and own:
                task.write_markers([it.partition for it in own])
        if not is_last:
            self._log_others({writer.producer_id_and_epoch[0] for _, writer in writers})
        return may_hang

    def _is_left_by(self, writer: TransactionalWriter, found: OpenTransaction) -> bool:
        """Return whether this writer has committed a transaction that the leader reports as open.

        The found transaction is among the first `begun` transactions of this writer. A writer runs
        one transaction after the other, and is never used again after an error. So if the writer
        has committed `begun` transactions, it has committed the found one too.
        """
        if (found.producer_id, found.producer_epoch) != writer.producer_id_and_epoch:
            return False
        begun = self._seen[found].begun
        return begun is not None and writer.committed_transactions >= begun

    def _remember(
        self, found: Iterable[OpenTransaction], writers: Iterable[TransactionalWriter]
    ) -> None:
        begun = {it.producer_id_and_epoch: it.begun_transactions for it in writers}
        now, before = self._clock(), self._seen
        self._seen = {it: before.get(it) or _Seen(now, None) for it in found}
        for it, seen in self._seen.items():
            if seen.begun is None:  # its writer's task may have become RUNNING since the last check
                seen.begun = begun.get((it.producer_id, it.producer_epoch))

    def _log_others(self, ours: Iterable[int]) -> None:
        """Log each transaction that another producer has left open for five minutes.

        `ours` holds the producer ids of this process, which are not logged.
        """
        now = self._clock()
        for transaction, seen in self._seen.items():
            seconds = now - seen.since
            if transaction.producer_id in ours or seconds < REPORT_AFTER_SECONDS:
                continue
            if now < seen.next_report:
                continue
            seen.next_report = now + REPORT_AGAIN_SECONDS
            log.warning(
                "output_held_back",
                topic=transaction.partition.topic,
                partition=transaction.partition.partition,
                start_offset=transaction.start_offset,
                producer_id=transaction.producer_id,
                producer_epoch=transaction.producer_epoch,
                seconds=round(seconds),
                hint="a producer left a transaction open; subscribers get no records after it: "
                f"{self._open_transactions.describe_command(transaction)}",
            )
