"""A partition with one owner at a time: how a shard owns its changelog, and a job its journal.

Every owner writes under the same transactional id, so a fence (KIP-98) shuts out earlier owners.
The new owner then commits a record of its own, the restore barrier. No earlier owner can commit a
record behind the barrier. So a read up to the barrier returns all committed records.

The end offset that a ``read_committed`` consumer gets cannot replace the barrier. That end offset
is the last stable offset. While a transaction is open, committed records can follow this offset.
"""

import asyncio
import enum
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from consumer.errors import TaskFailed
from consumer.kafka.open_transactions import OpenTransactionCheck
from consumer.kafka.port import TransactionalWriter, TransactionBatches
from consumer.kafka.types import OpenTransaction, TopicPartition

# The pause between two checks while a new owner waits for the end of a hanging transaction.
HANGING_PAUSE_SECONDS: Final = 5.0
Loaded = TypeVar("Loaded")


class Stage(enum.Enum):
    """The stages of a takeover, in order. ``take_over`` reports each one when it is completed."""

    FENCED = enum.auto()
    NOTHING_HANGS = enum.auto()
    BARRIER_SET = enum.auto()
    LOADED = enum.auto()


class OwnedPartition:
    """The takeover of a partition, and the transactions of its owner.

    Do not use an object again after an error, because the outcome of its last transaction may be
    unknown. The ``take_over`` of a new object fences again and reads what was committed.
    """

    def __init__(
        self,
        partition: TopicPartition,
        writer: TransactionalWriter,
        check: OpenTransactionCheck,
        new_batches: Callable[[], TransactionBatches],
    ) -> None:
        """`new_batches` returns the empty batches of one transaction."""
        self.partition = partition
        self.writer = writer
        self.new_batches = new_batches
        self._check = check

    async def take_over(
        self,
        barrier: tuple[bytes, bytes],
        load: Callable[[int], Awaitable[Loaded]],
        *,
        add_to_barrier: Callable[[TransactionBatches], None] = lambda _: None,
        on_hanging: Callable[[Sequence[OpenTransaction]], None] | None = None,
        on_stage: Callable[[Stage], None] = lambda _: None,
    ) -> Loaded:
        """Become the owner and return what `load` returned.

        1. Fence the earlier owners.
        2. Make sure that none of their transactions is open.
        3. Commit the restore barrier, a record with the key and value in `barrier`.
        4. Call `load` with the barrier's offset, to read all records up to and including it.

        With `on_hanging`, step 2 waits until no transaction hangs, and calls `on_hanging` after
        each check that finds one. Nothing is written during the wait, because the marker of the
        next transaction would also commit or abort the records of the hanging one.
        `add_to_barrier` can add records to the barrier's transaction.

        Raises:
            Fenced: another process took over.
            TaskFailed, TransientError: a step failed, or its outcome is unknown.
            ClusterError: an operator must fix the cluster.
            HangingTransaction: a transaction hangs, and `on_hanging` is None.
        """
        await self.writer.fence()  # 1.
        on_stage(Stage.FENCED)
        await self._refuse_or_wait(on_hanging)  # 2.
        on_stage(Stage.NOTHING_HANGS)
        barrier_offset = await self._commit_barrier(barrier, add_to_barrier)  # 3.
        on_stage(Stage.BARRIER_SET)
        loaded = await load(barrier_offset)  # 4.
        on_stage(Stage.LOADED)
        return loaded

    async def commit(self, batches: TransactionBatches) -> dict[TopicPartition, int]:
        """Write and commit one transaction; return its first offset in each partition.

        Raises:
            Fenced: another process took over.
            TaskFailed, TransientError, ClusterError: the transaction failed, or its outcome is
                unknown.
        """
        offsets = await self.writer.send(batches)
        await self.writer.commit()
        return offsets

    async def _refuse_or_wait(
        self, on_hanging: Callable[[Sequence[OpenTransaction]], None] | None
    ) -> None:
        """Return when no transaction of an earlier owner is open.

        While one is open, wait, or raise if `on_hanging` is None. The wait ends when a late marker
        arrives, or when an operator ends the transaction.
        """
        if on_hanging is None:
            await self._check.refuse_hanging(self.writer)
            return
        while found := await self._check.left_open(self.writer):
            on_hanging(found)
            await asyncio.sleep(HANGING_PAUSE_SECONDS)

    async def _commit_barrier(
        self, barrier: tuple[bytes, bytes], add_to_barrier: Callable[[TransactionBatches], None]
    ) -> int:
        batches = self.new_batches()
        add_to_barrier(batches)
        batches.to(*self.partition).append(*barrier)
        offset = (await self.commit(batches))[self.partition]
        if offset < 0:  # the broker can omit the offset in its response to a retried batch
            raise TaskFailed("the offset of the restore barrier is not known")
        return offset
