"""Kafka, as far as the protocol leans on it: coordinator, markers, read_committed, trimming.

A transaction of shard s can touch changelog partition s, the other shard's repartition partition
and the ready topic. The ready topic has no markers here: a ready event counts as visible as soon
as its commit is decided, which is the earliest moment and so the strictest reading.
"""

from collections.abc import Iterator
from itertools import takewhile

from tests.model.states import (
    UNSETTLED,
    Decision,
    Entry,
    Fate,
    Forward,
    Phase,
    Positions,
    Shard,
    State,
    put,
    union,
)

Transition = tuple[str, State]


def stable(changelog: tuple[Entry, ...]) -> list[Entry]:
    """Return what lies before the last stable offset."""
    return list(takewhile(lambda entry: entry.fate not in UNSETTLED, changelog))


def stable_forwards(shard: Shard, position: int) -> Iterator[tuple[int, str]]:
    """Yield offset and id of what a read_committed consumer gets from the repartition topic."""
    for offset, forward in enumerate(shard.repartition):
        if forward.fate is Fate.OPEN:
            return
        if offset >= max(position, shard.log_start):
            yield offset, forward.id


def fence(shard: Shard) -> Shard:
    """Bump the epoch: no task holds the newest one, and requests with an older are refused."""
    zombie = shard.zombie
    return shard._replace(
        owner=shard.owner._replace(holds=False),
        zombie=None if zombie is None else zombie._replace(holds=False),
        late_commit=False,
    )


def init_producer_id(state: State, number: int) -> State | None:
    """Handle InitProducerId: None says "try again", as CONCURRENT_TRANSACTIONS does.

    An open transaction is aborted first; it is EMPTY again when every marker is written.
    """
    shard = state.shards[number]
    if shard.phase is Phase.EMPTY:
        return put(state, number, fence(shard))
    if shard.phase is Phase.ONGOING:
        aborted = fence(shard)._replace(phase=Phase.PREPARE_ABORT, unpublished="")
        return _complete(put(state, number, aborted), number)
    return None


def append_mark(state: State, number: int) -> State:
    """Open a transaction with nothing but a mark."""
    shard = state.shards[number]
    changelog = (*shard.changelog, Entry(is_mark=True))
    return put(state, number, shard._replace(phase=Phase.ONGOING, changelog=changelog))


def append(state: State, number: int, decision: Decision, lost: str = "") -> State:
    """Open a transaction and append a decision's batches, but for the ``lost`` one."""
    shard, other = state.shards[number], state.shards[1 - number]
    if lost != "changelog":
        entry = Entry(decision.ready, decision.progress)
        shard = shard._replace(changelog=(*shard.changelog, entry))
    if lost != "ready":
        shard = shard._replace(unpublished=shard.unpublished + decision.ready)
    if lost != "repartition" and decision.forwards:
        forwards = (*other.repartition, *(Forward(one) for one in decision.forwards))
        state = put(state, 1 - number, other._replace(repartition=forwards))
    return put(state, number, shard._replace(phase=Phase.ONGOING))


def end_txn(state: State, number: int) -> State:
    """Handle EndTxn (commit) of the newest epoch: from now on it is committed."""
    shard = state.shards[number]
    ready = "".join(sorted(state.ready + shard.unpublished))
    shard = shard._replace(phase=Phase.PREPARE_COMMIT, unpublished="", late_commit=False)
    return _complete(put(state, number, shard)._replace(ready=ready), number)


def markers(state: State, number: int, *, keep_aborted: bool) -> Iterator[Transition]:
    """Write a decided transaction's marker to one of its partitions, in any order."""
    shard, other = state.shards[number], state.shards[1 - number]
    if shard.phase is Phase.PREPARE_COMMIT:
        fate = Fate.COMMITTED
    elif shard.phase is Phase.PREPARE_ABORT:
        fate = Fate.ABORTED
    else:
        return
    if any(entry.fate is Fate.OPEN for entry in shard.changelog):
        changelog = tuple(
            e._replace(fate=fate) if e.fate is Fate.OPEN else e for e in shard.changelog
        )
        changed = shard._replace(changelog=compact(changelog, keep_aborted=keep_aborted))
        yield (
            f"broker: {fate} marker on changelog-{number}",
            _complete(put(state, number, changed), number),
        )
    if any(forward.fate is Fate.OPEN for forward in other.repartition):
        # Aborted forwards leave no gap: nothing behind an open one was read, so nothing shifts.
        forwards = tuple(
            forward._replace(fate=fate)
            for forward in other.repartition
            if fate is Fate.COMMITTED or forward.fate is not Fate.OPEN
        )
        yield (
            f"broker: {fate} marker on repartition-{1 - number}",
            _complete(put(state, 1 - number, other._replace(repartition=forwards)), number),
        )


def compact(changelog: tuple[Entry, ...], *, keep_aborted: bool) -> tuple[Entry, ...]:
    """Make one entry of the committed ones that begin the log; forget aborted ones.

    No read_committed reader can tell the difference; only a fault that reads more keeps them.
    """
    base, *rest = changelog
    kept: list[Entry] = []
    for entry in rest:
        if entry.fate is Fate.ABORTED and not keep_aborted:
            continue
        if entry.fate is Fate.COMMITTED and not kept:
            base = base._replace(
                ids=union(base.ids, entry.ids), progress=entry.progress or base.progress
            )
        else:
            kept.append(entry)
    return (base, *kept)


def read(entries: list[Entry]) -> tuple[str, Positions]:
    """Return the ids and the progress that changelog entries add up to."""
    ids, progress = "", Positions()
    for entry in entries:
        ids, progress = union(ids, entry.ids), entry.progress or progress
    return ids, progress


def committed(shard: Shard) -> list[Entry]:
    """Return the entries whose commit is decided, with or without a marker."""
    decided = (Fate.COMMITTED, Fate.OPEN if shard.phase is Phase.PREPARE_COMMIT else None)
    return [entry for entry in shard.changelog if entry.fate in decided]


def _complete(state: State, number: int) -> State:
    shard, other = state.shards[number], state.shards[1 - number]
    is_open = any(entry.fate is Fate.OPEN for entry in shard.changelog)
    if is_open or any(forward.fate is Fate.OPEN for forward in other.repartition):
        return state
    return put(state, number, shard._replace(phase=Phase.EMPTY))
