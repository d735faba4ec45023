"""The engine of one process: membership decides which shards, the supervisor runs their tasks."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

import structlog
from msgspec.structs import replace

from consumer.config import Settings
from consumer.errors import ClusterError, StateCorrupted, TaskFailed, TransientError
from consumer.kafka.client import AioKafka
from consumer.kafka.open_transactions import OpenTransactionCheck
from consumer.kafka.port import Kafka
from consumer.kafka.topics import InputRisk, Topology, check_topics, create_topics
from consumer.kafka.types import TopicPartition
from consumer.shard.commit_policy import TransactionSizeLimit
from consumer.shard.context import ShardContext
from consumer.shard.events import Observer
from consumer.shard.status import SourceView
from consumer.shard.task import ShardTask
from consumer.worker.group_offsets import GroupOffsets
from consumer.worker.lag import IdleShardLag
from consumer.worker.open_files import raise_open_files_limit, report_open_files
from consumer.worker.open_transaction_watch import HangingWatch
from consumer.worker.stall_detector import ProgressSample, StallDetector, keep_watch
from consumer.worker.status import EngineView
from consumer.worker.supervisor import STARTED_STATES, Supervisor

# A task that gives no sign for this long hangs; then the group is no longer told that we live,
# and gives our shards to others, long before the watchdog ends the process. Above every bounded
# wait of a task but those that TRANSACTION_TIMEOUT_MS may lengthen, which then counts instead.
STUCK_SECONDS: Final = 60.0
LOOPS_END_SECONDS: Final = 5.0
STOP_TASKS_SECONDS: Final = 4.0
END_SECONDS: Final = 8.0
RETRY_SECONDS: Final = 1.0
# How long a start puts up with a cluster that is there but does not answer for its topics yet.
START_UP_SECONDS: Final = 30.0
log = structlog.get_logger(__name__)


class Engine:
    """Runs until ``stop`` is called or something fails that only a new process may mend."""

    def __init__(
        self,
        settings: Settings,
        observer: Observer,
        *,
        accept_empty_state: bool = False,
        clock: Callable[[], float] = time.monotonic,
        kafka: Kafka | None = None,
    ) -> None:
        self._settings = settings
        self._observer = observer
        self._accept_empty_state = accept_empty_state
        self._clock = clock
        self._kafka = kafka or AioKafka.of(settings)
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._admin = self._kafka.admin(f"{settings.group_id}-admin")
        self._member = self._kafka.member(settings, self._changed.set, observer.on_rebalance)
        self._supervisor = Supervisor(
            self._make_task,
            fenced_pause_seconds=settings.heartbeat_interval_ms / 1000,
            on_change=self._changed.set,
            clock=clock,
        )
        self._stuck_seconds = max(STUCK_SECONDS, settings.transaction_timeout_ms / 1000)
        self._topology: Topology | None = None
        self._brokers = 0
        self._known_risks: set[InputRisk] = set()
        self._offsets = GroupOffsets(self._member, self._positions, clock)
        self._limits: dict[int, TransactionSizeLimit] = {}  # by shard
        self._stall_detector = StallDetector(settings.watchdog_seconds)
        # Asked for where we may read it: the service needs no right to read the dead letters.
        self._check = OpenTransactionCheck(
            self._admin,
            settings.bootstrap_servers,
            (settings.output_topic, settings.repartition_topic, settings.changelog_topic),
            optional=(settings.dead_letter_topic,),
        )
        self._hanging_watch = HangingWatch(self._check, lambda: self._supervisor.tasks, clock)
        self._idle_shard_lag = IdleShardLag(
            self._kafka, self._admin, settings.group_id, self._unread_sources
        )

    def stop(self) -> None:
        """Ask for an orderly end; ``run`` then returns within seconds."""
        self._stopping.set()
        self._changed.set()

    @property
    def view(self) -> EngineView:
        """What can be seen of it now."""
        return EngineView(
            is_member=self._member.wanted is not None,
            shards=tuple(
                view if view.sources else replace(view, sources=self._unread_views(view.shard))
                for view in self._supervisor.views(self._member.wanted or ())
            ),
            group_shards=None if self._topology is None else self._topology.shards,
            open_seconds=self._hanging_watch.open_seconds,
            stall=self._stall_detector.worst,
        )

    async def run(self) -> None:
        """Run the shards that the group wants here.

        Raises:
            ClusterError: a person must mend the cluster.
            StateCorrupted: every shard that is wanted here must not run.
            LimitReached: there is more poison than the operator allows.
            NoProgress: there is work, and it does not get on.
        """
        try:
            starting = asyncio.create_task(self._start_up(), name="start-up")
            stopping = asyncio.create_task(self._stopping.wait(), name="stopping")
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not starting.done():  # a broker that is silent must not hold up a SIGTERM
                starting.cancel()
                return
            starting.result()
            await self._run_side_by_side()
        finally:
            await self._end()

    async def _start_up(self) -> None:
        await self._admin.start()
        deadline = self._clock() + START_UP_SECONDS
        while self._topology is None:
            try:
                self._topology = await self._prepare_topics()
            except (TaskFailed, TransientError) as error:
                # One broker of several may have died a moment ago, and was the one to be asked.
                if self._clock() > deadline:
                    raise
                log.warning("start_up_retried", error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
        report_open_files(raise_open_files_limit(), self._topology.shards, self._brokers)
        self._warn_of_risks(self._topology)
        await self._member.join()

    async def _prepare_topics(self) -> Topology:
        if self._settings.create_topics:
            created = await create_topics(self._admin, self._settings)
            log.info("topics_created", topics=created)
        topology = await check_topics(self._admin, self._settings)
        _, self._brokers = await self._admin.cluster()
        return topology

    async def _run_side_by_side(self) -> None:
        """Run the loops; the first that ends, by order or by an error, ends all."""
        loops = [
            asyncio.create_task(loop(), name=loop.__name__)
            for loop in (
                self._keep_supervisor,
                self._poll_membership,
                self._offsets.keep_committed,
                self._discover_partitions,
                self._trim_repartition,
                self._watch,
                self._idle_shard_lag.keep_asking,
                self._hanging_watch.keep_looking,
            )
        ]
        done, pending = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
        # The poll of the membership is not cancelled in its middle but left to its time limit.
        for loop in pending:
            loop.cancel()
        await asyncio.wait(pending, timeout=LOOPS_END_SECONDS)
        for loop in done:
            loop.result()

    async def _keep_supervisor(self) -> None:
        while not self._stopping.is_set():
            self._changed.clear()
            wait_seconds = None
            # During a rebalance shards stay as they are: nothing is decided yet.
            if self._member.wanted is not None:
                wait_seconds = self._supervisor.reconcile(self._member.wanted)
                self._refuse_if_nothing_runs(self._member.wanted)
            try:
                await asyncio.wait_for(self._changed.wait(), wait_seconds)
            except TimeoutError:
                continue

    def _refuse_if_nothing_runs(self, wanted: frozenset[int]) -> None:
        refusals = self._supervisor.refusals
        if wanted and wanted <= refusals.keys():
            raise StateCorrupted("\n".join(sorted(set(refusals.values()))))

    async def _poll_membership(self) -> None:
        while not self._stopping.is_set():
            if self._is_stuck():
                await asyncio.sleep(RETRY_SECONDS)
                continue
            try:
                await self._member.poll()
            except TransientError as error:
                log.warning("membership_error", error=str(error))
                await asyncio.sleep(RETRY_SECONDS)

    def _is_stuck(self) -> bool:
        oldest = min((t.last_sign_of_life for t in self._supervisor.tasks), default=self._clock())
        stuck = self._clock() - oldest > self._stuck_seconds
        if stuck:
            log.error("no_progress", seconds=round(self._clock() - oldest, 1))
        return stuck

    async def _watch(self) -> None:
        await keep_watch(self._progress_samples, self._stall_detector, self._clock)

    def _progress_samples(self) -> dict[str, ProgressSample]:
        wanted = self._member.wanted
        group = ProgressSample(
            is_behind=wanted is None,
            state="it does not say what runs here",
            handled={"rebalances": self._member.rebalances},
        )
        return {
            "the group": group,
            **self._supervisor.progress_samples(wanted or (), self._stuck_seconds),
        }

    async def _discover_partitions(self) -> None:
        """Look for new input partitions; their shard reads them from their beginning."""
        while True:
            await asyncio.sleep(self._settings.discovery_interval_ms / 1000)
            seen_at = time.monotonic()
            try:
                topology = await check_topics(self._admin, self._settings)
            except (ClusterError, TaskFailed, TransientError) as error:
                # A broker that just came back may not know a topic for a moment.
                log.warning("discovery_failed", error=str(error))
                continue
            self._warn_of_risks(topology)
            self._topology = topology
            for task in self._supervisor.tasks:
                task.refresh_topology(topology, seen_at)

    def _warn_of_risks(self, topology: Topology) -> None:
        """Say once, at the start or when it is new, by what an input may lose records."""
        for risk in topology.input_risks:
            if risk not in self._known_risks:
                self._known_risks.add(risk)
                log.warning(risk.event, topic=risk.topic, hint=risk.text)

    async def _trim_repartition(self) -> None:
        """Delete forwards that are handled and committed; nothing else ever deletes them."""
        while True:
            await asyncio.sleep(self._settings.trim_interval_ms / 1000)
            before = {
                TopicPartition(self._settings.repartition_topic, task.shard): offset
                for task in self._supervisor.tasks
                if (offset := task.trimmable_offset) is not None
            }
            if not before:
                continue
            try:
                await self._admin.delete_records(before)
            except TransientError as error:
                log.warning("trim_failed", error=str(error))
            except ClusterError as error:
                # Nothing is wrong but the disk space: no reason to end what else goes well.
                log.error("trim_refused", error=str(error))  # noqa: TRY400 - no traceback

    def _positions(self) -> dict[TopicPartition, int]:
        return {k: v for task in self._supervisor.tasks for k, v in task.positions.items()}

    def _sources(self, shard: int) -> list[TopicPartition]:
        if self._topology is None:
            return []
        return ShardContext(shard, self._settings, self._topology, self._clock).sources()

    def _unread_sources(self) -> list[TopicPartition]:
        """Return the sources of shards that are wanted here and do not run."""
        if not self._settings.http_port:  # nobody looks
            return []
        running = {task.shard for task in self._supervisor.tasks if task.state in STARTED_STATES}
        return [
            source
            for shard in sorted((self._member.wanted or frozenset()) - running)
            for source in self._sources(shard)
        ]

    def _unread_views(self, shard: int) -> tuple[SourceView, ...]:
        lags = self._idle_shard_lag.lags
        return tuple(SourceView(*source, lags.get(source)) for source in self._sources(shard))

    def _make_task(self, shard: int) -> ShardTask:
        return ShardTask(
            shard,
            settings=self._settings,
            kafka=self._kafka,
            admin=self._admin,
            observer=self._observer,
            clock=self._clock,
            limit=self._limits.setdefault(
                shard, TransactionSizeLimit(self._settings.max_transaction_records)
            ),
            check=self._check,
            accept_empty_state=self._accept_empty_state,
        )

    async def _end(self) -> None:
        """Finish open transactions, tell the group, leave it; all of it within a bound."""
        log.info("stopping")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self._supervisor.stop_all(STOP_TASKS_SECONDS)
                with contextlib.suppress(ClusterError):
                    await self._offsets.commit()
                await self._member.leave()
                await self._admin.close()
