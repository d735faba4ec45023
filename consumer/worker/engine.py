"""The engine of one process: the group assigns shards, and the supervisor runs their tasks."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import structlog
from msgspec.structs import replace

from consumer.config import Settings
from consumer.errors import ClusterError, TaskFailed, TransientError
from consumer.kafka.client import AioKafka
from consumer.kafka.open_transactions import OpenTransactionCheck
from consumer.kafka.port import Kafka
from consumer.kafka.tokens import TokenLife
from consumer.kafka.topics import Topology
from consumer.kafka.types import TopicPartition
from consumer.shard.commit_policy import TransactionSizeLimit
from consumer.shard.context import NO_LOSSES, AcceptedLosses, ShardContext
from consumer.shard.events import Observer
from consumer.shard.status import ShardStatus, SourceStatus
from consumer.shard.task import ShardTask
from consumer.worker.fault_watch import FaultWatch
from consumer.worker.lag import GroupOffsets, IdleShardLag
from consumer.worker.open_files import needs_of, raise_open_files_limit, report_open_files
from consumer.worker.open_transaction_watch import OpenTransactionWatch
from consumer.worker.repartition_watch import RepartitionState, RepartitionWatch
from consumer.worker.stall_detector import (
    ProgressSample,
    Stall,
    StallDetector,
    detect_stalls,
    sample_shards,
)
from consumer.worker.supervisor import STARTED_STATES, Supervisor
from consumer.worker.topic_maintenance import TopicMaintenance

# A task counts as hanging if it has no heartbeat for this time, or for TRANSACTION_TIMEOUT_MS if
# that is longer. Then the process no longer polls its membership. So the group gives the shards of
# the process to other members, long before the stall detector ends the process. This time is longer
# than any bounded wait of a task.
STUCK_SECONDS: Final = 60.0
LOOPS_END_SECONDS: Final = 5.0
STOP_TASKS_SECONDS: Final = 4.0
END_SECONDS: Final = 8.0
RETRY_SECONDS: Final = 1.0
# The start-up retries for this time if the cluster is reachable but cannot describe its topics yet.
START_UP_SECONDS: Final = 30.0
log = structlog.get_logger(__name__)


class EngineStatus(msgspec.Struct, frozen=True):
    """The status of one process at one moment, for probes, metrics and the status page."""

    is_member: bool
    """Whether the group has made an assignment (perhaps of no shards), and does not rebalance."""
    shards: tuple[ShardStatus, ...] = ()
    group_shards: int | None = None
    """The number of shards of the group; None before the topics were checked."""
    open_seconds: Mapping[str, float] = {}
    """By topic of the service: seconds since its oldest open transaction was first seen."""
    repartition: Mapping[int, RepartitionState] = {}
    """By shard: its partition of the repartition topic, if known."""
    repartition_retention_seconds: float | None = None
    """After this time the brokers delete forwards. None: never, or not known yet."""
    token: TokenLife | None = None
    """The token of the logins. None: there is none, or its life is not known."""
    stall: Stall | None = None
    """The longest stall. None: every shard with pending work progresses, and so does the group."""


class Engine:
    """Runs the shards of one process until ``stop``, or until an error that needs a new process."""

    def __init__(
        self,
        settings: Settings,
        observer: Observer,
        *,
        accepted: AcceptedLosses = NO_LOSSES,
        clock: Callable[[], float] = time.monotonic,
        kafka: Kafka | None = None,
    ) -> None:
        self._settings = settings
        self._observer = observer
        self._accepted = accepted
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
        self._topics = TopicMaintenance(
            self._admin, settings, self._refresh_topology, self._supervisor.statuses
        )
        self._offsets = GroupOffsets(self._member, self._positions, clock)
        self._limits: dict[int, TransactionSizeLimit] = {}  # by shard
        self._stall_detector = StallDetector(settings.watchdog_seconds)
        # The dead-letter topic is optional: the service itself does not need Read on it.
        self._check = OpenTransactionCheck(
            self._admin,
            settings.bootstrap_servers,
            (settings.output_topic, settings.repartition_topic, settings.changelog_topic),
            optional=(settings.dead_letter_topic,),
        )
        self._open_transactions = OpenTransactionWatch(
            self._check, lambda: self._supervisor.tasks, clock
        )
        self._needs = needs_of(0, 0)
        self._faults = FaultWatch(self._admin, lambda: self._needs, clock)
        self._idle_shard_lag = IdleShardLag(
            self._kafka, self._admin, settings.group_id, self._idle_sources
        )
        self._repartition = RepartitionWatch(
            self._kafka,
            self._admin,
            settings,
            lambda: self._topics.topology,
            lambda: self._supervisor.statuses(self._member.wanted or ()),
        )

    def stop(self) -> None:
        """Request an orderly end: ``run`` then returns within seconds."""
        self._stopping.set()
        self._changed.set()

    def status(self) -> EngineStatus:
        """Return the status of the process at this moment."""
        topology = self._topics.topology
        return EngineStatus(
            is_member=self._member.wanted is not None,
            shards=tuple(
                status if status.sources else replace(status, sources=self._idle(status.shard))
                for status in self._supervisor.statuses(self._member.wanted or ())
            ),
            group_shards=None if topology is None else topology.shards,
            open_seconds=self._open_transactions.open_seconds,
            repartition=self._repartition.states,
            repartition_retention_seconds=self._repartition.retention_seconds,
            token=self._kafka.token_life(),
            stall=self._stall_detector.worst,
        )

    async def run(self) -> None:
        """Run the shards that the group assigns to this process.

        Raises:
            ClusterError: an operator must fix the cluster.
            TaskFailed, TransientError: the start-up still fails after 30 seconds.
            StateCorrupted: every assigned shard is refused.
            LimitReached: there are more invalid records than the operator allows.
            NoProgress: work is pending and nothing progresses.
        """
        try:
            starting = asyncio.create_task(self._start_up(), name="start-up")
            stopping = asyncio.create_task(self._stopping.wait(), name="stopping")
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not starting.done():  # a silent broker must not delay the end after a SIGTERM
                starting.cancel()
                return
            starting.result()
            await self._run_loops()
        finally:
            await self._end()

    async def _start_up(self) -> None:
        open_files_limit = raise_open_files_limit()
        await self._admin.start()
        deadline = self._clock() + START_UP_SECONDS
        while True:
            try:
                topology = await self._topics.prepare()
                _, brokers = await self._admin.cluster()
                break
            except (TaskFailed, TransientError) as error:
                # The client may have queried a broker that has just died. Other brokers may answer.
                if self._clock() > deadline:
                    raise
                log.warning("start_up_retried", error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
        self._needs = needs_of(topology.shards, brokers)
        report_open_files(open_files_limit, topology.shards, brokers)
        self._topics.log_new_risks()
        await self._member.join()

    async def _run_loops(self) -> None:
        """Run all loops until one of them ends, by request or by an error; then end the others."""
        loops = [
            asyncio.create_task(loop(), name=loop.__name__)
            for loop in (
                self._supervise,
                self._poll_membership,
                self._offsets.keep_committed,
                self._topics.discover_partitions,
                self._topics.trim_repartition,
                self._detect_stalls,
                self._idle_shard_lag.keep_measuring,
                self._open_transactions.keep_checking,
                self._faults.keep_watching,
                self._repartition.keep_measuring,
            )
        ]
        done, pending = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
        for loop in pending:
            loop.cancel()
        # A poll of the membership ignores the cancellation and ends by its own time limit.
        await asyncio.wait(pending, timeout=LOOPS_END_SECONDS)
        for loop in done:
            loop.result()

    async def _supervise(self) -> None:
        while not self._stopping.is_set():
            self._changed.clear()
            wait_seconds = None
            # During a rebalance the shards stay as they are: the assignment is not known yet.
            if self._member.wanted is not None:
                wait_seconds = self._supervisor.reconcile(self._member.wanted)
                self._supervisor.refuse_if_nothing_runs(self._member.wanted)
            try:
                await asyncio.wait_for(self._changed.wait(), wait_seconds)
            except TimeoutError:
                continue

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
        """Return whether any task hangs: the oldest of the latest heartbeats decides.

        This runs before each poll of the membership, several times a second. So it does not compute
        the status of the shards.
        """
        now = self._clock()
        oldest = min((task.last_beat for task in self._supervisor.tasks), default=now)
        is_stuck = now - oldest > self._stuck_seconds
        if is_stuck:
            log.error("no_progress", seconds=round(now - oldest, 1))
        return is_stuck

    async def _detect_stalls(self) -> None:
        await detect_stalls(self._stall_detector, self._progress_samples, self._clock)

    def _progress_samples(self) -> dict[str, ProgressSample]:
        wanted = self._member.wanted
        group = ProgressSample(
            is_behind=wanted is None,
            state="no assignment received",
            handled={"rebalances": self._member.rebalances},
        )
        shards = sample_shards(
            self._supervisor.statuses(wanted or ()),
            wanted=wanted or (),
            now=self._clock(),
            stuck_seconds=self._stuck_seconds,
            repartition_topic=self._settings.repartition_topic,
        )
        return {"the consumer group": group, **shards}

    def _refresh_topology(self, topology: Topology, seen_at: float) -> None:
        for task in self._supervisor.tasks:
            task.refresh_topology(topology, seen_at)

    def _positions(self) -> dict[TopicPartition, int]:
        return {k: v for it in self._supervisor.statuses() for k, v in it.positions.items()}

    def _sources(self, shard: int) -> list[TopicPartition]:
        topology = self._topics.topology
        if topology is None:
            return []
        return ShardContext(shard, self._settings, topology, self._clock).sources()

    def _idle_sources(self) -> list[TopicPartition]:
        """Return the sources of shards that are assigned to this process and do not run."""
        if not self._settings.http_port:  # the lag is not displayed
            return []
        running = {task.shard for task in self._supervisor.tasks if task.state in STARTED_STATES}
        return [
            source
            for shard in sorted((self._member.wanted or frozenset()) - running)
            for source in self._sources(shard)
        ]

    def _idle(self, shard: int) -> tuple[SourceStatus, ...]:
        lags = self._idle_shard_lag.lags
        return tuple(SourceStatus(*source, lags.get(source)) for source in self._sources(shard))

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
            accepted=self._accepted,
        )

    async def _end(self) -> None:
        """Finish open transactions, commit group offsets and leave the group, within 8 seconds."""
        log.info("stopping")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self._supervisor.stop_all(STOP_TASKS_SECONDS)
                with contextlib.suppress(ClusterError):
                    await self._offsets.commit()
                await self._member.leave()
                await self._admin.close()
