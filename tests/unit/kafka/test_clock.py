"""The brokers' time of day: set by their answers, and whatever this machine's clock says."""

import time

import pytest

from consumer.kafka.clock import BrokerClock, wall_clock_ms

NOW_MS = 1_721_764_900_000


def test_the_brokers_clock_goes_on_from_their_latest_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Monotonic time is added; that this machine's clock jumps by a day changes nothing."""
    seconds = 100.0
    clock = BrokerClock(lambda: seconds)
    clock.set(NOW_MS)
    seconds = 107.5
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)
    assert clock.now_ms() == NOW_MS + 7500
    assert clock.at_ms(101.0) == NOW_MS + 1000
    clock.set(NOW_MS)
    assert clock.now_ms() == NOW_MS


def test_before_any_answer_it_is_this_machines_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing better; with a window the mark of a start brings the first answer."""
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)
    clock = BrokerClock(lambda: 100.0)
    assert clock.now_ms() == wall_clock_ms() == 10**12
    assert clock.at_ms(99.0) == 10**12 - 1000
