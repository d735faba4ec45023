"""Ask every few minutes, while shards run, for transactions that the brokers have left open.

One question serves all shards of the process: one metadata request and one DescribeProducers to
each leader. Three things can be found in the answer:

- a transaction of an earlier owner of a shard: the shard stops, and waits behind its next fence;
- one of a running shard itself that it has committed already: the shard writes the missing marker;
- one of any producer that stays open for minutes: subscribers wait behind it, so it is reported.
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

# Subscribers are held back by such a transaction, but nothing becomes wrong before the next marker.
INTERVAL_SECONDS: Final = 120.0
# Above every transaction.timeout.ms that is common; the default of clients is a minute.
REPORT_AFTER_SECONDS: Final = 300.0
REPORT_AGAIN_SECONDS: Final = 3600.0
log = structlog.get_logger(__name__)


class WritingTask(Protocol):
    """What is asked of a shard's task."""

    shard: int

    @property
    def running_writer(self) -> TransactionalWriter | None:
        """Its producer while the task runs, else None."""

    def stop_over(self, hanging: str) -> None:
        """End the task before its next transaction; `hanging` says why."""

    def write_marker(self, partitions: Iterable[TopicPartition]) -> None:
        """Complete the task's own committed transaction in these partitions."""


class _Seen(msgspec.Struct):
    """A transaction that was open at an earlier look."""

    since: float
    begun: int | None
    """How many its shard had begun at the first look while it ran; None: it is of no shard here."""
    next_report: float = 0.0


class HangingWatch:
    """Looks in intervals; ``look`` is one of them."""

    def __init__(
        self,
        check: OpenTransactionCheck,
        tasks: Callable[[], Iterable[WritingTask]],
        clock: Callable[[], float],
    ) -> None:
        """`check` names the topics, `tasks` returns the tasks of this process."""
        self._check = check
        self._tasks = tasks
        self._clock = clock
        self._seen: dict[OpenTransaction, _Seen] = {}

    async def keep_looking(self) -> None:
        """Look in intervals; never returns."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            try:
                await self.look()
            except (ClusterError, TaskFailed, TransientError) as error:
                log.warning("hanging_check_failed", error=str(error))

    @property
    def open_seconds(self) -> Mapping[str, float]:
        """For how long the oldest open transaction of each topic has been seen open."""
        now = self._clock()
        oldest = dict.fromkeys(self._check.topics, 0.0)
        for transaction, seen in self._seen.items():
            topic = transaction.partition.topic
            oldest[topic] = max(oldest.get(topic, 0.0), now - seen.since)
        return oldest

    async def look(self) -> None:
        """Ask once, and once more a second later where something may hang.

        Raises:
            TransientError, TaskFailed, ClusterError: as ``OpenTransactionCheck.ask``.
        """
        if await self._look(is_last=False):
            await asyncio.sleep(CHECK_SECONDS)
            await self._look(is_last=True)

    async def _look(self, *, is_last: bool) -> bool:
        """Return whether a transaction may hang; act on it at the last look.

        1. Take the writers of the running tasks: their fences have returned before the question.
        2. Ask.
        3. Compare with each writer that is still at work.
        """
        # 1.
        writers = [(task, writer) for task in self._tasks() if (writer := task.running_writer)]
        found = await self._check.ask()  # 2.
        self._remember(found, [writer for _, writer in writers])
        may_hang = False
        for task, writer in writers:  # 3.
            if task.running_writer is not writer:
                continue
            older = of_earlier_owners(found, *writer.producer_id_and_epoch)
            own = [it for it in found if self._is_left_by(writer, it)]
            may_hang = may_hang or bool(older or own)
            if is_last and older:
                task.stop_over(self._check.describe(writer.transactional_id, older))
            elif is_last and own:
                task.write_marker([it.partition for it in own])
        if not is_last:
            self._report({writer.producer_id_and_epoch[0] for _, writer in writers})
        return may_hang

    def _is_left_by(self, writer: TransactionalWriter, found: OpenTransaction) -> bool:
        """Return whether this writer has committed the transaction that is open.

        It writes one transaction after the other, and uses a producer no more after an error. So
        every transaction that has ended under its epoch was committed.
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
            if seen.begun is None:  # its shard may have begun to run since the first look
                seen.begun = begun.get((it.producer_id, it.producer_epoch))

    def _report(self, ours: Iterable[int]) -> None:
        """Log the transactions of other producers that stay open."""
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
                hint=f"a producer left a transaction open; subscribers wait behind it: "
                f"{self._check.describe_command(transaction)}",
            )
