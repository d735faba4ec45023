"""The life of a shard's task.

::

    CREATED ─► FENCING ─► SETTING_BARRIER ─► RESTORING ─► VERIFYING ─► RUNNING ─► STOPPING ─► CLOSED
                  │           │           │            │           │          │          ▲
                  └───────────┴───────────┴────────────┴───────────┴──────────┴──────────┘
                        any doubt: the task is closed as it is, and a new one is made

There is no way back: recovery is a new task, and its start is the only recovery path.
"""

import enum
from typing import Final

import msgspec

from consumer.kafka.held_back import UNANSWERED_SECONDS, HeldBack


class TaskState(enum.Enum):
    """Where a task stands."""

    CREATED = "created"
    FENCING = "fencing"
    SETTING_BARRIER = "setting_barrier"
    RESTORING = "restoring"
    VERIFYING = "verifying"
    RUNNING = "running"
    STOPPING = "stopping"
    CLOSED = "closed"


_ORDER: Final = tuple(TaskState)


def advance(state: TaskState, to: TaskState) -> TaskState:
    """Return ``to`` if the diagram allows it.

    Raises:
        AssertionError: an illegal move, which is a bug.
    """
    is_next = _ORDER.index(to) == _ORDER.index(state) + 1
    if not is_next and not (to is TaskState.CLOSED and state is not TaskState.CLOSED):
        raise AssertionError(f"a task cannot go from {state.value} to {to.value}")
    return to


# What can be seen of an engine at one moment: for probes, metrics and the status page.

WAITING, REFUSED = "waiting", "refused"
"""The states of a shard without a task: between two tries, and one that must not run."""
BUSY_UNANSWERED_SECONDS: Final = 60.0


class SourceView(msgspec.Struct, frozen=True):
    """One partition that a shard reads."""

    topic: str
    partition: int
    lag: int | None
    """Records that are not handled yet; markers of transactions are none. None: not known."""
    unanswered_seconds: float = 0.0
    """For how long the broker has not answered a fetch of it."""

    held_back: HeldBack | None = None
    """What waits behind an open transaction and is no lag; None: not known."""

    @property
    def is_silent(self) -> bool:
        """Whether the broker has not answered for too long.

        With lag it need not be asked while what was fetched ahead is worked off, which slow
        transactions may draw out.
        """
        limit = BUSY_UNANSWERED_SECONDS if self.lag else UNANSWERED_SECONDS
        return self.unanswered_seconds > limit


class ShardView(msgspec.Struct, frozen=True):
    """One shard that the group wants here, or that has not ended yet."""

    shard: int
    state: str
    entries: int = 0
    restore_ratio: float | None = None
    """How much of its changelog is read; None: it has no task, so nothing is read."""
    has_run: bool = False
    """Whether it has been restored here at least once since it was given to this process."""
    refusal: str = ""
    hangs: str = ""
    """Why it waits for an operator: a transaction hangs, and how to end it."""
    hanging_partitions: int = 0
    """In how many partitions that is so."""
    sources: tuple[SourceView, ...] = ()
    variants: int = 0

    @property
    def held_back(self) -> HeldBack:
        """The records that open transactions hold back in its sources, and the longest time."""
        known = [source.held_back for source in self.sources if source.held_back is not None]
        records = sum(it.records for it in known)
        return HeldBack(records, max((it.seconds for it in known), default=0.0))

    @property
    def lag(self) -> int | None:
        """The lag of all its sources; None while that of one is not known."""
        lags = [source.lag for source in self.sources if source.lag is not None]
        return sum(lags) if lags and len(lags) == len(self.sources) else None
