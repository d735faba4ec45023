"""The state of a backfill in the group's journal."""

from collections.abc import Mapping
from typing import Final, Self

import msgspec

from consumer.config import Settings
from consumer.errors import ClusterError
from consumer.jobs.backfill.validator import FileSummary
from consumer.jobs.journal import BACKFILL, whoami
from consumer.kafka.clock import wall_clock_ms

FORMAT_VERSION: Final = 1


class BackfillState(msgspec.Struct, frozen=True):
    """The state of one run that sends one file's content to one topic."""

    version: int
    run: int
    """1 for the first run; each ``--again`` after a finished run adds 1."""
    file: str
    topic: str
    started_by: str
    started_at_ms: int
    updated_at_ms: int
    elements: int = 0
    """How many elements, from the start of the file, were handled: sent or rejected."""
    accepted: int = 0
    rejected: int = 0
    sent: int = 0
    finished: bool = False

    @classmethod
    def begin(cls, run: int, file: str, topic: str) -> Self:
        """Return the state of a new run."""
        now_ms = wall_clock_ms()
        return cls(FORMAT_VERSION, run, file, topic, whoami(), now_ms, now_ms)

    def with_summary(self, summary: FileSummary) -> "BackfillState":
        """Return the state with the numbers of accepted and rejected elements in the file."""
        rejected = summary.elements - summary.accepted
        return msgspec.structs.replace(self, accepted=summary.accepted, rejected=rejected)

    def advanced(self, elements: int, sent: int, *, finished: bool) -> "BackfillState":
        """Return the state after a transaction, with the new counts and the present time."""
        return msgspec.structs.replace(
            self, elements=elements, sent=sent, finished=finished, updated_at_ms=wall_clock_ms()
        )

    def entry(self, digest: bytes) -> tuple[bytes, bytes]:
        """Return key and value of the journal entry."""
        return entry_key(digest), msgspec.json.encode(self)


def entry_key(digest: bytes) -> bytes:
    """Return the key of the journal entry for the content and topic with this digest."""
    return BACKFILL + digest


def read_state(
    settings: Settings, entries: Mapping[bytes, bytes], digest: bytes
) -> BackfillState | None:
    """Return the state of this backfill, or None if it has not begun.

    Raises:
        ClusterError: another release wrote the state in another format.
    """
    stored = entries.get(entry_key(digest))
    if stored is None:
        return None
    state = msgspec.json.decode(stored, type=BackfillState)
    if state.version != FORMAT_VERSION:
        raise ClusterError(
            f"topic {settings.jobs_topic}: another release began this backfill (format "
            f"{state.version}, this release reads {FORMAT_VERSION}); resume it with that release"
        )
    return state
