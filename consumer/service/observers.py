"""Several observers of the engine as one."""

from consumer.engine.lifecycle import LostTransaction, Observer, Step, TransactionReport


class Observers:
    """Tells each of them what it is told, in order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def on_step(self, shard: int, step: Step) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_step(shard, step)

    def on_transaction(self, report: TransactionReport) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_transaction(report)

    def on_transaction_lost(self, lost: LostTransaction) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_transaction_lost(lost)

    def on_fenced(self, shard: int) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_fenced(shard)

    def on_rebalance(self, seconds: float) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_rebalance(seconds)
