"""What can be seen of an engine at one moment: for probes, metrics and the status page."""

from collections.abc import Mapping
from typing import Final

import msgspec

from consumer.engine.watchdog import Stall

WAITING, REFUSED = "waiting", "refused"
"""The states of a shard without a task: between two tries, and one that must not run."""
UNANSWERED_SECONDS: Final = 10.0
"""Longer is silence: a fetch is answered within 0.2 s, if only to say that there is nothing."""
BUSY_UNANSWERED_SECONDS: Final = 60.0


class HeldBack(msgspec.Struct, frozen=True):
    """What an open transaction of a producer holds back in one partition."""

    records: int
    """High watermark minus last stable offset: also counts the transaction's own records."""
    seconds: float
    """For how long the last stable offset has not moved."""


NOT_HELD_BACK: Final = HeldBack(0, 0.0)


class SourceView(msgspec.Struct, frozen=True):
    """One partition that a shard reads."""

    topic: str
    partition: int
    lag: int | None
    """Records that are not handled yet; markers of transactions are none. None: not known."""
    unanswered_seconds: float = 0.0
    """For how long the broker has not answered a fetch of it."""

    held_back: HeldBack | None = None
    """What waits behind an open transaction and is no lag; None: not known."""

    @property
    def is_silent(self) -> bool:
        """Whether the broker has not answered for too long.

        With lag it need not be asked while what was fetched ahead is worked off, which slow
        transactions may draw out.
        """
        limit = BUSY_UNANSWERED_SECONDS if self.lag else UNANSWERED_SECONDS
        return self.unanswered_seconds > limit


class ShardView(msgspec.Struct, frozen=True):
    """One shard that the group wants here, or that has not ended yet."""

    shard: int
    state: str
    entries: int = 0
    restore_ratio: float | None = None
    """How much of its changelog is read; None: it has no task, so nothing is read."""
    has_run: bool = False
    """Whether it has been restored here at least once since it was given to this process."""
    refusal: str = ""
    hangs: str = ""
    """Why it waits for an operator: a transaction hangs, and how to end it."""
    hanging_partitions: int = 0
    """In how many partitions that is so."""
    sources: tuple[SourceView, ...] = ()
    variants: int = 0

    @property
    def held_back(self) -> HeldBack:
        """The records that open transactions hold back in its sources, and the longest time."""
        known = [source.held_back for source in self.sources if source.held_back is not None]
        records = sum(it.records for it in known)
        return HeldBack(records, max((it.seconds for it in known), default=0.0))

    @property
    def lag(self) -> int | None:
        """The lag of all its sources; None while that of one is not known."""
        lags = [source.lag for source in self.sources if source.lag is not None]
        return sum(lags) if lags and len(lags) == len(self.sources) else None


class EngineView(msgspec.Struct, frozen=True):
    """One process."""

    is_member: bool
    """The group has said what runs here, and is not about to say otherwise."""
    shards: tuple[ShardView, ...] = ()
    group_shards: int | None = None
    """How many shards there are in all; None before the topics were looked at."""
    open_seconds: Mapping[str, float] = {}
    """By topic that we write: for how long its oldest open transaction has been seen open."""
    stall: Stall | None = None
    """What has work and makes no progress for the longest time, if anything."""
