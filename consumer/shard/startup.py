"""The start of a shard: take its changelog over, restore its memory, verify the state."""

import os
import socket
from collections.abc import Callable, Sequence

from consumer.kafka.open_transactions import OpenTransactionCheck
from consumer.kafka.owned_partition import OwnedPartition, Stage
from consumer.kafka.port import LogReader, TransactionalWriter, TransactionBatches
from consumer.kafka.types import OpenTransaction
from consumer.shard.changelog import ShardState, barrier_record, meta_record, progress_record
from consumer.shard.context import ShardContext, SideReaders
from consumer.shard.deferred_sources import find_deferred
from consumer.shard.restore import restore
from consumer.shard.start_positions import Start, examine, resume
from consumer.shard.state_guards import (
    refuse_deleted_state,
    refuse_lost_forwards,
    refuse_lost_state,
    verify_meta,
)
from consumer.shard.watermark import NOTHING_KNOWN_MS, announcement


class Startup:
    """Restores and verifies a shard's memory before the shard runs."""

    def __init__(  # noqa: PLR0913 - the parts of a task that a start needs
        self,
        context: ShardContext,
        memory: ShardState,
        writer: TransactionalWriter,
        reader: LogReader,
        readers: SideReaders,
        *,
        check: OpenTransactionCheck,
    ) -> None:
        """`reader` becomes the shard's own reader. `take_over` connects it after the barrier."""
        self._context = context
        self._memory = memory
        self._reader = reader
        self._readers = readers
        self._changelog = OwnedPartition(
            context.changelog, writer, check, lambda: context.new_batches(writer)
        )

    async def take_over(
        self,
        on_hanging: Callable[[Sequence[OpenTransaction]], None],
        on_stage: Callable[[Stage], None],
    ) -> None:
        """Become the owner of the changelog, and restore the memory from it.

        While a transaction of an earlier owner hangs, wait before the barrier.

        Raises:
            Fenced, TaskFailed, TransientError: the takeover failed, or its outcome is unknown.
            StateCorrupted: a changelog record cannot be read.
            ClusterError: an operator must fix the cluster.
        """
        await self._changelog.take_over(
            barrier_record(f"{socket.gethostname()}/{os.getpid()}"),
            self._load,
            add_to_barrier=self._add_to_barrier,
            on_hanging=on_hanging,
            on_stage=on_stage,
        )

    async def verify(self) -> Start:
        """Check the restored state and return the offset to resume at in each source.

        1. Check that the changelog belongs to this group, cluster, shard and output topic, and to
           this number of shards.
        2. Check that no state was lost, unless an operator accepts this.
        3. Defer the sources whose leader is gone or silent. Check each other source against its
           progress, and find the offset to resume at. At the first start of the shard, check that
           no forwards were deleted, unless an operator accepts this.
        4. Commit the meta entry and the progress, if they have changed, before the shard reads.

        Raises:
            StateCorrupted: the state belongs to another deployment, or a part of it was lost.
            TaskFailed, TransientError, ClusterError: the brokers did not answer in time, or a
                source that is needed has no leader.
        """
        context, memory, reader = self._context, self._memory, self._reader
        accepted = context.accepted
        if memory.meta is not None:  # 1.
            verify_meta(memory.meta, context.meta())
        if not accepted.state:  # 2.
            await refuse_deleted_state(context, reader)
            if memory.meta is None:
                await refuse_lost_state(context, reader, self._readers.admin)
        deferred = await find_deferred(context, reader, memory)  # 3.
        # A shard that lost its state has no progress either, and has itself deleted forwards.
        if not (accepted.forwards or accepted.state) and context.forwards not in memory.progress:
            await refuse_lost_forwards(context, reader)
        sources = [source for source in context.sources() if source not in deferred]
        known = memory.progress
        findings = await examine(
            context, self._readers, reader, memory, known=known, sources=sources
        )
        start = resume(context, known, findings, sources)._replace(deferred=deferred)
        if memory.meta != context.meta() or start.changed:
            await self._commit(start)  # 4.
        return start

    async def _load(self, barrier_offset: int) -> None:
        await self._reader.start()
        await restore(self._context, self._reader, barrier_offset, self._memory)

    def _add_to_barrier(self, batches: TransactionBatches) -> None:
        """With a dedup window, add an announcement to the barrier's transaction.

        With a window, already the first decision needs the brokers' time. A produce response has
        this time if the topic has LogAppendTime. The repartition topic has LogAppendTime, but the
        changelog does not. So the transaction also writes to the repartition topic.
        """
        context = self._context
        if context.settings.dedup_window_seconds:
            forwards = batches.to(context.settings.repartition_topic, context.shard)
            forwards.append(None, None, announcement(context.shard, NOTHING_KNOWN_MS))

    async def _commit(self, start: Start) -> None:
        """Commit the meta entry and the changed progress, then apply both to the memory."""
        batches = self._changelog.new_batches()
        entries = batches.to(*self._context.changelog)
        # Add the first start before all other entries: other shards read this changelog only up to
        # its first entry that is not a restore barrier.
        if start.first_start is not None:
            entries.append(*start.first_start.record())
        entries.append(*meta_record(self._context.meta()))
        for source, progress in start.changed.items():
            entries.append(*progress_record(*source, progress))
        await self._changelog.commit(batches)
        self._memory.meta = self._context.meta()
        self._memory.progress.update(start.changed)
