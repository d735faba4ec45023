"""Observers of the engine beside the one that it has."""

from collections.abc import Callable

import structlog

from consumer.engine.lifecycle import LostTransaction, Observer, Step, TransactionReport

log = structlog.get_logger(__name__)


class Observers:
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
