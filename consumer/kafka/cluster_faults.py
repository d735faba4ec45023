"""What keeps failing at the brokers of this process, and since when.

The library repeats some calls for ever, so an error of a single call says little. But if the same
fault lasts, only an operator can fix it. All clients of a process share one ``ClusterFaults``.
"""

import enum
import time
from collections.abc import Callable
from typing import Final

import msgspec

# A cluster that starts has no coordinators yet, and a rotated password may arrive at the brokers
# before it arrives in the file. After this time the fault is no longer temporary.
GRACE_SECONDS: Final = 60.0
# A fault that did not occur for this time has ended. It is longer than the longest pause between
# two tasks of a shard.
ENDED_AFTER_SECONDS: Final = 20.0


class Fault(enum.Enum):
    """The kinds of faults; ``ClusterFaults`` counts each one by its subject."""

    LOGIN = enum.auto()
    """A broker refuses the credentials or the certificate. Subject: its address."""
    OPEN_FILES = enum.auto()
    """The process cannot open another socket."""
    CLOSED_AT_ONCE = enum.auto()
    """A broker that answers closes new connections at once. Subject: its address."""
    UNREACHABLE = enum.auto()
    """No connection to the advertised address of a broker. Subject: the address."""
    GROUP_COORDINATOR = enum.auto()
    """The brokers have had no coordinator for a group since the process started."""
    TRANSACTION_COORDINATOR = enum.auto()
    """The same for a transactional id."""


class CurrentFault(msgspec.Struct, frozen=True):
    """A fault that has not ended."""

    kind: Fault
    subject: str
    text: str
    """The error, for a message."""
    seconds: float
    """How long it has lasted."""

    @property
    def is_lasting(self) -> bool:
        """Whether the fault has lasted for longer than the grace."""
        return self.seconds >= GRACE_SECONDS


class _Occurrences(msgspec.Struct):
    first: float
    latest: float
    text: str


class ClusterFaults:
    """Faults by kind and subject: the first and the latest occurrence, in monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._found: dict[tuple[Fault, str], _Occurrences] = {}
        self._excluded: set[Fault] = set()

    def occurred(self, kind: Fault, text: str, subject: str = "") -> None:
        """Note that a call failed by this fault."""
        if kind in self._excluded:
            return
        now = self._clock()
        found = self._found.get((kind, subject))
        if found is None or now - found.latest > ENDED_AFTER_SECONDS:
            self._found[kind, subject] = _Occurrences(now, now, text)
        else:
            found.latest, found.text = now, text

    def ended(self, kind: Fault, subject: str = "") -> None:
        """Note that the same call has succeeded."""
        self._found.pop((kind, subject), None)

    def exclude(self, kind: Fault) -> None:
        """Note that this fault cannot occur any more in this process."""
        self._excluded.add(kind)
        for found in [each for each in self._found if each[0] is kind]:
            del self._found[found]

    def current(self) -> list[CurrentFault]:
        """Return the faults that have not ended, in the order of their kinds."""
        now = self._clock()
        found = [
            CurrentFault(kind, subject, each.text, now - each.first)
            for (kind, subject), each in self._found.items()
            if now - each.latest <= ENDED_AFTER_SECONDS
        ]
        return sorted(found, key=lambda each: (each.kind.value, each.subject))
