"""Breadth first through every order of steps, so that a counter-example is a shortest one."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from tests.model import broker, protocol, trouble
from tests.model.broker import Transition
from tests.model.plan import Fault, Plan
from tests.model.properties import violation
from tests.model.states import Shard, State


class Result(NamedTuple):
    """What a search found."""

    states: int
    transitions: int
    ends: int  # states in which all is done
    depth: int
    violation: str | None = None
    path: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return the figures, and the counter-example step by step."""
        figures = f"{self.states} states, {self.transitions} steps, {self.depth} deep"
        if self.violation is None:
            return f"{figures}, nothing is broken"
        lines = (f"  {number:2}. {label}" for number, label in enumerate(self.path, 1))
        return "\n".join([f"{figures}: {self.violation}", *lines])


def initial(plan: Plan) -> State:
    """Return the state in which both shards' tasks are about to start."""
    shard = Shard(owner=protocol.new_task(plan))
    return State((shard, shard), "", plan.failures, plan.moves, plan.foreigns, plan.outages)


def successors(state: State, plan: Plan) -> Iterator[Transition]:
    """Yield every step that is possible, with the state it leads to."""
    keep_aborted = plan.fault is Fault.READ_UNCOMMITTED
    for number in range(2):
        for role in ("owner", "zombie"):
            yield from protocol.steps(state, number, role, plan)
            yield from protocol.trim(state, number, role, plan)
            yield from trouble.failures(state, number, role, plan)
        yield from broker.markers(state, number, keep_aborted=keep_aborted)
        yield from trouble.late_requests(state, number)
        yield from trouble.timeouts(state, number)
        yield from trouble.moves(state, number, plan)
        yield from trouble.strangers(state, number)
        yield from trouble.outages(state, number)


def search(plan: Plan) -> Result:
    """Visit every state that can be reached, until one breaks a property."""
    start = initial(plan)
    parents: dict[State, State | None] = {start: None}
    layer, transitions, ends, depth = [start], 0, 0, 0
    while layer:
        following: list[State] = []
        for state in layer:
            after = [successor for _, successor in successors(state, plan)]
            transitions += len(after)
            broken, is_end = violation(state, plan, is_stuck=not after)
            ends += is_end
            if broken is not None:
                path = _path(parents, state, plan)
                return Result(len(parents), transitions, ends, depth, broken, path)
            for successor in after:
                if successor not in parents:
                    parents[successor] = state
                    following.append(successor)
        layer, depth = following, depth + 1
    return Result(len(parents), transitions, ends, depth - 1)


def _path(parents: dict[State, State | None], state: State, plan: Plan) -> tuple[str, ...]:
    """Return the labels of the steps that led to a state."""
    states = [state]
    while (parent := parents[states[-1]]) is not None:
        states.append(parent)
    return tuple(
        next(label for label, reached in successors(before, plan) if reached == after)
        for before, after in pairwise(reversed(states))
    )
