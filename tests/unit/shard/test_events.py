"""A failing observer must not end the task that it observes."""

import pytest
import structlog

from consumer.shard.events import Observer, ObserverGroup, Step


class Broken(Observer):
    """An observer with a bug."""

    def on_step(self, shard: int, step: Step) -> None:
        """Fail."""
        raise KeyError(shard, step)


class Recording(Observer):
    """Keeps the steps that it received."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, Step]] = []

    def on_step(self, shard: int, step: Step) -> None:
        """Keep it."""
        self.steps.append((shard, step))


def test_a_failing_observer_is_logged_once_and_the_others_are_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is raised into a transaction, and the log is not flooded."""
    # A logger keeps what it was first configured with, in another test of the same process perhaps.
    monkeypatch.setattr("consumer.shard.events.log", structlog.get_logger())
    recording = Recording()
    observers = ObserverGroup(Observer(), Broken(), recording)
    with structlog.testing.capture_logs() as lines:
        observers.on_step(1, Step.SENT)
        observers.on_step(2, Step.SENT)
    assert recording.steps == [(1, Step.SENT), (2, Step.SENT)]
    assert [(line["event"], line["observer"]) for line in lines] == [("observer_failed", "Broken")]


def test_the_first_observer_is_essential() -> None:
    """Its errors are raised: tests stop a process in it, and the log lines come from it."""
    with pytest.raises(KeyError):
        ObserverGroup(Broken(), Recording()).on_step(1, Step.SENT)
