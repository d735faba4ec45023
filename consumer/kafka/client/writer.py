"""One shard's transactional producer: fence, write one transaction, close.

Never reused after an error. aiokafka commits a transaction although a batch of it failed, and may
skip the EndTxn of an abort, so the only safe reaction to any failure is a new InitProducerId:
the broker then settles what was left open. That is what a new task does first.
"""

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, cast

from aiokafka import AIOKafkaProducer

from consumer.errors import TaskFailed
from consumer.kafka import port
from consumer.kafka.client import private_api
from consumer.kafka.client.connection import Connection, bounded, translate
from consumer.kafka.client.transaction_batches import TransactionBatches
from consumer.kafka.clock import BrokerClock
from consumer.kafka.types import TopicPartition

# InitProducerId waits for the markers of the fenced owner's transaction: seconds, at the most.
FENCE_SECONDS: Final = 30.0
CLOSE_SECONDS: Final = 2.0
# aiokafka wraps sequence numbers wrongly after 2^31 records of a partition: renew long before.
MAX_RECORDS_PER_PRODUCER: Final = 2**30
# Of a produce answer: its time is the broker's own, not what the records said.
LOG_APPEND_TIME: Final = 1

private_api.set_concurrent_transactions_backoff(0.003)


class KafkaWriter:
    """Writes transactions under one transactional id; at most one producer at a time can."""

    def __init__(
        self, connection: Connection, transactional_id: str, transaction_timeout_ms: int
    ) -> None:
        self.transactional_id = transactional_id
        self.broker_clock = BrokerClock()
        # Every step must end before the broker would abort the transaction by itself.
        self._step_seconds = transaction_timeout_ms / 1000 / 2
        self.begun_transactions = 0
        self.committed_transactions = 0
        self._records_written = 0
        self._producer = AIOKafkaProducer(
            **connection.options(transactional_id),
            transactional_id=transactional_id,
            transaction_timeout_ms=transaction_timeout_ms,
        )

    async def fence(self) -> None:
        """Take the transactional id over: InitProducerId (KIP-98).

        When it returns, no earlier owner can write anything visible any more and the outcome of
        its last transaction is settled.

        Raises:
            TaskFailed, ClusterError, TransientError: as ``translate`` says.
        """
        try:
            await bounded(self._producer.start(), FENCE_SECONDS, "InitProducerId")
        except Exception as error:
            raise translate(error, "fence") from error

    @property
    def producer_id_and_epoch(self) -> tuple[int, int]:
        """The producer in the brokers' logs, and which owner of it this is; after ``fence``."""
        return private_api.producer_id_and_epoch(self._producer)

    def new_batches(
        self, max_message_bytes: Mapping[str, int], unstamped: Collection[str] = ()
    ) -> TransactionBatches:
        """Return the empty batches of a transaction; see ``TransactionBatches``."""
        return TransactionBatches(max_message_bytes, unstamped)

    async def send(self, batches: port.TransactionBatches) -> dict[TopicPartition, int]:
        """Open a transaction and deliver every batch; return the first offset per partition.

        Every batch's own future is checked: a commit would succeed without a failed batch.

        Raises:
            Fenced: another producer took the transactional id over.
            TaskFailed: a batch failed or did not answer; nothing of it may be committed.
        """
        finished = cast("TransactionBatches", batches).finish()
        self._records_written += sum(b.record_count() for bs in finished.values() for b in bs)
        if self._records_written > MAX_RECORDS_PER_PRODUCER:
            raise TaskFailed("the producer's sequence numbers are used up; a new one is due")
        try:
            return await bounded(self._send(finished), self._step_seconds, "the send")
        except Exception as error:
            raise translate(error, "send") from error

    async def commit(self) -> None:
        """Commit what ``send`` delivered.

        Raises:
            TaskFailed: the outcome is unknown; only a new fence can settle it.
            Fenced: another producer took the transactional id over; nothing was committed.
        """
        try:
            await bounded(
                self._producer.commit_transaction(), self._step_seconds, "the commit (EndTxn)"
            )
        except Exception as error:
            raise translate(error, "commit") from error
        self.committed_transactions += 1

    async def commit_in(self, partitions: Iterable[TopicPartition]) -> None:
        """Commit a transaction without records, which writes its marker to these partitions.

        A marker decides about all that this producer has open in the partition. So it completes
        what an earlier transaction of this writer, which was committed, has left open there.

        Raises:
            Fenced, TaskFailed: as ``commit``.
        """
        try:
            await bounded(self._begin(), self._step_seconds, "the begin of a transaction")
            private_api.add_to_transaction(self._producer, partitions)
        except Exception as error:
            raise translate(error, "begin") from error
        await self.commit()

    async def refresh(self) -> None:
        """Ask for the topics anew: the library refuses a partition that it does not know yet.

        Raises:
            TaskFailed: the cluster did not answer.
        """
        await bounded(
            self._producer.client.force_metadata_update(), self._step_seconds, "the metadata"
        )

    async def close(self) -> None:
        """Close without waiting for deliveries; an open transaction is left to the next fence."""
        task = private_api.abandon_producer(self._producer)
        if task is not None:
            # After the first cancel it waits for its requests. The second cancels those as well.
            for _ in range(2):
                task.cancel()
                await asyncio.wait([task], timeout=CLOSE_SECONDS / 4)
            if task.done() and not task.cancelled():
                task.exception()
        with contextlib.suppress(TaskFailed):
            await bounded(self._producer.client.close(), CLOSE_SECONDS, "closing the producer")

    async def _begin(self) -> None:
        await self._producer.begin_transaction()
        self.begun_transactions += 1

    async def _send(
        self, finished: Mapping[TopicPartition, list[private_api.Batch]]
    ) -> dict[TopicPartition, int]:
        await self._begin()
        ended = private_api.transaction_end(self._producer)
        deliveries: list[tuple[TopicPartition, asyncio.Future[Any]]] = []
        # Round by round, so that the first batches of all partitions go out in one request and
        # one AddPartitionsToTxn; a second batch of a partition waits until the first is taken.
        rounds = max(len(batches) for batches in finished.values())
        try:
            for turn in range(rounds):
                for target, batches in finished.items():
                    if turn < len(batches):
                        delivery = await self._producer.send_batch(
                            batches[turn], target.topic, partition=target.partition
                        )
                        delivery.add_done_callback(_take_note)
                        deliveries.append((target, delivery))
            delivered = asyncio.gather(*(d for _, d in deliveries), return_exceptions=True)
            # The transaction may end by itself (a missing ACL); then no batch ever answers.
            either: set[asyncio.Future[Any]] = {delivered, ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # The reason why the transaction ended explains every later refusal: it comes first.
            if ended.done() and (reason := ended.exception()) is not None:
                raise reason
        first_offsets: dict[TopicPartition, int] = {}
        for target, delivery in deliveries:
            answer = delivery.result()
            first_offsets.setdefault(target, answer.offset)
            if answer.timestamp_type == LOG_APPEND_TIME and answer.timestamp is not None:
                self.broker_clock.note(answer.timestamp)
        return first_offsets


def _take_note(delivery: asyncio.Future[Any]) -> None:
    """See a delivery's outcome, also where a later send failed and nobody asks for it any more.

    asyncio would write a warning about it past our logs.
    """
    if not delivery.cancelled():
        delivery.exception()
