"""Membership in the consumer group, which assigns shards to this process.

The member subscribes to the repartition topic, because each of its partitions is one shard. It
never fetches records. Its callbacks only record the assignment, and the engine acts on that.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import errors as kafka_errors
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from consumer.config import Settings
from consumer.errors import CheckpointReadyError, ClusterError, LoginRefused, TransientError
from consumer.kafka.client import private_api
from consumer.kafka.client.connection import Connection, bounded, close_consumer, translate
from consumer.kafka.types import TopicPartition

START_SECONDS: Final = 15.0
POLL_MS: Final = 200
MAX_POLL_INTERVAL_MS: Final = 60_000
# A static member keeps its member id. If the member id changes this often within a minute, another
# process has the same instance id. Both would fence each other forever, and no shard would run for
# long.
MAX_ID_CHANGES: Final = 3
ID_CHANGES_WINDOW_SECONDS: Final = 60.0
COMMIT_SECONDS: Final = 1.0


class MembershipEnded(Exception):
    """An error ended the library's group coordination; the process must end."""


class KafkaMember(ConsumerRebalanceListener):
    """One member of the group.

    A process can have only one, because aiokafka's assignor keeps its state in its class.
    ``wanted`` holds the assigned shards. It is None before an assignment and during a rebalance.
    """

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        on_change: Callable[[], None],
        on_rebalance: Callable[[float], None],
    ) -> None:
        """`on_rebalance` gets the seconds that a rebalance took. The first one begins at `join`."""
        self.wanted: frozenset[int] | None = None
        self.rebalances = 0
        self._topic = settings.repartition_topic
        self._on_change = on_change
        self._on_rebalance = on_rebalance
        self._undecided_since = time.monotonic()
        self._member_id = ""
        # The first member id counts as a change too.
        self._id_changes: deque[float] = deque(maxlen=MAX_ID_CHANGES + 1)
        self._instance = instance = settings.group_instance_id
        self._consumer = AIOKafkaConsumer(
            **connection.options(f"{settings.group_id}-{instance or 'member'}"),
            group_id=settings.group_id,
            group_instance_id=instance or None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            # The default, the session timeout, is too short for a member that rejoins slowly.
            rebalance_timeout_ms=max(settings.session_timeout_ms, 30_000),
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
            partition_assignment_strategy=(StickyPartitionAssignor,),
        )

    async def join(self) -> None:
        """Connect and join; ``wanted`` is set when the group has assigned shards.

        Raises:
            ClusterError: an ACL is missing, or the broker refused the credentials.
            TransientError, TaskFailed: the broker cannot be reached.
        """
        try:
            self._undecided_since = time.monotonic()
            await bounded(self._consumer.start(), START_SECONDS, "joining the group")
            self._consumer.subscribe([self._topic], listener=self)
        except Exception as error:
            raise translate(error, "join the group") from error

    async def poll(self) -> None:
        """Keep the membership alive; return after a poll interval, or when a rebalance ends.

        Raises:
            ClusterError: an ACL is missing, or another process has the same instance id.
            MembershipEnded: the library has given up; only a new process can join again.
            TransientError: anything else; poll again.
        """
        if self._is_instance_id_shared():
            raise ClusterError(
                "another live process has the same CHECKPOINT_READY_GROUP_INSTANCE_ID "
                f"({self._instance}): give each process its own, or none"
            )
        # Do not add a wait_for: a cancelled getmany disables aiokafka's max_poll_interval for good.
        try:
            await self._consumer.getmany(timeout_ms=POLL_MS)
        except kafka_errors.NoOffsetForPartitionError:
            return
        except Exception as error:
            ours = _repeatable(translate(error, "membership"))
            if private_api.has_membership_ended(self._consumer) and isinstance(
                ours, TransientError
            ):
                raise MembershipEnded(str(error)) from error
            raise ours from error

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:  # noqa: ARG002
        """Record a rebalance; shards continue until the next assignment."""
        if self.wanted is not None:
            self._undecided_since = time.monotonic()
        self.wanted = None

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Record the assignment."""
        # Pause before any await. Otherwise the consumer would fetch and deliver records.
        self._consumer.pause(*assigned)
        for partition in assigned:
            # Set a position, so that aiokafka does not fetch the committed one.
            self._consumer.seek(partition, 0)
        member_id = private_api.member_id(self._consumer)
        if member_id != self._member_id:
            self._member_id = member_id
            self._id_changes.append(time.monotonic())
        self.wanted = frozenset(partition.partition for partition in assigned)
        self.rebalances += 1
        self._on_change()
        self._on_rebalance(time.monotonic() - self._undecided_since)

    def _is_instance_id_shared(self) -> bool:
        changes = self._id_changes
        return (
            bool(self._instance)
            and len(changes) == changes.maxlen
            and changes[-1] - changes[0] < ID_CHANGES_WINDOW_SECONDS
        )

    async def commit_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit positions for lag tools and autoscalers; the service never resumes from them.

        Raises:
            ClusterError: an ACL is missing.
            TransientError: the commit failed. The next commit has newer positions.
        """
        try:
            await bounded(
                private_api.commit_group_offsets(self._consumer, dict(offsets)),
                COMMIT_SECONDS,
                "OffsetCommit",
            )
        except Exception as error:
            raise _repeatable(translate(error, "commit group offsets")) from error

    async def leave(self) -> None:
        """Leave the group at once, static member or not, and close."""
        private_api.leave_on_stop(self._consumer)
        await close_consumer(self._consumer)


def _repeatable(error: CheckpointReadyError) -> CheckpointReadyError:
    """Return the error as a TransientError, unless an operator must fix the cluster at once."""
    if isinstance(error, ClusterError) and not isinstance(error, LoginRefused):
        return error
    return TransientError(str(error))
