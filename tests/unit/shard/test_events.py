"""Counting must not end what is counted."""

import pytest
import structlog

from consumer.service.logs import LogObserver
from consumer.shard.events import ObserverGroup, Step


class Broken(LogObserver):
    """An observer with a bug."""

    def on_step(self, shard: int, step: Step) -> None:
        """Fail."""
        raise KeyError(shard, step)


class Noting(LogObserver):
    """Keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[int, Step]] = []

    def on_step(self, shard: int, step: Step) -> None:
        """Keep it."""
        self.steps.append((shard, step))


def test_one_that_fails_is_named_once_and_the_others_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is raised into a transaction, and the log is not flooded."""
    # A logger keeps what it was first configured with, in another test of the same process perhaps.
    monkeypatch.setattr("consumer.shard.events.log", structlog.get_logger())
    noting = Noting()
    observers = ObserverGroup(LogObserver(), Broken(), noting)
    with structlog.testing.capture_logs() as lines:
        observers.on_step(1, Step.SENT)
        observers.on_step(2, Step.SENT)
    assert noting.steps == [(1, Step.SENT), (2, Step.SENT)]
    assert [(line["event"], line["observer"]) for line in lines] == [("observer_failed", "Broken")]
