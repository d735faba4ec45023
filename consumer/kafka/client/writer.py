"""A transactional producer: fence, write one transaction after the other, close.

It must not be reused after an error. aiokafka commits a transaction although a batch of it failed,
and may skip the EndTxn of an abort. So the only safe reaction to a failure is a new
InitProducerId, with which the broker ends the open transaction. A new task begins with this call.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, cast

from aiokafka import AIOKafkaProducer

from consumer.errors import TaskFailed, TimedOut, TransactionUnanswered
from consumer.kafka import port
from consumer.kafka.client import private_api
from consumer.kafka.client.compression import NO_COMPRESSION
from consumer.kafka.client.connection import (
    Connection,
    bounded,
    close_client,
    stop_sender,
    translate,
)
from consumer.kafka.client.transaction_batches import TransactionBatches
from consumer.kafka.clock import BrokerClock
from consumer.kafka.cluster_faults import Fault
from consumer.kafka.open_transactions import refuse_unchecked
from consumer.kafka.types import TopicPartition

# InitProducerId waits for the markers of the fenced owner's transaction. This can take seconds.
FENCE_SECONDS: Final = 30.0
# aiokafka wraps sequence numbers wrongly after 2^31 records of a partition. So a producer fails
# after half as many records of all partitions, and a new task replaces it.
MAX_RECORDS_PER_PRODUCER: Final = 2**30
# The timestamp type of a produce response whose timestamp is the broker's.
LOG_APPEND_TIME: Final = 1

NO_COORDINATOR: Final = (
    "the brokers have no transaction coordinator; if this repeats, compare "
    "transaction.state.log.replication.factor with the number of brokers"
)

private_api.set_concurrent_transactions_backoff(0.003)
private_api.send_batches_with_one_copy()


class KafkaWriter:
    """Writes transactions under one transactional id.

    Only the newest writer of this id can commit.
    """

    def __init__(
        self,
        connection: Connection,
        transactional_id: str,
        transaction_timeout_ms: int,
        compression_type: str = NO_COMPRESSION,
    ) -> None:
        self.transactional_id = transactional_id
        self.unchecked: frozenset[TopicPartition] = frozenset()
        self.broker_clock = BrokerClock()
        # A transaction has two steps, send and commit. Each gets half of the time after which the
        # broker aborts the transaction.
        self._step_seconds = transaction_timeout_ms / 1000 / 2
        self.begun_transactions = 0
        self.committed_transactions = 0
        self._records_written = 0
        self._compression_type = compression_type
        self._faults = connection.servers.faults
        self._producer = AIOKafkaProducer(
            **connection.options(transactional_id),
            transactional_id=transactional_id,
            transaction_timeout_ms=transaction_timeout_ms,
        )

    async def fence(self) -> None:
        """Take the transactional id over: InitProducerId (KIP-98).

        Afterwards no earlier owner can commit, and the outcome of its last transaction is final.

        Raises:
            TaskFailed, ClusterError, TransientError: as ``translate`` says.
        """
        try:
            await bounded(self._producer.start(), FENCE_SECONDS, "InitProducerId")
        except Exception as error:
            ours = translate(error, "fence")
            kinds = {fault.kind for fault in self._faults.current()}
            if isinstance(ours, TimedOut) and Fault.TRANSACTION_COORDINATOR in kinds:
                ours = TimedOut(f"{ours}: {NO_COORDINATOR}")
            raise ours from error

    @property
    def producer_id_and_epoch(self) -> tuple[int, int]:
        """The producer id, and the epoch of this owner; valid after ``fence``."""
        return private_api.producer_id_and_epoch(self._producer)

    def new_batches(
        self, max_message_bytes: Mapping[str, int], unstamped: Collection[str] = ()
    ) -> TransactionBatches:
        """Return the empty batches of a transaction; see ``TransactionBatches``."""
        return TransactionBatches(max_message_bytes, unstamped, self._compression_type)

    async def send(self, batches: port.TransactionBatches) -> dict[TopicPartition, int]:
        """Begin a transaction and deliver every batch; return the first offset by partition.

        Check the result of every batch, because aiokafka would commit even if one has failed.

        Raises:
            Leaderless: one of the partitions is ``unchecked``; nothing was sent.
            Fenced: another producer took the transactional id over.
            TaskFailed: a batch failed or got no response, so the transaction must not be committed.
                Or the producer has written too many records.
        """
        finished = cast("TransactionBatches", batches).finish()
        refuse_unchecked(self, finished)
        self._records_written += sum(b.record_count() for bs in finished.values() for b in bs)
        if self._records_written > MAX_RECORDS_PER_PRODUCER:
            raise TaskFailed("the producer's sequence numbers are used up; it must be replaced")
        try:
            return await bounded(self._send(finished), self._step_seconds, "the send")
        except TimedOut as error:
            raise TransactionUnanswered(str(error)) from error
        except Exception as error:
            raise translate(error, "send") from error

    async def commit(self) -> None:
        """Commit the batches that ``send`` delivered.

        Raises:
            TaskFailed: the outcome is unknown until the next fence.
            Fenced: another producer took the transactional id over. The outcome is unknown until
                the next fence: aiokafka repeats EndTxn after a lost connection, and the repeated
                request can be refused although the first one committed.
            TransientError, ClusterError: as ``translate`` says; the outcome is unknown too.
        """
        try:
            await bounded(
                self._producer.commit_transaction(), self._step_seconds, "the commit (EndTxn)"
            )
        except TimedOut as error:
            raise TransactionUnanswered(str(error)) from error
        except Exception as error:
            raise translate(error, "commit") from error
        self.committed_transactions += 1

    async def commit_in(self, partitions: Iterable[TopicPartition]) -> None:
        """Commit a transaction without records, which writes its marker to these partitions.

        A marker ends all transactions that this producer has open in a partition. So if an earlier
        commit of this writer left no marker in one of the partitions, this call completes that
        commit.

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
        """Fetch the metadata again: the library refuses a partition that it does not know yet.

        Raises:
            TaskFailed: the cluster did not answer.
        """
        await bounded(
            self._producer.client.force_metadata_update(), self._step_seconds, "the metadata"
        )

    async def close(self) -> None:
        """Close without waiting for deliveries. The next fence aborts a transaction left open."""
        await stop_sender(self._producer)
        await close_client(self._producer.client.close(), "closing the producer")

    async def _begin(self) -> None:
        await self._producer.begin_transaction()
        self.begun_transactions += 1

    async def _send(
        self, finished: Mapping[TopicPartition, list[private_api.Batch]]
    ) -> dict[TopicPartition, int]:
        await self._begin()
        ended = private_api.transaction_end(self._producer)
        deliveries: list[tuple[TopicPartition, asyncio.Future[Any]]] = []
        # The first round hands over the first batch of every partition. So one AddPartitionsToTxn
        # names all partitions, and a leader gets its batches in one request. The second batch of a
        # partition waits until the library takes the first.
        rounds = max(len(batches) for batches in finished.values())
        try:
            for number in range(rounds):
                for target, batches in finished.items():
                    if number < len(batches):
                        delivery = await self._producer.send_batch(
                            batches[number], target.topic, partition=target.partition
                        )
                        delivery.add_done_callback(_retrieve_outcome)
                        deliveries.append((target, delivery))
            delivered = asyncio.gather(*(d for _, d in deliveries), return_exceptions=True)
            # If the transaction ends by itself, for example because an ACL is missing, aiokafka
            # never completes the deliveries. So wait for the end of the transaction too.
            either: set[asyncio.Future[Any]] = {delivered, ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Raise the reason why the transaction ended rather than an error that follows from it.
            if ended.done() and (reason := ended.exception()) is not None:
                raise reason
        first_offsets: dict[TopicPartition, int] = {}
        for target, delivery in deliveries:
            metadata = delivery.result()
            first_offsets.setdefault(target, metadata.offset)
            if metadata.timestamp_type == LOG_APPEND_TIME and metadata.timestamp is not None:
                self.broker_clock.set(metadata.timestamp)
        return first_offsets


def _retrieve_outcome(delivery: asyncio.Future[Any]) -> None:
    """Retrieve the outcome of a delivery, because no code awaits it after a failed send.

    Otherwise asyncio would print a warning that bypasses the service's logs.
    """
    if not delivery.cancelled():
        delivery.exception()
