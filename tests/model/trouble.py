"""What can go wrong, at any step and within the plan's bounds; what is late then arrives later."""

from collections.abc import Iterator

from tests.model import broker
from tests.model.broker import Transition
from tests.model.plan import Fault, Plan
from tests.model.protocol import drop, get_task, new_task, put_task, sent
from tests.model.states import Entry, Fate, Phase, Place, State, put


def failures(state: State, number: int, role: str, plan: Plan) -> Iterator[Transition]:
    """End a task at its place: by a crash, a failed batch or an unknown commit.

    To the protocol they are one: the task is gone, and so is all that it knew. A dead process is
    the end of both its tasks, which is two of these.
    """
    shard = state.shards[number]
    task = get_task(shard, role)
    if task is None or not state.failures:
        return
    who, state = f"shard {number} {role}", state._replace(failures=state.failures - 1)
    dropped = drop(state, number, role, plan)
    if task.place is Place.FENCING:
        shard = dropped.shards[number]
        yield (
            f"{who}: dies, its InitProducerId is late",
            put(dropped, number, shard._replace(late_init=True)),
        )
    else:
        yield f"{who}: dies at {task.place}", dropped
    if task.holds and task.place is Place.DECIDED:
        yield from _failed_batches(state, number, role, plan)
    if (
        task.holds
        and shard.phase is Phase.ONGOING
        and task.place in (Place.SETTING_BARRIER, Place.COMMITTING)
    ):
        yield from _unknown_commits(state, number, role, plan)


def _failed_batches(state: State, number: int, role: str, plan: Plan) -> Iterator[Transition]:
    task = get_task(state.shards[number], role)
    if task is None or task.decision is None or state.shards[number].phase is not Phase.EMPTY:
        return
    decision = task.decision
    batches = {"changelog": True, "ready": decision.ready, "repartition": decision.forwards}
    for lost in (batch for batch, content in batches.items() if content):
        after = broker.append(state, number, decision, lost)
        if plan.fault is Fault.BATCH_UNCHECKED:
            after = put_task(after, number, role, sent(task, plan))
        else:
            after = drop(after, number, role, plan)
        yield f"shard {number} {role}: its {lost} batch fails", after


def _unknown_commits(state: State, number: int, role: str, plan: Plan) -> Iterator[Transition]:
    who = f"shard {number} {role}"
    shard = state.shards[number]
    late = put(state, number, shard._replace(late_commit=True))
    for label, after in (
        (f"{who}: does not hear that EndTxn commits", broker.end_txn(state, number)),
        (f"{who}: gives EndTxn up, which is late", late),
    ):
        task = get_task(shard, role)
        is_taken_as_abort = plan.fault is Fault.UNKNOWN_COMMIT_AS_ABORT
        if is_taken_as_abort and task is not None and task.place is Place.COMMITTING:
            again = task._replace(place=Place.RUNNING, decision=None, position=task.saved)
            yield label, put_task(after, number, role, again)
        else:
            yield label, drop(after, number, role, plan)


def late_requests(state: State, number: int) -> Iterator[Transition]:
    """Deliver what dead tasks left on its way."""
    shard = state.shards[number]
    arrived = put(state, number, shard._replace(late_init=False))
    if shard.late_init and (fenced := broker.init_producer_id(arrived, number)) is not None:
        yield f"broker: a late InitProducerId of shard {number} arrives", fenced
    if shard.late_commit and shard.phase is Phase.ONGOING:
        yield f"broker: a late EndTxn of shard {number} arrives", broker.end_txn(state, number)


def timeouts(state: State, number: int) -> Iterator[Transition]:
    """Let the coordinator abort a transaction that takes too long, which fences its task.

    It is one of the failures, unless the task is gone: then it is sure to come.
    """
    shard = state.shards[number]
    is_orphan = not shard.owner.holds and not (shard.zombie and shard.zombie.holds)
    if shard.phase is Phase.ONGOING and (is_orphan or state.failures):
        left = state if is_orphan else state._replace(failures=state.failures - 1)
        if (after := broker.init_producer_id(left, number)) is not None:
            yield f"broker: the transaction of shard {number} times out", after


def moves(state: State, number: int, plan: Plan) -> Iterator[Transition]:
    """Let the group move a shard; the former owner goes on as a zombie."""
    shard = state.shards[number]
    if state.moves:
        owner = new_task(plan) if shard.zombie is None else shard.zombie
        moved = shard._replace(owner=owner, zombie=shard.owner)
        yield (
            f"group: moves shard {number}",
            put(state._replace(moves=state.moves - 1), number, moved),
        )


def strangers(state: State, number: int) -> Iterator[Transition]:
    """Let a transaction that no fence of ours settles open on a changelog, and end."""
    shard = state.shards[number]
    foreign = Entry(progress=None, fate=Fate.FOREIGN)
    if foreign in shard.changelog:
        left = tuple(entry for entry in shard.changelog if entry != foreign)
        changelog = broker.compact(left, keep_aborted=False)
        yield (
            f"stranger: its transaction on changelog-{number} ends",
            put(state, number, shard._replace(changelog=changelog)),
        )
    elif state.foreigns:
        opened = shard._replace(changelog=(*shard.changelog, foreign))
        yield (
            f"stranger: a transaction opens on changelog-{number}",
            put(state._replace(foreigns=state.foreigns - 1), number, opened),
        )


def outages(state: State, number: int) -> Iterator[Transition]:
    """Let an input partition lose its leader, and get it back with all records."""
    shard = state.shards[number]
    if shard.is_leaderless:
        yield (
            f"broker: input-{number} has a leader again",
            put(state, number, shard._replace(is_leaderless=False)),
        )
    elif state.outages:
        yield (
            f"broker: input-{number} loses its leader",
            put(
                state._replace(outages=state.outages - 1),
                number,
                shard._replace(is_leaderless=True),
            ),
        )
