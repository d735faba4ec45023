"""How far a backfill is, as the group's journal keeps it."""

from collections.abc import Callable, Mapping
from typing import Final, Self

import msgspec

from consumer.config import Settings
from consumer.errors import ClusterError
from consumer.jobs.backfill.plan import FileSummary
from consumer.jobs.journal import BACKFILL, whoami
from consumer.kafka.clock import wall_clock_ms

FORMAT_VERSION: Final = 1


class BackfillState(msgspec.Struct, frozen=True):
    """One run of one content into one topic."""

    version: int
    run: int
    """1, and one more with each ``--again``."""
    file: str
    topic: str
    started_by: str
    started_at_ms: int
    updated_at_ms: int
    elements: int = 0
    """How many elements of the file are settled, in their order."""
    accepted: int = 0
    rejected: int = 0
    sent: int = 0
    finished: bool = False

    @classmethod
    def begin(cls, run: int, file: str, topic: str) -> Self:
        """Return the state of a run that has done nothing yet."""
        now_ms = wall_clock_ms()
        return cls(FORMAT_VERSION, run, file, topic, whoami(), now_ms, now_ms)

    def of(self, found: FileSummary) -> "BackfillState":
        """Return the same with what the file holds, as it is judged now."""
        rejected = found.elements - found.accepted
        return msgspec.structs.replace(self, accepted=found.accepted, rejected=rejected)

    def advanced(self, elements: int, sent: int, *, finished: bool) -> "BackfillState":
        """Return the state after a transaction."""
        return msgspec.structs.replace(
            self, elements=elements, sent=sent, finished=finished, updated_at_ms=wall_clock_ms()
        )

    def entry(self, digest: bytes) -> tuple[bytes, bytes]:
        """Return key and value of the journal's entry."""
        return BACKFILL + digest, msgspec.json.encode(self)


def is_entry_of(digest: bytes) -> Callable[[bytes], bool]:
    """Return what tells the journal's key of this backfill from others."""
    key = BACKFILL + digest
    return lambda other: other == key


def read_state(
    settings: Settings, entries: Mapping[bytes, bytes], digest: bytes
) -> BackfillState | None:
    """Return what the journal's entries say of this backfill.

    Raises:
        ClusterError: another release has begun it.
    """
    stored = entries.get(BACKFILL + digest)
    if stored is None:
        return None
    state = msgspec.json.decode(stored, type=BackfillState)
    if state.version != FORMAT_VERSION:
        raise ClusterError(
            f"topic {settings.jobs_topic}: this backfill was begun by another release "
            f"(format {state.version}, this one knows {FORMAT_VERSION}); go on with that one"
        )
    return state
