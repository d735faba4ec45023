"""Decides which source records a replay publishes again: each id once, from the right record.

The input may contain several records of an id. Only the changelog shows which record was published:
the entry of the id names its *origin*, the position of that record. So a replay publishes the
record at the origin, and no other. An id without an entry was never published, or has left the
dedup window. For such an id the replay publishes the first valid record, as the live service does.
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
from consumer.pipeline.record_size import batch_bytes, safe_size
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

_NO_VALUE: Final = b""
_NO_LIMIT: Final = 2**62


class Origins(Protocol):
    """Looks up the origin of each published id."""

    def is_origin(self, digest: bytes, origin: Origin, decoded: Decoded) -> bool | None:
        """Return whether this record of an id was published, or None if the id has no entry.

        `digest` is the digest of the id, `decoded` the checkpoint in the record.
        """


class Selection(Struct, frozen=True):
    """Selects the checkpoints that match the job, the id and the model name; None matches all."""

    job: str | None = None
    id: str | None = None
    model: re.Pattern[str] | None = None

    @classmethod
    def of(cls, job: str | None, checkpoint_id: str | None, model_glob: str | None) -> Self:
        """Return the selection. `model_glob` is a shell pattern for the whole model name."""
        model = None if model_glob is None else re.compile(fnmatch.translate(model_glob))
        return cls(job, checkpoint_id, model)

    def includes(self, decoded: Decoded) -> bool:
        """Return whether a checkpoint is selected."""
        if self.job is not None and decoded.job_id != self.job:
            return False
        if self.id is not None and decoded.id != self.id:
            return False
        name = decoded.checkpoint.fine_tuned_model_checkpoint
        return self.model is None or self.model.match(name) is not None


class ReplayCounts(Struct):
    """Counts of records by outcome.

    records = events + duplicates + not_selected + too_large_for_target + invalid.
    """

    records: int = 0
    events: int = 0
    not_in_changelog: int = 0
    """The part of `events` whose ids have no changelog entry."""
    origins: int = 0
    """Records that the changelog names as published, selected or not."""
    duplicates: int = 0
    not_selected: int = 0
    too_large_for_target: int = 0
    """Events that the service published or would publish, but the target topic cannot hold."""
    invalid: dict[Reason, int] = field(default_factory=dict)
    """Invalid records, by reason. A replay does not write their dead letters again."""

    def add(self, other: Self) -> None:
        """Add the counts of another offset range."""
        self.records += other.records
        self.events += other.events
        self.not_in_changelog += other.not_in_changelog
        self.origins += other.origins
        self.duplicates += other.duplicates
        self.not_selected += other.not_selected
        self.too_large_for_target += other.too_large_for_target
        for reason, count in other.invalid.items():
            self.invalid[reason] = self.invalid.get(reason, 0) + count


class ReplayDecision(Struct):
    """The content of one transaction of a replay, and the counts of its source records."""

    events: list[ReadyRecord] = field(default_factory=list)
    settled: dict[bytes, None] = field(default_factory=dict)
    """Digests of the ids of which this replay publishes no later record."""
    counts: ReplayCounts = field(default_factory=ReplayCounts)


class Replayer(Struct, frozen=True):
    """Decides for one replay. It remembers the settled ids of all committed decisions."""

    settings: ShardSettings
    builders: list[ReadyEventBuilder]
    """One builder for each home shard, because a header of the event names the shard."""
    unlimited_builders: list[ReadyEventBuilder]
    """The same builders without the size limit of the ready topic.

    They build the events of records that the changelog names as published, because the limit may
    have been higher at the time of publication."""
    origins: Origins
    selection: Selection
    replay_id: str
    target_max_bytes: int
    safe_size_bytes: int
    """An event fits the target topic if its key and value together have at most this size.

    This is true only for an event without headers from the producer."""
    settled: DigestTable = field(default_factory=lambda: DigestTable(0))
    valid_ids: DigestTable | None = None
    """Only in a plan: the digests of the ids of all valid records."""

    @classmethod
    def of(
        cls,
        shards: Sequence[ShardSettings],
        origins: Origins,
        selection: Selection,
        replay_id: str,
        target_max_bytes: int,
    ) -> Self:
        """Return the decider of a replay. `shards` has the settings of every shard, in order."""
        builders = [ReadyEventBuilder.of(settings) for settings in shards]
        unlimited_builders = [replace(builder, ready_max_bytes=_NO_LIMIT) for builder in builders]
        headers = max((builder.first_headers for builder in builders), key=_size_bytes)
        room = 0 if shards[0].binary_mode else safe_size(headers, target_max_bytes)
        return cls(
            shards[0],
            builders,
            unlimited_builders,
            origins,
            selection,
            replay_id,
            target_max_bytes,
            room,
        )

    def decide(
        self,
        partition: tuple[str, int],
        records: Sequence[SourceRecord],
        decision: ReplayDecision,
        max_events: int,
    ) -> int:
        """Decide about records of one partition, but stop when `decision` has `max_events` events.

        Return the number of records that were decided. `partition` is a topic and a number.
        """
        counts, events = decision.counts, decision.events
        for number, record in enumerate(records):
            if len(events) >= max_events:
                return number
            counts.records += 1
            try:
                self._decide_one(partition, record, decision)
            except InvalidRecord as error:
                counts.invalid[error.reason] = counts.invalid.get(error.reason, 0) + 1
            except Exception:  # noqa: BLE001 - no record may ever stop a replay
                reason = Reason.INTERNAL_ERROR
                counts.invalid[reason] = counts.invalid.get(reason, 0) + 1
        return len(records)

    def settle(self, digests: Iterable[bytes]) -> None:
        """Remember the settled ids of a committed decision."""
        for digest in digests:
            self.settled.put(digest, _NO_VALUE)

    def _decide_one(
        self, partition: tuple[str, int], record: SourceRecord, decision: ReplayDecision
    ) -> None:
        counts = decision.counts
        decoded = decode(record.value, record.headers)
        digest = id_digest(decoded.id)
        if self.valid_ids is not None:
            self.valid_ids.put(digest, _NO_VALUE)
        origin = Origin(*partition, record.offset, record.timestamp)
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
        if not is_known and home_shard != partition[1] % self.settings.shards:
            # The live service would forward the record, so the size limit of a forward applies.
            topic, number = partition
            max_bytes = self.settings.limits.forward_max_bytes
            forward(record, topic.encode(), number, home_shard, max_bytes)
        builders = self.unlimited_builders if is_known else self.builders
        event = builders[home_shard].build(decoded, origin, record.headers)
        if not self.selection.includes(decoded):
            counts.not_selected += 1
            # Without an entry, the first valid record counts as the published one. So a later
            # record of this id is a duplicate, even if it would be selected. For an id with an
            # entry, `is_origin` already rules out the other records.
            if not is_known:
                decision.settled[digest] = None
            return
        replay = replayed(event, self.replay_id, binary_mode=self.settings.binary_mode)
        decision.settled[digest] = None
        if not self._fits_target(replay, has_headers=bool(record.headers or decoded.trace)):
            counts.too_large_for_target += 1
            return
        decision.events.append(replay)
        counts.events += 1
        counts.not_in_changelog += not is_known

    def _fits_target(self, event: ReadyRecord, *, has_headers: bool) -> bool:
        """Return whether the target topic accepts an event of this size.

        `has_headers`: whether the event can have headers besides those of every event.
        """
        size_bytes = len(event.key) + len(event.value)
        if size_bytes <= self.safe_size_bytes and not has_headers:
            return True
        return batch_bytes(event.key, event.value, event.headers) <= self.target_max_bytes


def _size_bytes(headers: list[Header]) -> int:
    return batch_bytes(None, None, headers)
