"""What a search is given: the records, how much trouble is allowed, and at most one fault."""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class Fault(enum.Enum):
    """One rule of the protocol, broken on purpose; the search must notice each."""

    RESTORE_BEFORE_FENCE = "restore before the fence"
    MEMORY_KEPT = "memory kept under a new epoch"
    UNKNOWN_COMMIT_AS_ABORT = "an unknown commit taken as an abort"
    DECIDED_AHEAD = "a batch decided ahead"
    MEMORY_BEFORE_COMMIT = "memory changed before the commit"
    FORWARD_APART = "forward and progress in separate transactions"
    BATCH_UNCHECKED = "a failed batch not checked"
    READ_UNCOMMITTED = "a read_uncommitted restore"
    TRIM_UNCOMMITTED = "trimming at an uncommitted position"
    END_OFFSETS = "restore up to end_offsets instead of the mark"
    ADDED_AT_END = "an input without a leader read from its end when it comes back"


HOME: Final[Mapping[str, int]] = MappingProxyType({"a": 0, "b": 1})


class Plan(NamedTuple):
    """The ids on two input partitions, read by shard 0 and 1, and the bounds of the search."""

    inputs: tuple[str, str]
    failures: int = 0  # crashes, failed batches, unknown commits, transaction timeouts
    moves: int = 0  # rebalances; each leaves a zombie behind
    foreigns: int = 0  # open transactions of strangers on a changelog
    outages: int = 0  # inputs that lose their leader, which comes back at any time
    max_batch: int = 2  # records in one decision
    fault: Fault | None = None
    floor: int = 0  # fewer states than this, and the model has lost a rule

    @property
    def ids(self) -> str:
        """Every id once, sorted."""
        return "".join(sorted(set("".join(self.inputs))))


# Each is searched to its end. More trouble at once multiplies the states, so they share it out.
SOUND: Final = {
    "4 records, 1 failure": Plan(("ab", "ab"), failures=1, floor=35_000),
    "3 records, 2 failures": Plan(("ab", "a"), failures=2, floor=40_000),
    "3 records, 1 zombie": Plan(("ab", "a"), moves=1, floor=120_000),
    "a record and its duplicate elsewhere, 1 failure, 1 zombie": Plan(
        ("a", "a"), failures=1, moves=1, max_batch=1, floor=120_000
    ),
    "3 records, 1 failure, 1 input without a leader": Plan(
        ("ab", "a"), failures=1, outages=1, floor=50_000
    ),
    "1 record, 1 zombie, 1 input without a leader": Plan(
        ("a", ""), moves=1, outages=1, floor=10_000
    ),
    "a record and its duplicate, 1 failure, 1 stranger": Plan(
        ("aa", ""), failures=1, foreigns=1, floor=5_000
    ),
}

ONE: Final = Plan(("a", ""), failures=1)
FORWARDED: Final = Plan(("", "a"), failures=1)
# The smallest plans that show them.
FAULTY: Final = {
    Fault.RESTORE_BEFORE_FENCE: ONE,
    Fault.MEMORY_KEPT: Plan(("ba", ""), failures=1, max_batch=1),
    Fault.UNKNOWN_COMMIT_AS_ABORT: ONE,
    Fault.DECIDED_AHEAD: Plan(("aa", "")),
    Fault.MEMORY_BEFORE_COMMIT: FORWARDED,
    Fault.FORWARD_APART: FORWARDED,
    Fault.BATCH_UNCHECKED: ONE,
    Fault.READ_UNCOMMITTED: ONE,
    Fault.TRIM_UNCOMMITTED: FORWARDED,
    Fault.END_OFFSETS: ONE._replace(foreigns=1),
    Fault.ADDED_AT_END: Plan(("a", ""), outages=1),
}
