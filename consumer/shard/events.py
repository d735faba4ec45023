"""What a shard reports: steps, committed and lost transactions, and who observes them."""

import enum
from collections.abc import Callable, Sequence

import msgspec
import structlog

from consumer.errors import CheckpointReadyError, Fenced
from consumer.pipeline.records import ReadyRecord
from consumer.shard.buffer import Gathered


class Step(enum.StrEnum):
    """The moments at which a crash must not matter; tests kill the process at each."""

    FENCED = "fenced"
    BARRIER_SET = "barrier_set"
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


class Observer:
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


# Observers of the engine beside the one that it has.

log = structlog.get_logger(__name__)


class Observers(Observer):
    """Tells the first observer, then the others, in order.

    The others count and show. What goes wrong there is said once and must not end what they watch.
    """

    def __init__(self, first: Observer, *others: Observer) -> None:
        self._first = first
        self._others = others
        self._complained: set[str] = set()

    def on_step(self, shard: int, step: Step) -> None:
        """Pass it on."""
        self._tell(lambda observer: observer.on_step(shard, step))

    def on_transaction(self, report: TransactionReport) -> None:
        """Pass it on."""
        self._tell(lambda observer: observer.on_transaction(report))

    def on_transaction_lost(self, lost: LostTransaction) -> None:
        """Pass it on."""
        self._tell(lambda observer: observer.on_transaction_lost(lost))

    def on_fenced(self, shard: int) -> None:
        """Pass it on."""
        self._tell(lambda observer: observer.on_fenced(shard))

    def on_rebalance(self, seconds: float) -> None:
        """Pass it on."""
        self._tell(lambda observer: observer.on_rebalance(seconds))

    def _tell(self, tell: Callable[[Observer], None]) -> None:
        tell(self._first)
        for observer in self._others:
            try:
                tell(observer)
            except Exception:
                name = type(observer).__name__
                if name not in self._complained:
                    self._complained.add(name)
                    log.exception("observer_failed", observer=name)
