"""One shard's task: fence, mark, restore, verify, run. It owns all it needs and dies as a whole."""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from consumer.config import Settings
from consumer.errors import ClusterError, Fenced, HangingTransaction, TaskFailed
from consumer.kafka.open_transactions import OpenTransactionCheck
from consumer.kafka.owned_partition import commit_barrier
from consumer.kafka.port import ClusterAdmin, Kafka, LogReader, TransactionalWriter
from consumer.kafka.topics import Topology, check_topics
from consumer.kafka.types import TopicPartition
from consumer.shard.changelog import ShardState, fence_record, meta_record, progress_record
from consumer.shard.commit_policy import TransactionSizeLimit
from consumer.shard.context import ShardContext, SideReaders
from consumer.shard.events import Observer, Step
from consumer.shard.loop import ShardLoop
from consumer.shard.restore import restore
from consumer.shard.start_positions import locate_sources
from consumer.shard.state_guards import refuse_deleted_state, refuse_lost_state, verify_meta
from consumer.shard.status import ShardView, TaskState, advance
from consumer.shard.watermark import NOTHING_KNOWN_MS, announcement

# While a transaction hangs: how soon a shard notices its end, and how often it is logged.
HANGING_PAUSE_SECONDS: Final = 5.0
HANGING_LOG_SECONDS: Final = 60.0
log = structlog.get_logger(__name__)


class ShardTask:
    """Runs one shard until it is stopped or in doubt; see ``lifecycle`` for its states."""

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
        accept_empty_state: bool = False,
    ) -> None:
        self.shard = shard
        self.state = TaskState.CREATED
        self.has_run = False
        self.last_sign_of_life = clock()
        self.hangs = ""  # where a transaction of an earlier owner hangs, and what ends it
        self._hanging_partitions = 0
        self._check = check
        self._writer: TransactionalWriter | None = None
        self._markers_due: list[TopicPartition] = []
        self._settings = settings
        self._kafka = kafka
        self._admin = admin
        self._readers = SideReaders(kafka, admin)
        self._observer = observer
        self._clock = clock
        self._limit = limit
        self._accept_empty_state = accept_empty_state
        self._memory = ShardState(settings.dedup_window_seconds * 1000)
        self._loop: ShardLoop | None = None
        self._settled: dict[TopicPartition, int] = {}
        self._transactions = 0
        self._handled_records = 0
        self._next_look: tuple[Topology, float] | None = None
        self._stopping = False

    async def run(self) -> None:
        """Run the shard.

        1. Fence the previous owner; wait where the brokers did not end its transaction.
        2. Mark the end of what must be restored.
        3. Restore up to the mark.
        4. Verify that this state belongs here; find where to read on.
        5. Run until stopped, one transaction after the other.

        Raises:
            TaskFailed, Fenced, TransientError: make a new task.
            StateCorrupted: do not run this shard.
            ClusterError: a person must mend the cluster.
            HangingTransaction: the same; the new task waits until the transaction is ended.
            LimitReached: a person must decide what becomes of the poison.
        """
        topics_seen_at = time.monotonic()
        context = self._context(await self._check_topics())
        settings, shard = self._settings, self.shard
        writer = self._kafka.writer(
            settings.transactional_id(shard), settings.transaction_timeout_ms
        )
        reader = self._kafka.reader(
            f"{settings.group_id}-{shard}",
            topics=context.topology.max_message_bytes,
            max_message_bytes=context.topology.largest_source_bytes,
        )
        try:
            self._enter(TaskState.FENCING)
            await writer.fence()  # 1.
            self._observer.on_step(shard, Step.FENCED)
            await self._wait_while_hanging(writer)
            self._enter(TaskState.SETTING_BARRIER)
            barrier_offset = await self._mark(context, writer)  # 2.
            self._observer.on_step(shard, Step.BARRIER_SET)
            self._enter(TaskState.RESTORING)
            await reader.start()
            await restore(context, reader, barrier_offset, self._memory)  # 3.
            self._observer.on_step(shard, Step.RESTORED)
            self._enter(TaskState.VERIFYING)
            positions = await self._verify(context, reader, writer)  # 4.
            self._enter(TaskState.RUNNING)
            self._writer = writer
            self.has_run = True
            self._loop = loop = ShardLoop(  # 5.
                context,
                memory=self._memory,
                reader=reader,
                writer=writer,
                readers=self._readers,
                observer=self._observer,
                positions=positions,
                limit=self._limit,
                topics_seen_at=topics_seen_at,
            )
            while not self._stopping:
                await self._act_on_open_transactions(loop)
                if self._next_look is not None:
                    (topology, seen_at), self._next_look = self._next_look, None
                    context = self._context(topology)
                    # A changed number of shards gives ids another home: it must end this task.
                    if self._memory.meta is not None:
                        verify_meta(self._memory.meta, context.meta())
                    await loop.refresh_topology(context, seen_at)
                await loop.run_once()
            self._enter(TaskState.STOPPING)
            await loop.save_all_progress()
        except Fenced:
            self._observer.on_fenced(shard)
            raise
        finally:
            self._enter(TaskState.CLOSED)
            self._let_go_of_memory()
            await asyncio.gather(reader.close(), writer.close())

    def stop(self) -> None:
        """Let the task end after its current transaction; undecided records are left unread."""
        self._stopping = True

    @property
    def running_writer(self) -> TransactionalWriter | None:
        """Its producer while the task runs, else None."""
        return self._writer if self.state is TaskState.RUNNING else None

    def stop_over(self, hanging: str) -> None:
        """End the task before its next transaction; `hanging` says why."""
        self.hangs = hanging

    def write_marker(self, partitions: Iterable[TopicPartition]) -> None:
        """Complete the task's own committed transaction in these partitions, before the next."""
        self._markers_due = list(partitions)

    def refresh_topology(self, topology: Topology, seen_at: float) -> None:
        """Take over what the topics were like then (monotonic seconds), before the next fetch."""
        self._next_look = topology, seen_at

    @property
    def positions(self) -> dict[TopicPartition, int]:
        """The next offset of each source that is handled and committed; for lag tools."""
        if self._loop is not None and self.state is TaskState.RUNNING:
            return self._loop.positions
        return self._settled

    @property
    def input_positions(self) -> dict[TopicPartition, int]:
        """The same of the inputs alone; the other one moves by mere announcements too."""
        forwards = self._settings.repartition_topic
        return {k: v for k, v in self.positions.items() if k.topic != forwards}

    @property
    def transactions(self) -> int:
        """How many transactions of its run succeeded."""
        return self._transactions if self._loop is None else self._loop.transactions

    @property
    def handled_records(self) -> int:
        """How many records of its run are handled and committed."""
        return self._handled_records if self._loop is None else self._loop.handled_records

    @property
    def is_behind(self) -> bool:
        """Whether there is something to do that it knows of; on its way to run there is."""
        return self._loop.is_behind if self._loop is not None else True

    @property
    def loaded(self) -> int:
        """How many records its restore has read; 0 before and after."""
        return self._memory.records_loaded if self.state is TaskState.RESTORING else 0

    @property
    def view(self) -> ShardView:
        """What can be seen of it."""
        return ShardView(
            shard=self.shard,
            state=self.state.value,
            entries=len(self._memory.seen),
            variants=self._memory.seen.variants,
            restore_ratio=self._memory.restore_ratio,
            has_run=self.has_run,
            hangs=self.hangs,
            hanging_partitions=self._hanging_partitions,
            sources=self._loop.source_views if self._loop is not None else (),
        )

    @property
    def trimmable_offset(self) -> int | None:
        """The repartition offset before which nothing is needed; the fingerprint itself is kept."""
        source = TopicPartition(self._settings.repartition_topic, self.shard)
        progress = self._memory.progress.get(source)
        if self.state is not TaskState.RUNNING or progress is None or progress.fingerprint is None:
            return None
        return progress.fingerprint.offset

    async def _wait_while_hanging(self, writer: TransactionalWriter) -> None:
        """Wait behind the fence until no transaction of an earlier owner is open.

        Nothing is written meanwhile, for the next marker would decide about that transaction. A
        marker that is merely late ends the wait too, and so does an operator, without a restart.
        """
        next_log = 0.0
        while found := await self._check.left_open(writer):
            self._hanging_partitions = len(found)
            self.hangs = self._check.describe(writer.transactional_id, found)
            if self._tick() >= next_log:
                next_log = self._clock() + HANGING_LOG_SECONDS
                log.error("transaction_hangs", shard=self.shard, error=self.hangs)
            await asyncio.sleep(HANGING_PAUSE_SECONDS)
        if self.hangs:
            log.info("hanging_transaction_ended", shard=self.shard)
        self.hangs, self._hanging_partitions = "", 0

    async def _act_on_open_transactions(self, loop: ShardLoop) -> None:
        """Do what was found to be due between two transactions (``hanging_watch``)."""
        if self.hangs:
            raise HangingTransaction(self.hangs)
        if self._markers_due:
            partitions, self._markers_due = self._markers_due, []
            await loop.write_markers(partitions)
            places = [f"{it.topic}/{it.partition}" for it in partitions]
            log.warning("missing_marker_written", shard=self.shard, partitions=places)

    def _let_go_of_memory(self) -> None:
        """Keep only what is asked of an ended task.

        The loop knows this task by its clock, so the ids would wait for the garbage collector,
        which comes rarely here: after some restarts, memory would hold them several times.
        """
        if self._loop is not None:
            self._transactions = self._loop.transactions
            self._handled_records = self._loop.handled_records
            progress = self._memory.progress
            self._settled = {source: p.next_offset for source, p in progress.items()}
        self._loop = None
        self._memory = ShardState(0)

    def _enter(self, state: TaskState) -> None:
        self.state = advance(self.state, state)
        self._tick()
        log.info("task_state", shard=self.shard, state=state.value)

    def _tick(self) -> float:
        """Return the time; a task that asks for it is alive."""
        self.last_sign_of_life = now = self._clock()
        return now

    async def _check_topics(self) -> Topology:
        try:
            return await check_topics(self._admin, self._settings)
        except ClusterError as error:
            # They were right when the process started: try again, loudly, rather than end it.
            raise TaskFailed(str(error)) from error

    def _context(self, topology: Topology) -> ShardContext:
        return ShardContext(self.shard, self._settings, topology, self._tick)

    async def _mark(self, context: ShardContext, writer: TransactionalWriter) -> int:
        """Commit a fence record; everything committed before it is to be restored.

        With a window the first decision already needs the brokers' time, which only a topic with
        LogAppendTime answers. So an announcement that says nothing goes to our own partition.
        """
        fence = fence_record(f"{socket.gethostname()}/{os.getpid()}")
        transaction_batches = context.new_batches(writer)
        if self._settings.dedup_window_seconds:
            forwards = transaction_batches.to(self._settings.repartition_topic, self.shard)
            forwards.append(None, None, announcement(self.shard, NOTHING_KNOWN_MS))
        return await commit_barrier(writer, transaction_batches, context.changelog, *fence)

    async def _verify(
        self, context: ShardContext, reader: LogReader, writer: TransactionalWriter
    ) -> dict[TopicPartition, int]:
        """Check meta and sources, commit what is new of both; return where to read on."""
        memory, expected = self._memory, context.meta()
        if memory.meta is not None:
            verify_meta(memory.meta, expected)
        if not self._accept_empty_state:
            await refuse_deleted_state(context, reader)
            if memory.meta is None:
                await refuse_lost_state(context, reader, self._admin)
        start = await locate_sources(context, self._readers, reader, memory)
        if memory.meta != expected or start.changed:
            transaction_batches = context.new_batches(writer)
            changelog = transaction_batches.to(*context.changelog)
            if start.first_start is not None:  # before all else: it is looked for there
                changelog.append(*start.first_start.record())
            changelog.append(*meta_record(expected))
            for source, progress in start.changed.items():
                changelog.append(*progress_record(*source, progress))
            await writer.send(transaction_batches)
            await writer.commit()
            memory.meta = expected
            memory.progress.update(start.changed)
        return start.positions
