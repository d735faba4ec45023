"""Decides about source records: a `Decision` is the content of one transaction of a shard.

`Decider.decide` reads the shard's memory of published ids (`SeenIds`) and extends a `Decision`. It
changes nothing else and raises nothing. `apply` updates the memory after the commit. So every id in
the memory is also in the changelog. While deciding, `Decider` looks an id up in the decision too,
before its commit. So the result does not depend on how the records are divided into batches.
"""

from typing import Final

from msgspec import Struct, field

from consumer.pipeline.dead_letters import dead_letter
from consumer.pipeline.decode.canonical import digests, is_same_content
from consumer.pipeline.decode.checkpoint import Decoded, complete, decode_unusual, decode_usual
from consumer.pipeline.ready_event import ReadyEventBuilder
from consumer.pipeline.records import (
    Counts,
    DeadLetter,
    ForwardRecord,
    Headers,
    IdEntry,
    InvalidRecord,
    PackedBatch,
    ReadyRecord,
    Reason,
    ShardSettings,
    SourceBatch,
    SourceRecord,
    Stage,
    VariantEntry,
)
from consumer.pipeline.routing import forward, home, misdirected, strip_origin
from consumer.pipeline.seen_ids import (
    MAX_VARIANTS_PER_ID,
    Expired,
    SeenIds,
    id_digest,
    variant_digest,
)
from schemas.ready_event import Origin

_QUOTED_CHARS: Final = 80
_UNREMEMBERED_CAUSE: Final = "TooManyConflicts"
OTHER_CONTENT: Final = "other content"
CONTENT_OF_A_NEWER_RELEASE: Final = "content that only a newer release of this service can compare"
TOO_MANY_CONTENTS: Final = (
    f"{MAX_VARIANTS_PER_ID} contents of this id were refused before, so this one is not "
    "remembered. Check whether a field changes with every record"
)
# Timestamps in the future are not trusted. For a record with such a timestamp this time is used,
# which is earlier than every publication. So the record is inside the window of every id that the
# memory still holds.
_NO_TIME_MS: Final = -1


class Decision(Struct):
    """The content of one transaction, and the counts of its source records."""

    ready: list[ReadyRecord] = field(default_factory=list)
    forwards: list[ForwardRecord] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    entries: dict[bytes, IdEntry] = field(default_factory=dict)
    """Newly published ids, by the digest of the id."""
    variants: dict[bytes, VariantEntry] = field(default_factory=dict)
    """Newly refused contents, by the digest of id and content."""
    more_variants: dict[bytes, int] = field(default_factory=dict)
    """By the digest of the id: how many of `variants` the memory does not hold yet."""
    unremembered: list[DeadLetter] = field(default_factory=list)
    """The items of `dead_letters` whose content is not remembered; see `TOO_MANY_CONTENTS`."""
    expired: Expired = field(default_factory=Expired)
    """Keys to delete by a tombstone, oldest first; never a key that this decision itself writes."""
    stream_time_ms: int = 0
    counts: Counts = field(default_factory=Counts)

    @property
    def needs_commit(self) -> bool:
        """Whether the transaction has any output. It has none if all records are duplicates."""
        return bool(
            self.ready
            or self.forwards
            or self.dead_letters
            or self.entries
            or self.variants
            or self.expired
        )


class Decider:
    """Decides for one shard, with its settings and its memory. It never changes the memory."""

    __slots__ = ("_builder", "_seen", "_settings")

    def __init__(self, settings: ShardSettings, seen: SeenIds) -> None:
        self._settings = settings
        self._seen = seen
        self._builder = ReadyEventBuilder.of(settings)

    @property
    def settings(self) -> ShardSettings:
        """The settings that the decisions depend on."""
        return self._settings

    def decide(self, batch: SourceBatch, decision: Decision, ceiling_ms: int) -> None:
        """Add the decision about each record of `batch` to `decision`.

        A timestamp later than `ceiling_ms` is not trusted, see `_NO_TIME_MS`.
        """
        topic, partition, records, forwarded = batch
        encoded_topic = topic.encode()
        shard, shards = self._settings.shard, self._settings.shards
        max_forward_bytes = self._settings.limits.forward_max_bytes
        decision.stream_time_ms = max(decision.stream_time_ms, self._seen.stream_time_ms)
        ready_before, forwards_before = len(decision.ready), len(decision.forwards)

        for record in records:
            headers = record.headers
            origin = None  # a record that is forwarded needs none
            try:
                if forwarded and not isinstance(record.value, PackedBatch):
                    headers, origin = strip_origin(headers)
                    time_ms = origin.timestamp_ms
                else:
                    time_ms = record.timestamp
                if time_ms > ceiling_ms:
                    decision.stream_time_ms = max(decision.stream_time_ms, ceiling_ms)
                    time_ms = _NO_TIME_MS
                elif time_ms > decision.stream_time_ms:
                    decision.stream_time_ms = time_ms
                found = decode_usual(record.value, headers) or decode_unusual(record.value, headers)
                home_shard = home(found.id, shards)
                if home_shard == shard:
                    if origin is None:
                        origin = Origin(topic, partition, record.offset, record.timestamp)
                    decoded = found if isinstance(found, Decoded) else complete(found)
                    self._decide_at_home(decision, decoded, origin, headers, time_ms)
                elif forwarded:
                    headers, origin = record.headers, None
                    raise misdirected(home_shard, shard)  # noqa: TRY301 - handled as other errors
                else:
                    decision.forwards.append(
                        forward(record, encoded_topic, partition, home_shard, max_forward_bytes)
                    )
            except InvalidRecord as error:
                origin = origin or Origin(topic, partition, record.offset, record.timestamp)
                self._to_dead_letter(decision, error, origin, record, headers)
            except Exception as error:  # noqa: BLE001 - no record may ever stop a shard
                origin = origin or Origin(topic, partition, record.offset, record.timestamp)
                self._to_dead_letter(decision, _unexpected(error), origin, record, headers)

        counts = decision.counts
        counts.consumed += len(records)
        counts.published += len(decision.ready) - ready_before
        counts.forwarded += len(decision.forwards) - forwards_before

    def _decide_at_home(
        self, decision: Decision, decoded: Decoded, origin: Origin, headers: Headers, time_ms: int
    ) -> None:
        """Publish a checkpoint whose home is this shard, unless its id is a published one.

        An id counts as published as long as the record is inside the id's dedup window.
        """
        checkpoint_id = decoded.id
        digest = id_digest(checkpoint_id)
        entries = decision.entries
        entry = entries.get(digest)
        if entry is None:
            published = self._seen.lookup(digest, time_ms)
        elif self._seen.is_expired(entry.stream_time_ms, time_ms):
            published = None
        else:
            published = entry.digest
        if published is not None:
            self._decide_published_id(decision, decoded, digest, published, time_ms)
            return
        decision.ready.append(self._builder.build(decoded, origin, headers))
        if entry is not None:  # published again after its window: reinsert it, in time order
            del entries[digest]
        entries[digest] = IdEntry(checkpoint_id, decoded.digest, origin, decision.stream_time_ms)
        decision.expired.ids.pop(digest, None)

    def _decide_published_id(
        self, decision: Decision, decoded: Decoded, digest: bytes, published: bytes, time_ms: int
    ) -> None:
        """Drop a duplicate, or refuse a record with other content under a published id.

        The memory has room for eight other contents of an id. Each of these eight becomes a dead
        letter once. The service cannot remember further contents. So every record with a further
        content becomes a dead letter, even if an earlier record had the same content: otherwise
        contents could be lost.
        """
        is_same = is_same_content(decoded.digest, decoded.canonical, published)
        if is_same:
            decision.counts.duplicates += 1
            return
        # An older release may have refused this content and stored the digest of an older form.
        contents = digests(decoded.digest, decoded.canonical)
        variants = [variant_digest(digest, content) for content in contents]
        if any(self._is_refused(decision, variant, time_ms) for variant in variants):
            decision.counts.duplicates += 1
            return
        what = OTHER_CONTENT if is_same is False else CONTENT_OF_A_NEWER_RELEASE
        message = (
            f"id {decoded.id[:_QUOTED_CHARS]!r} was published with {what}: "
            f"published digest {published.hex()}, digest of this record {decoded.digest.hex()}"
        )
        cause = "ConflictingDuplicate"
        variant = variants[0]
        if self._reserve_variant(decision, digest, variant):
            decision.variants.pop(variant, None)  # reinsert it, so that variants stay in time order
            entry = VariantEntry(decoded.id, decoded.digest, decision.stream_time_ms)
            decision.variants[variant] = entry
            decision.expired.variants.pop(variant, None)
        else:
            cause = _UNREMEMBERED_CAUSE
            message += f"; {TOO_MANY_CONTENTS}"
        raise InvalidRecord(Reason.CONFLICTING_DUPLICATE, message, Stage.TRANSFORMATION, cause)

    def _reserve_variant(self, decision: Decision, of_id: bytes, variant: bytes) -> bool:
        """Return whether the memory has room for a variant, or holds it already.

        For a new variant with room, raise the count of its id in `decision`.
        """
        seen = self._seen
        if variant in decision.variants or seen.holds_variant(variant):
            return True
        more = decision.more_variants.get(of_id, 0)
        if seen.variants_of(of_id) + more >= MAX_VARIANTS_PER_ID:
            return False
        decision.more_variants[of_id] = more + 1
        return True

    def _is_refused(self, decision: Decision, variant: bytes, time_ms: int) -> bool:
        """Return whether this content became a dead letter before, within its window."""
        refused = decision.variants.get(variant)
        if refused is None:
            return self._seen.has_variant(variant, time_ms)
        return not self._seen.is_expired(refused.stream_time_ms, time_ms)

    def _to_dead_letter(
        self,
        decision: Decision,
        error: InvalidRecord,
        origin: Origin,
        record: SourceRecord,
        headers: Headers,
    ) -> None:
        """Add the dead letter of an invalid record, and count it by its reason."""
        max_bytes = self._settings.limits.dead_letter_max_bytes
        made = dead_letter(error, origin, record, headers, max_bytes)
        decision.dead_letters.append(made)
        if error.cause == _UNREMEMBERED_CAUSE:
            decision.unremembered.append(made)
        counts = decision.counts
        reason = error.reason
        counts.dead_letters[reason] = counts.dead_letters.get(reason, 0) + 1
        if reason is Reason.CONFLICTING_DUPLICATE:
            counts.conflicting += 1


def expire(seen: SeenIds, decision: Decision, watermark_ms: int, limit: int) -> None:
    """Add at most `limit` tombstones for entries that no future record can match.

    No future record is expected to have a timestamp before `watermark_ms`. An entry that the
    decision itself writes gets no tombstone.
    """
    due = seen.expired(watermark_ms, limit)
    for digest in due.ids:
        if digest not in decision.entries:
            decision.expired.ids[digest] = None
    for digest in due.variants:
        if digest not in decision.variants:
            decision.expired.variants[digest] = None


def apply(seen: SeenIds, decision: Decision) -> None:
    """Update the memory with a committed decision."""
    for digest in decision.expired.ids:
        seen.forget(digest)
    for digest in decision.expired.variants:
        seen.forget_variant(digest)
    seen.remember_all(decision.entries)
    for digest, variant in decision.variants.items():
        seen.remember_variant(digest, id_digest(variant.id), variant.stream_time_ms)
    seen.stream_time_ms = max(seen.stream_time_ms, decision.stream_time_ms)


def _unexpected(error: Exception) -> InvalidRecord:
    """Return the error for a record that exposed a bug in this service."""
    cause = type(error).__name__
    return InvalidRecord(Reason.INTERNAL_ERROR, f"{cause}: {error}", Stage.TRANSFORMATION, cause)
