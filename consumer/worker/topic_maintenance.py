"""Finds new partitions, logs risky settings of topics, and trims the repartition topic."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog

from consumer.config import Settings
from consumer.errors import ClusterError, TaskFailed, TopicsRefused, TransientError
from consumer.kafka.port import ClusterAdmin
from consumer.kafka.topic_creation import create_topics, log_left_out
from consumer.kafka.topic_settings import TopicRisk
from consumer.kafka.topics import Topology, check_topics
from consumer.kafka.types import TopicPartition
from consumer.shard.status import ShardStatus

# While a shard does not read a source because its leader is gone or silent, the topics are checked
# at least this often.
DEFERRED_SECONDS: Final = 5.0
TRIM_HINT: Final = (
    "handled records stay in the repartition topic; grant Delete on it, or limit its retention: "
    "docs/operations/runbook.md, When handled forwards cannot be deleted"
)
REFUSED_HINT: Final = (
    "the settings of a topic have changed since the start: correct them now; the running shards "
    "continue, but a shard that starts refuses these settings"
)
log = structlog.get_logger(__name__)


class TopicMaintenance:
    """Checks the topics at the start and in intervals, and trims the repartition topic."""

    def __init__(
        self,
        admin: ClusterAdmin,
        settings: Settings,
        on_topology: Callable[[Topology, float], None],
        statuses: Callable[[], Iterable[ShardStatus]],
    ) -> None:
        """`on_topology` receives each topology after the first one, and the time of its request.

        The time is in monotonic seconds.
        """
        self.topology: Topology | None = None
        self._admin = admin
        self._settings = settings
        self._on_topology = on_topology
        self._statuses = statuses
        self._known_risks: set[TopicRisk] = set()
        self._trim_refusal = ""
        self._topics_refusal = ""

    async def prepare(self) -> Topology:
        """Create missing topics if CREATE_TOPICS is true; check all topics and return the topology.

        Raises:
            ClusterError: a topic is missing or has wrong settings.
            TaskFailed, TransientError: the brokers did not answer.
        """
        if self._settings.create_topics:
            created = await create_topics(self._admin, self._settings)
            log.info("topics_created", topics=list(created.names))
            log_left_out(created)
        self.topology = await check_topics(self._admin, self._settings)
        return self.topology

    def log_new_risks(self) -> None:
        """Log once each setting of a topic that can cause a loss of records."""
        for risk in self.topology.risks if self.topology is not None else ():
            if risk not in self._known_risks:
                self._known_risks.add(risk)
                log.warning(risk.event, topic=risk.topic, hint=risk.text)

    async def discover_partitions(self) -> None:
        """Check the topics in intervals, and pass each new topology to `on_topology`.

        Wrong settings are logged once, and do not end the process: its shards read the records that
        are in danger.
        """
        while True:
            await self._wait_for_next_check()
            seen_at = time.monotonic()
            try:
                self.topology = topology = await check_topics(self._admin, self._settings)
            except TopicsRefused as error:
                if str(error) != self._topics_refusal:
                    self._topics_refusal = str(error)
                    log.error("topics_refused", error=str(error), hint=REFUSED_HINT)  # noqa: TRY400 - no traceback
                continue
            except (ClusterError, TaskFailed, TransientError) as error:
                # A broker that has just restarted may not know a topic for a moment.
                log.warning("discovery_failed", error=str(error))
                continue
            if self._topics_refusal:
                self._topics_refusal = ""
                log.info("topics_accepted_again")
            self.log_new_risks()
            self._on_topology(topology, seen_at)

    async def _wait_for_next_check(self) -> None:
        """Wait for DISCOVERY_INTERVAL_MS, but at most 5 s while a source is deferred."""
        left = self._settings.discovery_interval_ms / 1000
        while left > 0:
            await asyncio.sleep(min(left, DEFERRED_SECONDS))
            left -= DEFERRED_SECONDS
            if any(source.deferred for status in self._statuses() for source in status.sources):
                return

    async def trim_repartition(self) -> None:
        """Delete handled forwards in intervals: the repartition topic has no retention limit."""
        while True:
            await asyncio.sleep(self._settings.trim_interval_ms / 1000)
            before = {
                TopicPartition(self._settings.repartition_topic, status.shard): offset
                for status in self._statuses()
                if (offset := status.trimmable_offset) is not None
            }
            if before:
                await self._trim(before)

    async def _trim(self, before: Mapping[TopicPartition, int]) -> None:
        """Delete the records before these offsets; a refusal is logged once.

        A failure costs only disk space, so it must not end the process. After a refusal, later
        calls try again, because an operator may grant the missing ACL.
        """
        try:
            await self._admin.delete_records(before)
        except TransientError as error:
            log.warning("trim_failed", error=str(error))
        except ClusterError as error:
            if str(error) != self._trim_refusal:
                self._trim_refusal = str(error)
                log.error("trim_refused", error=str(error), hint=TRIM_HINT)  # noqa: TRY400 - no traceback
        else:
            if self._trim_refusal:
                self._trim_refusal = ""
                log.info("trim_allowed_again")
