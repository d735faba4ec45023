"""The states of a task."""

import itertools

import pytest

from consumer.shard.status import TaskState, advance

ORDER = list(TaskState)


def test_the_way_forward_is_open() -> None:
    """Each state leads to the next."""
    for state, following in itertools.pairwise(ORDER):
        assert advance(state, following) is following


def test_any_doubt_closes() -> None:
    """A task can be closed from wherever it is."""
    for state in ORDER[:-1]:
        assert advance(state, TaskState.CLOSED) is TaskState.CLOSED


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
    """There is no way back and no short cut."""
    with pytest.raises(AssertionError, match="cannot go"):
        advance(state, to)
