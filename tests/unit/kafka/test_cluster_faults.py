"""Since when something keeps failing at the brokers, and when it has ended."""

from __future__ import annotations

from consumer.kafka.cluster_faults import (
    ENDED_AFTER_SECONDS,
    GRACE_SECONDS,
    ClusterFaults,
    Fault,
)

ADDRESS = "kafka-1:9092"


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


def repeat(faults: ClusterFaults, clock: Clock, seconds: float, pause: float = 10.0) -> None:
    """Let the login fail again and again for this time."""
    ends_at = clock.now + seconds
    while clock.now < ends_at:
        clock.now += pause
        faults.occurred(Fault.LOGIN, "refused", ADDRESS)


def test_a_fault_that_repeats_lasts_after_the_grace() -> None:
    """It counts from its first occurrence."""
    clock = Clock()
    faults = ClusterFaults(clock)
    faults.occurred(Fault.LOGIN, "refused", ADDRESS)
    repeat(faults, clock, GRACE_SECONDS - 10)
    (fault,) = faults.current()
    assert (fault.kind, fault.subject, fault.text) == (Fault.LOGIN, ADDRESS, "refused")
    assert not fault.is_lasting
    repeat(faults, clock, 10)
    assert faults.current()[0].is_lasting


def test_a_success_ends_the_fault_of_its_subject() -> None:
    """Another broker may still refuse the login."""
    clock = Clock()
    faults = ClusterFaults(clock)
    faults.occurred(Fault.LOGIN, "refused", ADDRESS)
    faults.occurred(Fault.LOGIN, "refused", "kafka-2:9092")
    faults.ended(Fault.LOGIN, ADDRESS)
    assert [fault.subject for fault in faults.current()] == ["kafka-2:9092"]


def test_silence_ends_a_fault() -> None:
    """A process that was frozen between two occurrences begins to count again."""
    clock = Clock()
    faults = ClusterFaults(clock)
    faults.occurred(Fault.OPEN_FILES, "EMFILE")
    clock.now += ENDED_AFTER_SECONDS + 1
    assert faults.current() == []
    faults.occurred(Fault.OPEN_FILES, "EMFILE")
    assert faults.current()[0].seconds == 0


def test_an_excluded_fault_does_not_come_back() -> None:
    """After the first coordinator was found, its topic exists."""
    faults = ClusterFaults(Clock())
    faults.occurred(Fault.GROUP_COORDINATOR, "not available")
    faults.exclude(Fault.GROUP_COORDINATOR)
    faults.occurred(Fault.GROUP_COORDINATOR, "not available")
    faults.occurred(Fault.TRANSACTION_COORDINATOR, "not available")
    assert [fault.kind for fault in faults.current()] == [Fault.TRANSACTION_COORDINATOR]
