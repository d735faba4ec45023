"""What must be true in every state, and where everything must have ended."""

from tests.model import broker
from tests.model.plan import Plan
from tests.model.states import UNSETTLED, Phase, Place, Shard, State


def violation(state: State, plan: Plan, *, is_stuck: bool) -> tuple[str | None, bool]:
    """Return what a state breaks, if anything, and whether all is done in it."""
    if len(set(state.ready)) < len(state.ready):
        return f"published twice: {state.ready}", False
    stored = ""
    for number, shard in enumerate(state.shards):
        ids, progress = broker.read(broker.committed(shard))
        stored += ids
        if shard.log_start > progress.forwards:
            return f"shard {number}: an unhandled forward was trimmed", False
    if "".join(sorted(stored)) != state.ready:
        return f"the changelog says {stored!r}, published is {state.ready!r}", False
    is_end = all(_is_done(shard, plan.inputs[number]) for number, shard in enumerate(state.shards))
    if is_end and state.ready != plan.ids:
        return f"all is read, and of {plan.ids!r} only {state.ready!r} is published", True
    if is_stuck and not is_end:
        return "nothing can go on, and not all is read", False
    return None, is_end


def _is_done(shard: Shard, inputs: str) -> bool:
    """Tell whether a shard's rightful task has handled and committed all that there is.

    It may have lost its epoch and not know yet: with nothing to write it has no way to learn.
    """
    owner = shard.owner
    return (
        owner.place is Place.RUNNING
        and shard.phase is Phase.EMPTY
        and owner.position == owner.saved
        and owner.position.input == len(inputs)
        and not any(forward.fate in UNSETTLED for forward in shard.repartition)
        and not any(broker.stable_forwards(shard, owner.position.forwards))
    )
