"""When a source counts as held back, and how often it is said."""

from __future__ import annotations

import math
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from consumer.kafka.held_back import (
    WARN_AFTER_SECONDS,
    WARN_AGAIN_SECONDS,
    HeldBack,
    HeldBackLog,
    HeldBackSources,
)
from consumer.kafka.types import TopicPartition

SOURCE = TopicPartition("in", 0)


@pytest.fixture(autouse=True)
def _own_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log by a new logger: the module's keeps what another test first configured it with."""
    monkeypatch.setattr("consumer.kafka.held_back.log", structlog.get_logger())


class Offsets:
    """A fake reader whose fetch responses are chosen by the test."""

    def __init__(self) -> None:
        self.stable_and_end: tuple[int, int] | None = (10, 10)
        self.is_silent = False

    def stable_offset_and_end(self, _: TopicPartition) -> tuple[int, int] | None:
        """Return what the last response said."""
        return self.stable_and_end

    def seen_at(self, _: TopicPartition) -> float | None:
        """Return when it was sent: a moment ago, whatever the time is."""
        return None if self.is_silent else math.inf


class Bench:
    """Checks one source every two seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.reader = Offsets()
        self.held = HeldBackSources()
        self.log = HeldBackLog(0, "kafka:9092")

    def check(self, seconds: float, stable_and_end: tuple[int, int] | None) -> HeldBack | None:
        """Let time pass, with this response all the while."""
        self.reader.stable_and_end = stable_and_end
        reader: Any = self.reader
        for _ in range(int(seconds / 2)):
            self.now += 2
            assert self.held.check(self.now, reader, [SOURCE])
            assert not self.held.check(self.now + 0.5, reader, [SOURCE])
            self.log.check(self.now, self.held.views)
        return self.held.views.get(SOURCE)


def test_only_an_offset_that_does_not_move_grows_old() -> None:
    """A busy transactional producer is always ahead of its last stable offset by a little."""
    bench = Bench()
    assert bench.check(2, None) is None
    assert bench.check(2, (10, 10)) is None
    for stable in range(10, 100):
        assert bench.check(2, (stable, stable + 50)) == HeldBack(50, 0)
    assert bench.check(20, (99, 200)) == HeldBack(101, 20)
    assert bench.check(2, (200, 200)) is None


def test_it_is_said_after_a_minute_then_rarely_and_when_it_ends() -> None:
    """One warning informs an operator; one each second would hide all others."""
    bench = Bench()
    with capture_logs() as lines:
        bench.check(WARN_AFTER_SECONDS, (10, 2_010))
        assert lines == []
        bench.check(WARN_AGAIN_SECONDS, (10, 2_010))
        assert [line["event"] for line in lines] == ["input_held_back"]
        bench.check(4, (10, 3_010))
        assert [line.get("records") for line in lines] == [2_000, 3_000]
        bench.check(2, (3_010, 3_010))
    assert [line["event"] for line in lines][2:] == ["input_no_longer_held_back"]
    assert "describe-producers --topic in --partition 0" in lines[0]["hint"]


def test_a_silent_leader_proves_nothing() -> None:
    """Its transactions may have ended meanwhile: no age is counted and no warning is written."""
    bench = Bench()
    bench.check(4, (10, 20))
    bench.reader.is_silent = True
    with capture_logs() as lines:
        assert bench.check(2 * WARN_AFTER_SECONDS, (10, 20)) == HeldBack(10, 2)
    assert lines == []
