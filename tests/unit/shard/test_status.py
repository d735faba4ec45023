"""The states of a task."""

import itertools

import pytest

from consumer.shard.status import Heartbeat, TaskState

ORDER = list(TaskState)


def test_each_state_allows_the_next() -> None:
    """Each state leads to the next."""
    for state, following in itertools.pairwise(ORDER):
        assert state.advance(following) is following


def test_any_doubt_closes() -> None:
    """A task can close from every other state."""
    for state in ORDER[:-1]:
        assert state.advance(TaskState.CLOSED) is TaskState.CLOSED


@pytest.mark.parametrize(
    ("state", "to"),
    [
        (state, to)
        for state in ORDER
        for to in ORDER
        if ORDER.index(to) != ORDER.index(state) + 1
        and not (to is TaskState.CLOSED and state is not TaskState.CLOSED)
    ],
)
def test_all_other_moves_are_refused(state: TaskState, to: TaskState) -> None:
    """No move leads back, and none skips a state."""
    with pytest.raises(AssertionError, match="cannot go"):
        state.advance(to)


def test_a_heartbeat_keeps_the_time_of_the_last_beat() -> None:
    """Reading the clock is no heartbeat; only a beat is."""
    now = [5.0]
    heartbeat = Heartbeat(lambda: now[0])
    now[0] = 9.0
    assert heartbeat.last_beat == 5.0
    heartbeat.beat()
    assert heartbeat.last_beat == 9.0
