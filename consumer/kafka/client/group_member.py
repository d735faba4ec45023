"""Membership in the consumer group: which shards does the group want here, and nothing else.

The member subscribes to the repartition topic, whose partitions are the shards, and never fetches.
Its callbacks only record what is wanted now; the engine does the rest.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import errors as kafka_errors
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from consumer.config import Settings
from consumer.errors import ClusterError, TransientError
from consumer.kafka.client import private_api
from consumer.kafka.client.connection import Connection, bounded, close_consumer, translate
from consumer.kafka.types import TopicPartition

START_SECONDS: Final = 15.0
POLL_MS: Final = 200
MAX_POLL_INTERVAL_MS: Final = 60_000
# A static member keeps its id for life. One that must take its name back again and again has a
# twin: both would fence each other for ever, and no shard would run for long.
MAX_IDS_LOST: Final = 3
TWIN_WINDOW_SECONDS: Final = 60.0
COMMIT_SECONDS: Final = 1.0


class MembershipEnded(Exception):
    """The library's group coordination has ended for good; a reason to end the process."""


class KafkaMember(ConsumerRebalanceListener):
    """One member of the group; at most one per process (the assignor's state lies on its class).

    ``wanted`` is None while the group has not said anything yet or rebalances.
    """

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        on_change: Callable[[], None],
        on_rebalance: Callable[[float], None],
    ) -> None:
        """`on_rebalance` is told how many seconds the group took, the first time since `join`."""
        self.wanted: frozenset[int] | None = None
        self.rebalances = 0
        self._topic = settings.repartition_topic
        self._on_change = on_change
        self._on_rebalance = on_rebalance
        self._undecided_since = time.monotonic()
        self._member_id = ""
        self._id_changes: deque[float] = deque(maxlen=MAX_IDS_LOST + 1)  # the first join is one
        self._instance = instance = settings.group_instance_id
        self._consumer = AIOKafkaConsumer(
            **connection.options(f"{settings.group_id}-{instance or 'member'}"),
            group_id=settings.group_id,
            group_instance_id=instance or None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            # The default is the session timeout, too short where a member is slow to rejoin.
            rebalance_timeout_ms=max(settings.session_timeout_ms, 30_000),
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
            partition_assignment_strategy=(StickyPartitionAssignor,),
        )

    async def join(self) -> None:
        """Connect and ask to join; ``wanted`` tells when the group has answered.

        Raises:
            ClusterError: missing ACL or refused credentials.
            TransientError, TaskFailed: the broker cannot be reached.
        """
        try:
            self._undecided_since = time.monotonic()
            await bounded(self._consumer.start(), START_SECONDS, "joining the group")
            self._consumer.subscribe([self._topic], listener=self)
        except Exception as error:
            raise translate(error, "join the group") from error

    async def poll(self) -> None:
        """Show the group a sign of life; returns after at most a poll interval or a rebalance.

        Raises:
            ClusterError: missing ACL, or a twin; a person must mend it.
            MembershipEnded: the library has given up; only a new process joins again.
            TransientError: anything else; poll again.
        """
        if self._has_twin():
            raise ClusterError(
                "another live process has the same CHECKPOINT_READY_GROUP_INSTANCE_ID "
                f"({self._instance}): give each process its own, or none"
            )
        # Never in wait_for: a cancelled getmany turns aiokafka's max_poll_interval off for good.
        try:
            await self._consumer.getmany(timeout_ms=POLL_MS)
        except kafka_errors.NoOffsetForPartitionError:
            return
        except Exception as error:
            ours = translate(error, "membership")
            if private_api.has_membership_ended(self._consumer):
                raise MembershipEnded(str(error)) from error
            raise ours if isinstance(ours, ClusterError) else TransientError(str(ours)) from error

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:  # noqa: ARG002
        """Note a rebalance: shards stay as they are until the group has decided."""
        if self.wanted is not None:
            self._undecided_since = time.monotonic()
        self.wanted = None

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Note what the group has decided."""
        # First pause, in this same turn of the loop: records would be delivered otherwise.
        self._consumer.pause(*assigned)
        for partition in assigned:
            # A position, so that aiokafka does not look for a committed one.
            self._consumer.seek(partition, 0)
        member_id = private_api.member_id(self._consumer)
        if member_id != self._member_id:
            self._member_id = member_id
            self._id_changes.append(time.monotonic())
        self.wanted = frozenset(partition.partition for partition in assigned)
        self.rebalances += 1
        self._on_change()
        self._on_rebalance(time.monotonic() - self._undecided_since)

    def _has_twin(self) -> bool:
        changes = self._id_changes
        return (
            bool(self._instance)
            and len(changes) == changes.maxlen
            and changes[-1] - changes[0] < TWIN_WINDOW_SECONDS
        )

    async def commit_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit positions for lag tools and autoscalers; nothing here ever reads them back.

        Raises:
            TransientError: the group did not take them; the next commit will do.
        """
        try:
            await bounded(
                private_api.commit_group_offsets(self._consumer, dict(offsets)),
                COMMIT_SECONDS,
                "OffsetCommit",
            )
        except Exception as error:
            ours = translate(error, "commit group offsets")
            raise ours if isinstance(ours, ClusterError) else TransientError(str(ours)) from error

    async def leave(self) -> None:
        """Leave the group at once, static member or not, and close."""
        private_api.leave_on_stop(self._consumer)
        await close_consumer(self._consumer)
