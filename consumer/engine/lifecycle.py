"""The life of a shard's task.

::

    CREATED ─► FENCING ─► MARKING ─► RESTORING ─► VERIFYING ─► RUNNING ─► STOPPING ─► CLOSED
                  │           │           │            │           │          │          ▲
                  └───────────┴───────────┴────────────┴───────────┴──────────┴──────────┘
                        any doubt: the task is closed as it is, and a new one is made

There is no way back: recovery is a new task, and its start is the only recovery path.
"""

import enum
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from consumer.engine.buffer import Gathered
from consumer.errors import CheckpointReadyError, Fenced
from consumer.pipeline.records import ReadyRecord


class TaskState(enum.Enum):
    """Where a task stands."""

    CREATED = "created"
    FENCING = "fencing"
    MARKING = "marking"
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


class Step(enum.StrEnum):
    """The moments at which a crash must not matter; tests kill the process at each."""

    FENCED = "fenced"
    MARKED = "marked"
    RESTORED = "restored"
    DECIDED = "decided"  # before the send
    SENT = "sent"
    COMMITTING = "committing"  # EndTxn is on its way
    COMMITTED = "committed"  # memory not yet changed


class TransactionReport(msgspec.Struct, frozen=True):
    """What one committed transaction held; for logs and metrics."""

    shard: int
    consumed: int
    published: int
    duplicates: int
    conflicting: int
    dead_letters: dict[str, int]
    forwarded: int
    expired: int
    next_offsets: dict[str, int]
    duration_ms: float
    events: list[dict[str, object]]
    letters: list[dict[str, object]]
    suppressed_events: int
    consumed_by_topic: dict[str, int]
    ready: Sequence[ReadyRecord]
    """All that it published; let go of it soon, it may be megabytes."""
    sources: Sequence[Gathered] = ()
    """All that it was decided from; the same. Empty where it held only progress, or the like."""


class LostTransaction(msgspec.Struct, frozen=True):
    """A transaction of a running shard that ended in doubt, and the task with it."""

    shard: int
    error: CheckpointReadyError
    duration_ms: float
    sources: Sequence[Gathered] = ()

    @property
    def is_fenced(self) -> bool:
        """Whether another process took the shard over."""
        return isinstance(self.error, Fenced)


class Observer(Protocol):
    """Who is told what the engine does. Calls must be quick and must not raise."""

    def on_step(self, shard: int, step: Step) -> None:
        """Note that a task reached a step; nothing else happens meanwhile."""

    def on_transaction(self, report: TransactionReport) -> None:
        """Note a committed transaction."""

    def on_transaction_lost(self, lost: LostTransaction) -> None:
        """Note a transaction that ended in doubt."""

    def on_fenced(self, shard: int) -> None:
        """Note that another process took a shard over, whatever its task was at."""

    def on_rebalance(self, seconds: float) -> None:
        """Note that the group has decided what runs here, and how long it took."""
