"""The task of one shard: take the changelog over, restore, verify, run, close."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog
from msgspec.structs import replace

from consumer.config import Settings
from consumer.errors import ClusterError, Fenced, HangingTransaction, TaskFailed
from consumer.kafka.open_transactions import OpenTransactionCheck
from consumer.kafka.owned_partition import Stage
from consumer.kafka.port import ClusterAdmin, Kafka, LogReader, TransactionalWriter
from consumer.kafka.topics import Topology, check_topics
from consumer.kafka.types import OpenTransaction, TopicPartition
from consumer.shard.changelog import ShardState
from consumer.shard.commit_policy import TransactionSizeLimit
from consumer.shard.context import NO_LOSSES, AcceptedLosses, ShardContext, SideReaders
from consumer.shard.events import Observer, Step
from consumer.shard.loop import ShardLoop
from consumer.shard.sources import Sources
from consumer.shard.startup import Startup
from consumer.shard.state_guards import verify_meta
from consumer.shard.status import Heartbeat, ShardStatus, TaskState

# How often the log repeats that a transaction hangs.
HANGING_LOG_SECONDS: Final = 60.0
log = structlog.get_logger(__name__)


class ShardTask:
    """Runs one shard until a stop or an error; ``TaskState`` lists its states in order.

    A task shares no state with another task. It owns a writer, a reader and the shard's memory.
    """

    def __init__(  # noqa: PLR0913 - all that a task needs; it shares nothing else
        self,
        shard: int,
        *,
        settings: Settings,
        kafka: Kafka,
        admin: ClusterAdmin,
        observer: Observer,
        clock: Callable[[], float],
        limit: TransactionSizeLimit,
        check: OpenTransactionCheck,
        accepted: AcceptedLosses = NO_LOSSES,
    ) -> None:
        self.shard = shard
        self.state = TaskState.CREATED
        self._heartbeat = Heartbeat(clock)
        self._hangs = ""  # where a transaction of an earlier owner hangs, and how to end it
        self._hanging_partitions = 0
        self._next_hanging_log = 0.0
        self._check = check
        self._writer: TransactionalWriter | None = None  # set when the task is RUNNING
        self._settings = settings
        self._kafka = kafka
        self._admin = admin
        self._readers = SideReaders(kafka, admin)
        self._observer = observer
        self._clock = clock
        self._limit = limit
        self._accepted = accepted
        self._memory = ShardState(settings.dedup_window_seconds * 1000)
        self._loop: ShardLoop | None = None
        self._last_status = ShardStatus(shard, self.state.value)
        # Requests of the engine, which the task handles between two transactions.
        self._stopping = False
        self._markers_due: list[TopicPartition] = []
        self._new_topology: tuple[Topology, float] | None = None

    async def run(self) -> None:
        """Run the shard.

        1. Take the changelog over: fence the earlier owner, wait while one of its transactions
           hangs, commit the restore barrier, restore up to it.
        2. Verify that the state belongs to this deployment, and find the offsets to resume at.
        3. Run, one transaction after the other, until stopped.
        4. Save all progress. Close, also after an error.

        Raises:
            TaskFailed, Fenced, TransientError: start a new task.
            StateCorrupted: do not run this shard.
            ClusterError: an operator must fix the cluster.
            HangingTransaction: start a new task, which waits until the transaction is ended.
            LimitReached: an operator must decide about the invalid records.
        """
        topics_seen_at = time.monotonic()
        context = self._context(await self._check_topics())
        writer, reader = self._clients(context)
        startup = Startup(context, self._memory, writer, reader, self._readers, check=self._check)
        try:
            self._enter(TaskState.FENCING)
            await startup.take_over(  # 1.
                lambda found: self._record_hanging(writer.transactional_id, found), self._on_stage
            )
            self._enter(TaskState.VERIFYING)
            start = await startup.verify()  # 2.
            self._enter(TaskState.RUNNING)
            sources = Sources(context, self._memory, reader, self._readers, start)
            self._loop = loop = self._make_loop(context, sources, writer, topics_seen_at)
            while not self._stopping:
                await self._handle_requests(loop)
                await loop.run_once()  # 3.
            self._enter(TaskState.STOPPING)
            await loop.save_all_progress()  # 4.
        except Fenced:
            self._observer.on_fenced(self.shard)
            raise
        finally:
            self._enter(TaskState.CLOSED)
            closing = [reader.close(), writer.close()]
            if self._loop is not None:
                closing.append(self._loop.sources.close())
            self._release_memory()
            await asyncio.gather(*closing)

    def stop(self) -> None:
        """End the task after its current transaction; the next task reads the undecided records."""
        self._stopping = True

    def stop_for_hanging_transaction(self, description: str) -> None:
        """End the task before its next transaction.

        The next task fences, and then waits until the transaction is ended.
        """
        self._hangs = description

    def write_markers(self, partitions: Iterable[TopicPartition]) -> None:
        """Before the next transaction, write a committed one's missing markers to `partitions`."""
        self._markers_due = list(partitions)

    def refresh_topology(self, topology: Topology, seen_at: float) -> None:
        """Use this topology from the next fetch on; it was checked at `seen_at` (monotonic)."""
        self._new_topology = topology, seen_at

    @property
    def running_writer(self) -> TransactionalWriter | None:
        """The writer of the task while its state is RUNNING, else None."""
        return self._writer if self.state is TaskState.RUNNING else None

    @property
    def last_beat(self) -> float:
        """The last heartbeat, in monotonic seconds."""
        return self._heartbeat.last_beat

    def status(self) -> ShardStatus:
        """Return the status of the shard at this moment."""
        loop, memory = self._loop, self._memory
        status = replace(
            self._last_status,
            state=self.state.value,
            entries=len(memory.seen),
            variants=memory.seen.variants,
            restore_ratio=memory.restore_ratio,
            hangs=self._hangs,
            hanging_partitions=self._hanging_partitions,
            last_beat=self.last_beat,
            loaded_records=memory.records_loaded if self.state is TaskState.RESTORING else 0,
        )
        if loop is None:
            return status
        is_running = self.state is TaskState.RUNNING
        return replace(
            status,
            has_run=True,
            sources=loop.sources.statuses,
            is_behind=loop.sources.is_behind,
            transactions=loop.transactions,
            handled_records=loop.handled_records,
            positions=loop.sources.positions,
            trimmable_offset=loop.sources.trimmable_offset if is_running else None,
        )

    def _on_stage(self, stage: Stage) -> None:
        if stage is Stage.FENCED:
            self._observer.on_step(self.shard, Step.FENCED)
        elif stage is Stage.NOTHING_HANGS:
            if self._hangs:
                log.info("hanging_transaction_ended", shard=self.shard)
            self._hangs, self._hanging_partitions = "", 0
            self._enter(TaskState.SETTING_BARRIER)
        elif stage is Stage.BARRIER_SET:
            self._observer.on_step(self.shard, Step.BARRIER_SET)
            self._enter(TaskState.RESTORING)
        else:
            self._observer.on_step(self.shard, Step.RESTORED)

    def _record_hanging(self, transactional_id: str, found: Sequence[OpenTransaction]) -> None:
        """Record that the task waits for a hanging transaction, after it fenced the earlier owner.

        Log this at most once a minute.
        """
        self._hanging_partitions = len(found)
        self._hangs = self._check.describe(transactional_id, found)
        self._heartbeat.beat()
        now = self._clock()
        if now >= self._next_hanging_log:
            self._next_hanging_log = now + HANGING_LOG_SECONDS
            log.error("transaction_hangs", shard=self.shard, error=self._hangs)

    def _clients(self, context: ShardContext) -> tuple[TransactionalWriter, LogReader]:
        settings, topology = self._settings, context.topology
        writer = self._kafka.writer(
            settings.transactional_id(self.shard), settings.transaction_timeout_ms
        )
        reader = self._kafka.reader(
            f"{settings.group_id}-{self.shard}",
            topics=topology.max_message_bytes,
            max_message_bytes=topology.largest_source_bytes,
        )
        return writer, reader

    def _make_loop(
        self,
        context: ShardContext,
        sources: Sources,
        writer: TransactionalWriter,
        topics_seen_at: float,
    ) -> ShardLoop:
        self._writer = writer
        return ShardLoop(
            context,
            memory=self._memory,
            sources=sources,
            writer=writer,
            readers=self._readers,
            observer=self._observer,
            limit=self._limit,
            topics_seen_at=topics_seen_at,
        )

    async def _handle_requests(self, loop: ShardLoop) -> None:
        """Handle the requests of the engine, between two transactions."""
        if self._hangs:
            raise HangingTransaction(self._hangs)
        if self._markers_due:
            partitions, self._markers_due = self._markers_due, []
            await loop.write_markers(partitions)
            names = [f"{it.topic}/{it.partition}" for it in partitions]
            log.warning("missing_marker_written", shard=self.shard, partitions=names)
        if self._new_topology is not None:
            (topology, seen_at), self._new_topology = self._new_topology, None
            context = self._context(topology)
            # If the number of shards has changed, ids have other home shards. Then `verify_meta`
            # raises, which ends this task.
            if self._memory.meta is not None:
                verify_meta(self._memory.meta, context.meta())
            await loop.refresh_topology(context, seen_at)

    def _release_memory(self) -> None:
        """Keep only the last status: the ids of an ended task must not stay in memory.

        The supervisor keeps an ended task until it collects the result. If the task kept its ids
        until then, the process could hold the ids of several ended tasks after several restarts.
        """
        if self._loop is not None:
            self._last_status = replace(
                self._last_status,
                has_run=True,
                transactions=self._loop.transactions,
                handled_records=self._loop.handled_records,
                positions=self._memory.positions,
            )
        self._loop = None
        self._memory = ShardState(0)

    def _enter(self, state: TaskState) -> None:
        self.state = self.state.advance(state)
        self._heartbeat.beat()
        log.info("task_state", shard=self.shard, state=state.value)

    async def _check_topics(self) -> Topology:
        try:
            return await check_topics(self._admin, self._settings)
        except ClusterError as error:
            # The topics were valid when the process started. So retry; do not end the process.
            raise TaskFailed(str(error)) from error

    def _context(self, topology: Topology) -> ShardContext:
        return ShardContext(
            self.shard,
            self._settings,
            topology,
            self._clock,
            self._heartbeat,
            self._accepted,
        )
