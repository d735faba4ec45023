"""What can be seen of one process at one moment: for probes, metrics and the status page."""

from collections.abc import Mapping

import msgspec

from consumer.shard.status import ShardView
from consumer.worker.stall_detector import Stall


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
