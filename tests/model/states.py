"""What the model remembers: two shards, their tasks, their transactions, their logs.

Ids are single letters, and a set of them is a sorted string: small, readable and quick to hash.
"""

import enum
from typing import Final, NamedTuple

from consumer.shard.events import Step
from consumer.shard.status import TaskState


class Place(enum.StrEnum):
    """Where a task stands: the engine's states, and within RUNNING the engine's steps."""

    FENCING = TaskState.FENCING.value
    SETTING_BARRIER = TaskState.SETTING_BARRIER.value
    RESTORING = TaskState.RESTORING.value
    VERIFYING = TaskState.VERIFYING.value
    RUNNING = TaskState.RUNNING.value  # nothing is decided
    DECIDED = Step.DECIDED.value
    SENT = Step.SENT.value
    COMMITTING = Step.COMMITTING.value
    COMMITTED = Step.COMMITTED.value


class Phase(enum.StrEnum):
    """What the coordinator says about the transaction of one transactional id."""

    EMPTY = "empty"
    ONGOING = "ongoing"
    PREPARE_COMMIT = "prepare commit"  # decided; some partitions have no marker yet
    PREPARE_ABORT = "prepare abort"


class Fate(enum.StrEnum):
    """What a partition knows of an entry: by the marker that it has, or has not, received."""

    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"
    FOREIGN = "foreign"  # open, and of a transaction that no fence of ours settles


UNSETTLED: Final = (Fate.OPEN, Fate.FOREIGN)


class Positions(NamedTuple):
    """The next offset of a shard's two sources."""

    input: int = 0
    forwards: int = 0


class Decision(NamedTuple):
    """What one transaction is to hold."""

    ready: str
    forwards: str
    progress: Positions


class Entry(NamedTuple):
    """What one transaction wrote to a changelog partition: a mark, or ids and progress."""

    ids: str = ""
    progress: Positions | None = None
    fate: Fate = Fate.OPEN
    is_mark: bool = False


class Forward(NamedTuple):
    """A record in a repartition partition."""

    id: str
    fate: Fate = Fate.OPEN


class Task(NamedTuple):
    """One task of a shard. ``holds`` says whether it has the newest epoch.

    Epochs are not counted: brokers ask only whether one is the newest, and it is lost for ever.
    """

    place: Place = Place.FENCING
    holds: bool = False
    ids: str = ""
    saved: Positions = Positions()  # the memory's progress: what is committed
    position: Positions = Positions()  # the reader's
    decision: Decision | None = None
    ahead: Decision | None = None  # only planted faults decide ahead
    is_deferred: bool = False  # the task does not read its input


class Shard(NamedTuple):
    """A shard: its tasks, its transactional id, its changelog and repartition partitions."""

    owner: Task = Task()  # of the member that the group wants it on
    zombie: Task | None = None  # of the other member, which does not know yet
    phase: Phase = Phase.EMPTY
    unpublished: str = ""  # ready events appended by the open transaction
    late_init: bool = False  # an InitProducerId of a dead task is on its way
    late_commit: bool = False  # an EndTxn (commit) of a dead task is
    changelog: tuple[Entry, ...] = (Entry(fate=Fate.COMMITTED, progress=Positions()),)
    repartition: tuple[Forward, ...] = ()
    is_leaderless: bool = False  # the input partition that this shard reads
    log_start: int = 0  # of the repartition partition: what lies before is trimmed


class State(NamedTuple):
    """All there is. The last four say how much trouble is still allowed."""

    shards: tuple[Shard, Shard]
    ready: str  # the ids of the committed ready events, sorted
    failures: int
    moves: int
    foreigns: int
    outages: int = 0


def put(state: State, number: int, shard: Shard) -> State:
    """Return the state with one shard replaced."""
    first, second = state.shards
    return state._replace(shards=(first, shard) if number else (shard, second))


def union(ids: str, more: str) -> str:
    """Return the ids of both, each once."""
    return "".join(sorted(set(ids + more)))
