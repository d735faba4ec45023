"""The states of a shard's task, and the status of a shard at one moment.

::

    CREATED ─► FENCING ─► SETTING_BARRIER ─► RESTORING ─► VERIFYING ─► RUNNING ─► STOPPING ─► CLOSED
                  │              │               │            │           │          │          ▲
                  └──────────────┴───────────────┴────────────┴───────────┴──────────┴──────────┘
                         any doubt: the task closes, and the supervisor starts a new one

No move leads back. The start of a new task is the only recovery path.
"""

import enum
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from consumer.kafka.held_back import UNANSWERED_SECONDS, HeldBack
from consumer.kafka.types import TopicPartition

WAITING, REFUSED = "waiting", "refused"
"""The states of a shard without a task: it waits for its next task, or it must not run."""
BUSY_UNANSWERED_SECONDS: Final = 60.0


class TaskState(enum.Enum):
    """The state of a task, in the order of its life."""

    CREATED = "created"
    FENCING = "fencing"
    SETTING_BARRIER = "setting_barrier"
    RESTORING = "restoring"
    VERIFYING = "verifying"
    RUNNING = "running"
    STOPPING = "stopping"
    CLOSED = "closed"

    def allows(self, to: "TaskState") -> bool:
        """Return whether a task may move from this state to `to`: the next state, or CLOSED."""
        order = list(TaskState)
        if to is TaskState.CLOSED:
            return self is not to
        return order.index(to) == order.index(self) + 1

    def advance(self, to: "TaskState") -> "TaskState":
        """Return the next state.

        Raises:
            AssertionError: an illegal move, which is a bug.
        """
        if not self.allows(to):
            raise AssertionError(f"a task cannot go from {self.value} to {to.value}")
        return to


class Heartbeat:
    """The time of a task's latest activity: the task calls ``beat`` after each fetch and commit."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.last_beat = clock()

    def beat(self) -> None:
        """Record that the task is active now."""
        self.last_beat = self._clock()


class SourceStatus(msgspec.Struct, frozen=True):
    """One partition that a shard reads."""

    topic: str
    partition: int
    lag: int | None
    """How many records are not handled yet. None: not known.

    A transaction marker at the end of the partition is not counted."""
    unanswered_seconds: float = 0.0
    """For how long the leader has not answered a fetch of this partition."""

    held_back: HeldBack | None = None
    """The records that an open transaction holds back, which are not lag. None: not known."""
    deferred: str = ""
    """Why the shard does not read this partition now; empty if it does."""

    @property
    def is_silent(self) -> bool:
        """Whether the leader has not answered for too long: 10 s, or 60 s for a source with lag.

        The reader fetches from a source with lag again only after the prefetched records of this
        source are handled. Slow transactions may delay that.
        """
        limit = BUSY_UNANSWERED_SECONDS if self.lag else UNANSWERED_SECONDS
        return self.unanswered_seconds > limit


class ShardStatus(msgspec.Struct, frozen=True):
    """One shard that the group assigned to this process, or whose task has not ended yet.

    Supervisor, stall detector, probes, metrics, status page and group offsets read this struct and
    nothing else. ``ShardTask.status`` computes it; the supervisor adds what outlives a task.
    """

    shard: int
    state: str
    entries: int = 0
    """Ids in memory."""
    restore_ratio: float | None = None
    """The restored share of the changelog partition (0 to 1). None: the shard has no task."""
    has_run: bool = False
    """Whether the shard was RUNNING at least once since it was assigned to this process."""
    refusal: str = ""
    hangs: str = ""
    """Where a transaction hangs for which the shard waits, and the command that ends it."""
    leaderless: str = ""
    """Which partitions without a leader ended the last task. Empty while the shard runs."""
    hanging_partitions: int = 0
    sources: tuple[SourceStatus, ...] = ()
    variants: int = 0
    """Conflicting variants in memory."""
    attempts: int = 0
    """How many tasks were started since the shard was assigned to this process."""
    transactions: int = 0
    """Committed transactions of the current task."""
    handled_records: int = 0
    """How many records were handled and committed since the shard was assigned to this process."""
    loaded_records: int = 0
    """Changelog records that the current restore has read; 0 before and after a restore."""
    is_behind: bool = True
    """Whether work is pending or may be pending. True before the shard runs."""
    last_beat: float | None = None
    """The last heartbeat of the task, in monotonic seconds. None: the shard has no task."""
    positions: Mapping[TopicPartition, int] = {}
    """The next offset of each source: all earlier records are handled."""
    trimmable_offset: int | None = None
    """Forwards before this offset can be deleted. None: no forward can.

    It is the first offset of the batch that holds the record of the last-record fingerprint."""

    @property
    def held_back(self) -> HeldBack:
        """The records that open transactions hold back in all sources, and the longest wait."""
        known = [source.held_back for source in self.sources if source.held_back is not None]
        records = sum(it.records for it in known)
        return HeldBack(records, max((it.seconds for it in known), default=0.0))

    @property
    def lag(self) -> int | None:
        """The sum of the lags of all sources; None if a lag is not known, or without sources."""
        lags = [source.lag for source in self.sources if source.lag is not None]
        return sum(lags) if lags and len(lags) == len(self.sources) else None
