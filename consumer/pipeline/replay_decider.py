"""Decides which records of history are published again: each id once, and the right record of it.

Which of several records of an id was published is known to the changelog alone: the id's entry
names its *origin*. So the origin is replayed, wherever duplicates lie. An id without an entry (it
was never published, or has left the window) is decided as live would decide it: the first valid
record of it is the one.
"""

import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, Self

from msgspec import Struct, field
from msgspec.structs import replace

from consumer.pipeline.decode.checkpoint import Decoded, decode
from consumer.pipeline.digest_table import DigestTable
from consumer.pipeline.ready_event import ReadyEventBuilder, replayed
from consumer.pipeline.record_size import batch_bytes, room_beside
from consumer.pipeline.records import (
    Header,
    InvalidRecord,
    ReadyRecord,
    Reason,
    ShardSettings,
    SourceRecord,
)
from consumer.pipeline.routing import forward, home
from consumer.pipeline.seen_ids import id_digest
from schemas.ready_event import Origin

_HELD: Final = b""
_NO_LIMIT: Final = 2**62


class Origins(Protocol):
    """Where the published record of each id stood."""

    def is_origin(self, digest: bytes, origin: Origin, decoded: Decoded) -> bool | None:
        """Tell whether this record of an id was published; None: the id has no entry.

        `digest` is that of the id, `decoded` what the record says.
        """


class Selection(Struct, frozen=True):
    """Which of the checkpoints are wanted; None takes all."""

    job: str | None = None
    id: str | None = None
    model: re.Pattern[str] | None = None

    @classmethod
    def of(cls, job: str | None, checkpoint_id: str | None, model_glob: str | None) -> Self:
        """Return the selection; `model_glob` is a shell pattern for the whole model name."""
        model = None if model_glob is None else re.compile(fnmatch.translate(model_glob))
        return cls(job, checkpoint_id, model)

    def takes(self, decoded: Decoded) -> bool:
        """Tell whether a checkpoint is wanted."""
        if self.job is not None and decoded.job_id != self.job:
            return False
        if self.id is not None and decoded.id != self.id:
            return False
        name = decoded.checkpoint.fine_tuned_model_checkpoint
        return self.model is None or self.model.match(name) is not None


class ReplayCounts(Struct):
    """The fate of every record.

    records = events + duplicates + not_selected + too_large_for_target + poison.
    """

    records: int = 0
    events: int = 0
    not_in_changelog: int = 0
    """Events among those above whose id has no entry: decided as live would."""
    origins: int = 0
    """Records that the changelog names as published, wanted or not."""
    duplicates: int = 0
    not_selected: int = 0
    too_large_for_target: int = 0
    """Events that live published, or would, and that the target does not take."""
    poison: dict[Reason, int] = field(default_factory=dict)
    """By reason; what went to the dead letters is not written there again."""

    def add(self, other: Self) -> None:
        """Add the counts of another stretch."""
        self.records += other.records
        self.events += other.events
        self.not_in_changelog += other.not_in_changelog
        self.origins += other.origins
        self.duplicates += other.duplicates
        self.not_selected += other.not_selected
        self.too_large_for_target += other.too_large_for_target
        for reason, count in other.poison.items():
            self.poison[reason] = self.poison.get(reason, 0) + count


class ReplayDecision(Struct):
    """What one transaction of a replay will hold."""

    events: list[ReadyRecord] = field(default_factory=list)
    settled: dict[bytes, None] = field(default_factory=dict)
    """Digests of the ids that are done with: published, or not to be published any more."""
    counts: ReplayCounts = field(default_factory=ReplayCounts)


class Replayer(Struct, frozen=True):
    """Decides for one replay. The memory of what is settled changes by `settle` alone."""

    settings: ShardSettings
    builders: list[ReadyEventBuilder]
    """By home shard: an event carries the name of the shard that published it."""
    sure_presses: list[ReadyEventBuilder]
    """The same for what was published: the ready topic's limit of today does not matter to it."""
    origins: Origins
    selection: Selection
    replay_id: str
    target_max_bytes: int
    sure_room_bytes: int
    """Key and value that need no more than this fit the target beside an event's own headers."""
    settled: DigestTable = field(default_factory=lambda: DigestTable(0))
    met: DigestTable | None = None
    """Every id of a valid record, for a plan."""

    @classmethod
    def of(
        cls,
        shards: Sequence[ShardSettings],
        origins: Origins,
        selection: Selection,
        replay_id: str,
        target_max_bytes: int,
    ) -> Self:
        """Prepare a replay; `shards` are the settings of every shard, in their order."""
        builders = [ReadyEventBuilder.of(settings) for settings in shards]
        sure_presses = [replace(builder, ready_max_bytes=_NO_LIMIT) for builder in builders]
        headers = max((builder.first_headers for builder in builders), key=_size_bytes)
        room = 0 if shards[0].binary_mode else room_beside(headers, target_max_bytes)
        return cls(
            shards[0], builders, sure_presses, origins, selection, replay_id, target_max_bytes, room
        )

    def decide(
        self,
        place: tuple[str, int],
        records: Sequence[SourceRecord],
        decision: ReplayDecision,
        most_events: int,
    ) -> int:
        """Decide about records of one partition until there are `most_events` events in all.

        Return how many records were decided.
        """
        counts, events = decision.counts, decision.events
        for number, record in enumerate(records):
            if len(events) >= most_events:
                return number
            counts.records += 1
            try:
                self._decide_one(place, record, decision)
            except InvalidRecord as poison:
                counts.poison[poison.reason] = counts.poison.get(poison.reason, 0) + 1
            except Exception:  # noqa: BLE001 - as live: no record may ever stop a replay
                reason = Reason.INTERNAL_ERROR
                counts.poison[reason] = counts.poison.get(reason, 0) + 1
        return len(records)

    def settle(self, digests: Iterable[bytes]) -> None:
        """Make the memory follow a decision that was committed."""
        for digest in digests:
            self.settled.put(digest, _HELD)

    def _decide_one(
        self, place: tuple[str, int], record: SourceRecord, decision: ReplayDecision
    ) -> None:
        counts = decision.counts
        decoded = decode(record.value, record.headers)
        digest = id_digest(decoded.id)
        if self.met is not None:
            self.met.put(digest, _HELD)
        origin = Origin(*place, record.offset, record.timestamp)
        is_origin = self.origins.is_origin(digest, origin, decoded)
        if is_origin is False:
            counts.duplicates += 1
            return
        is_known = is_origin is not None
        counts.origins += is_known
        if digest in decision.settled or self.settled.get(digest) is not None:
            counts.duplicates += 1
            return
        home_shard = home(decoded.id, self.settings.shards)
        if not is_known and home_shard != place[1] % self.settings.shards:
            # Live would have to forward it, and could not if it were too large for that.
            forward(record, origin, home_shard, self.settings.limits.forward_max_bytes)
        builders = self.sure_presses if is_known else self.builders
        event = builders[home_shard].build(decoded, origin, record.headers)
        if not self.selection.takes(decoded):
            counts.not_selected += 1
            if not is_known:  # another record of this id is a duplicate, whatever it says
                decision.settled[digest] = None
            return
        again = replayed(event, self.replay_id, binary_mode=self.settings.binary_mode)
        decision.settled[digest] = None
        if not self._fits_target(again, record):
            counts.too_large_for_target += 1
            return
        decision.events.append(again)
        counts.events += 1
        counts.not_in_changelog += not is_known

    def _fits_target(self, event: ReadyRecord, record: SourceRecord) -> bool:
        size_bytes = len(event.key) + len(event.value)
        if size_bytes <= self.sure_room_bytes and not record.headers:
            return True
        return batch_bytes(event.key, event.value, event.headers) <= self.target_max_bytes


def _size_bytes(headers: list[Header]) -> int:
    return batch_bytes(None, None, headers)
