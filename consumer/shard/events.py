"""The events of a shard (steps, committed and lost transactions), and their observers."""

import enum
from collections.abc import Callable, Sequence

import msgspec
import structlog

from consumer.errors import CheckpointReadyError, Fenced
from consumer.pipeline.records import ReadyRecord
from consumer.shard.buffer import Gathered

log = structlog.get_logger(__name__)


class Step(enum.StrEnum):
    """The steps of a task. Tests kill the process at each step: a crash must be harmless there."""

    FENCED = "fenced"
    BARRIER_SET = "barrier_set"
    RESTORED = "restored"
    DECIDED = "decided"  # before the send
    SENT = "sent"
    COMMITTING = "committing"  # before EndTxn
    COMMITTED = "committed"  # the memory has not changed yet


class TransactionReport(msgspec.Struct, frozen=True):
    """The content of one committed transaction, for logs and metrics."""

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
    dead_letter_fields: list[dict[str, object]]
    suppressed_events: int
    consumed_by_topic: dict[str, int]
    ready: Sequence[ReadyRecord]
    """All ready events of the transaction. Do not keep them: they may take megabytes."""
    sources: Sequence[Gathered] = ()
    """The records that the decision is about; do not keep them.

    Empty for a transaction that has only progress, an announcement or tombstones."""


class LostTransaction(msgspec.Struct, frozen=True):
    """A transaction whose outcome is unknown. The task that wrote it ends."""

    shard: int
    error: CheckpointReadyError
    duration_ms: float
    sources: Sequence[Gathered] = ()

    @property
    def is_fenced(self) -> bool:
        """Whether the brokers fenced the writer, usually because another process took over."""
        return isinstance(self.error, Fenced)


class Observer:
    """Receives the events of the engine. A subclass overrides the methods that it needs.

    Calls must be quick and must not raise.
    """

    def on_step(self, shard: int, step: Step) -> None:
        """Handle a step of a task. The task waits for this call."""

    def on_transaction(self, report: TransactionReport) -> None:
        """Handle a committed transaction."""

    def on_transaction_lost(self, lost: LostTransaction) -> None:
        """Handle a transaction whose outcome is unknown."""

    def on_fenced(self, shard: int) -> None:
        """Handle the end of a task whose writer was fenced, in any state of the task.

        Usually another process took its shard over.
        """

    def on_rebalance(self, seconds: float) -> None:
        """Handle a completed rebalance of the group, which took this many seconds."""


class ObserverGroup(Observer):
    """Passes each event to the first observer, then to the others, in order.

    The first observer is essential, so its errors are raised. The others only count and display, so
    their errors never end the task. This class logs the first error of each of them.
    """

    def __init__(self, first: Observer, *others: Observer) -> None:
        self._first = first
        self._others = others
        self._failed: set[str] = set()

    def on_step(self, shard: int, step: Step) -> None:
        """Pass the step on."""
        self._call_each(lambda observer: observer.on_step(shard, step))

    def on_transaction(self, report: TransactionReport) -> None:
        """Pass the transaction on."""
        self._call_each(lambda observer: observer.on_transaction(report))

    def on_transaction_lost(self, lost: LostTransaction) -> None:
        """Pass the lost transaction on."""
        self._call_each(lambda observer: observer.on_transaction_lost(lost))

    def on_fenced(self, shard: int) -> None:
        """Pass the takeover on."""
        self._call_each(lambda observer: observer.on_fenced(shard))

    def on_rebalance(self, seconds: float) -> None:
        """Pass the rebalance on."""
        self._call_each(lambda observer: observer.on_rebalance(seconds))

    def _call_each(self, call: Callable[[Observer], None]) -> None:
        call(self._first)
        for observer in self._others:
            try:
                call(observer)
            except Exception:
                name = type(observer).__name__
                if name not in self._failed:
                    self._failed.add(name)
                    log.exception("observer_failed", observer=name)
