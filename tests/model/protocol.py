"""The engine's protocol: what a task does at each place when nothing disturbs it.

The numbers are those of ``ShardTask.run`` and of ``ShardLoop._write``.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from tests.model import broker
from tests.model.broker import Transition
from tests.model.plan import HOME, Fault, Plan
from tests.model.states import Decision, Phase, Place, Positions, Shard, State, Task, put, union

STARTED: Final = (Place.RUNNING, Place.DECIDED, Place.SENT, Place.COMMITTING, Place.COMMITTED)
WRITING: Final = (
    Place.SETTING_BARRIER,
    Place.DECIDED,
    Place.COMMITTING,
)  # where the epoch is asked for


def get_task(shard: Shard, role: str) -> Task | None:
    """Return the shard's task on the member that should run it, or on the other one."""
    return shard.owner if role == "owner" else shard.zombie


def put_task(state: State, number: int, role: str, task: Task | None) -> State:
    """Return the state with one task of one shard replaced."""
    shard = state.shards[number]
    if role == "zombie" or task is None:
        return put(state, number, shard._replace(zombie=task))
    return put(state, number, shard._replace(owner=task))


def new_task(plan: Plan, former: Task | None = None) -> Task:
    """Return the task that a member starts, for the first time or in place of another."""
    if plan.fault is Fault.RESTORE_BEFORE_FENCE:
        return Task(Place.RESTORING)
    if plan.fault is Fault.MEMORY_KEPT and former is not None:
        return Task(ids=former.ids, saved=former.saved)
    return Task()


def drop(state: State, number: int, role: str, plan: Plan) -> State:
    """Throw a task away; where the shard is still wanted there is a new one."""
    if role == "zombie":
        return put_task(state, number, role, None)
    return put_task(state, number, role, new_task(plan, state.shards[number].owner))


class Turn(NamedTuple):
    """A task whose turn it is, and where it stands."""

    state: State
    number: int
    role: str
    task: Task
    plan: Plan

    @property
    def shard(self) -> Shard:
        """The task's shard."""
        return self.state.shards[self.number]

    def to(self, what: str, task: Task, state: State | None = None) -> Transition:
        """Return the step by which the task becomes another, and the world this state."""
        after = put_task(state or self.state, self.number, self.role, task)
        return f"shard {self.number} {self.role}: {what}", after


def steps(state: State, number: int, role: str, plan: Plan) -> Iterator[Transition]:
    """Yield what one task can do next."""
    task = get_task(state.shards[number], role)
    if task is None:
        return
    turn = Turn(state, number, role, task, plan)
    if task.place in WRITING and not task.holds:
        label = f"shard {number} {role}: is refused as fenced, and dropped"
        yield label, drop(state, number, role, plan)
    else:
        yield from STEPS[task.place](turn)
    if plan.fault is Fault.DECIDED_AHEAD and task.place in STARTED[1:] and task.ahead is None:
        for label, decision, position in _decisions(turn):
            ahead = task._replace(ahead=decision, position=position)
            yield turn.to(f"decides {label} ahead", ahead)


def trim(state: State, number: int, role: str, plan: Plan) -> Iterator[Transition]:
    """Delete forwards behind committed progress (the engine keeps one more, the fingerprint)."""
    shard = state.shards[number]
    task = get_task(shard, role)
    if task is None or task.place not in STARTED:
        return
    progress = task.position if plan.fault is Fault.TRIM_UNCOMMITTED else task.saved
    if progress.forwards > shard.log_start:
        trimmed = shard._replace(log_start=progress.forwards)
        label = f"shard {number} {role}: trims its forwards before offset {progress.forwards}"
        yield label, put(state, number, trimmed)


def sent(task: Task, plan: Plan) -> Task:
    """Return the task after its send."""
    if plan.fault is Fault.MEMORY_BEFORE_COMMIT:
        task = _apply(task)
    return task._replace(place=Place.SENT)


def _fence(turn: Turn) -> Iterator[Transition]:
    after = broker.init_producer_id(turn.state, turn.number)
    if after is None:
        return
    if turn.shard.phase is Phase.EMPTY:
        task = turn.task._replace(place=Place.SETTING_BARRIER, holds=True)
        yield turn.to("1. InitProducerId fences", task, after)
    else:
        yield turn.to("1. InitProducerId aborts what is open, and waits", turn.task, after)


def _mark(turn: Turn) -> Iterator[Transition]:
    state, number, task, plan = turn.state, turn.number, turn.task, turn.plan
    if turn.shard.phase is Phase.EMPTY:
        yield turn.to("2. sends its mark", task, broker.append_mark(state, number))
    elif turn.shard.phase is Phase.ONGOING:
        is_kept = plan.fault is Fault.MEMORY_KEPT and task.saved != Positions()
        is_restored = plan.fault is Fault.RESTORE_BEFORE_FENCE or is_kept
        place = Place.VERIFYING if is_restored else Place.RESTORING
        after = broker.end_txn(state, number)
        yield turn.to("2. commits its mark", task._replace(place=place), after)


def _restore(turn: Turn) -> Iterator[Transition]:
    changelog, fault = turn.shard.changelog, turn.plan.fault
    entries, place = broker.stable(changelog), Place.VERIFYING
    if fault is Fault.READ_UNCOMMITTED:
        entries = [*changelog]
    elif fault is Fault.RESTORE_BEFORE_FENCE:
        place = Place.FENCING
    elif fault is not Fault.END_OFFSETS and any(e.is_mark for e in changelog[len(entries) :]):
        return  # the mark, or what lies before it, is not stable yet
    ids, saved = broker.read(entries)
    task = turn.task._replace(place=place, ids=ids, saved=saved)
    yield turn.to(f"3. restores ids '{ids}' and progress {tuple(saved)}", task)


def _verify(turn: Turn) -> Iterator[Transition]:
    task = turn.task._replace(
        place=Place.RUNNING, position=turn.task.saved, is_deferred=turn.shard.is_leaderless
    )
    without = ", without its input" if task.is_deferred else ""
    yield turn.to(f"4. verifies, reads on at {tuple(task.position)}{without}", task)


def _run(turn: Turn) -> Iterator[Transition]:
    yield from _decide(turn)
    task = turn.task
    if turn.shard.is_leaderless and not task.is_deferred:
        yield turn.to("defers its input", task._replace(is_deferred=True))
    elif task.is_deferred and not turn.shard.is_leaderless:
        position = task.position
        if turn.plan.fault is Fault.ADDED_AT_END:
            position = position._replace(input=len(turn.plan.inputs[turn.number]))
        added = task._replace(is_deferred=False, position=position)
        yield turn.to(f"reads its input again at {position.input}", added)


def _decide(turn: Turn) -> Iterator[Transition]:
    task, is_caught_up = turn.task, True
    for label, decision, position in _decisions(turn):
        is_caught_up = False
        if not decision.ready and not decision.forwards:
            yield turn.to(f"skips {label}", task._replace(position=position))
            continue
        decided = task._replace(place=Place.DECIDED, decision=decision, position=position)
        if turn.plan.fault is Fault.FORWARD_APART and decision.forwards:
            first, then = decision._replace(forwards=""), decision._replace(ready="")
            decided = decided._replace(decision=first, ahead=then)
        yield turn.to(f"5.1 decides {label}", decided)
    if is_caught_up and task.position != task.saved:
        decision = Decision("", "", task.position)
        decided = task._replace(place=Place.DECIDED, decision=decision)
        yield turn.to("5.1 decides to save its progress over duplicates", decided)


def _send(turn: Turn) -> Iterator[Transition]:
    # ONGOING only after a fault of ours; while a former one is settled, the send waits.
    if turn.shard.phase in (Phase.EMPTY, Phase.ONGOING) and turn.task.decision is not None:
        after = broker.append(turn.state, turn.number, turn.task.decision)
        yield turn.to("5.2 sends its batches", sent(turn.task, turn.plan), after)


def _end_txn(turn: Turn) -> Iterator[Transition]:
    yield turn.to("5.3 EndTxn is on its way", turn.task._replace(place=Place.COMMITTING))


def _commit(turn: Turn) -> Iterator[Transition]:
    if turn.shard.phase is Phase.ONGOING:
        after = broker.end_txn(turn.state, turn.number)
        yield turn.to("5.3 EndTxn commits", turn.task._replace(place=Place.COMMITTED), after)


def _change_memory(turn: Turn) -> Iterator[Transition]:
    task = turn.task
    if turn.plan.fault is not Fault.MEMORY_BEFORE_COMMIT:
        task = _apply(task)
    place = Place.RUNNING if task.ahead is None else Place.DECIDED
    after = task._replace(place=place, decision=task.ahead, ahead=None)
    yield turn.to("5.4 changes its memory", after)


def _apply(task: Task) -> Task:
    if task.decision is None:
        raise AssertionError("a transaction without a decision")
    ids = union(task.ids, task.decision.ready)
    return task._replace(ids=ids, saved=task.decision.progress)


def _decisions(turn: Turn) -> Iterator[tuple[str, Decision, Positions]]:
    """Yield each way to cut the next batch out of the input and the forwards, and its decision."""
    number, task, plan = turn.number, turn.task, turn.plan
    position = task.position
    is_readable = not turn.shard.is_leaderless and not task.is_deferred
    inputs = plan.inputs[number][position.input :] if is_readable else ""
    forwarded = list(broker.stable_forwards(turn.shard, position.forwards))
    for from_input in range(min(len(inputs), plan.max_batch) + 1):
        for from_forwards in range(min(len(forwarded), plan.max_batch - from_input) + 1):
            if not from_input and not from_forwards:
                continue
            taken, offset = inputs[:from_input], position.forwards
            home = [one for one in taken if HOME[one] == number]
            for forward in forwarded[:from_forwards]:
                offset = forward[0] + 1
                home.append(forward[1])
            ready = "".join(one for one in sorted(set(home)) if one not in task.ids)
            forwards = "".join(one for one in taken if HOME[one] != number)
            progress = Positions(position.input + from_input, offset)
            label = f"'{taken}' of its input and {from_forwards} forwards"
            yield label, Decision(ready, forwards, progress), progress


STEPS: Final[Mapping[Place, Callable[[Turn], Iterator[Transition]]]] = {
    Place.FENCING: _fence,
    Place.SETTING_BARRIER: _mark,
    Place.RESTORING: _restore,
    Place.VERIFYING: _verify,
    Place.RUNNING: _run,
    Place.DECIDED: _send,
    Place.SENT: _end_txn,
    Place.COMMITTING: _commit,
    Place.COMMITTED: _change_memory,
}
