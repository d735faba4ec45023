"""Decides about records: what one transaction of a shard will hold.

`process` reads the shard's memory and extends a `Decision`; it changes nothing else and raises
nothing. The memory follows by `apply`, after the commit, so that it never holds what the cluster
does not. A decision sees its own entries, therefore any cutting of the records into batches gives
the same result.
"""

from typing import Final

from msgspec import Struct, field

from consumer.pipeline.dead_letters import dead_letter
from consumer.pipeline.decode.canonical import digests, is_same_content
from consumer.pipeline.decode.checkpoint import Decoded, decode
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
# A record with a clock ahead does not tell when it was written: it repeats whatever is still held.
_NO_TIME_MS: Final = -1


class Decision(Struct):
    """What one transaction will hold, and the counts behind it."""

    ready: list[ReadyRecord] = field(default_factory=list)
    forwards: list[ForwardRecord] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    entries: dict[bytes, IdEntry] = field(default_factory=dict)
    """By the digest of the id."""
    variants: dict[bytes, VariantEntry] = field(default_factory=dict)
    """By the digest of id and content."""
    more_variants: dict[bytes, int] = field(default_factory=dict)
    """By the digest of an id: how many contents of it are not in memory yet."""
    unremembered: list[DeadLetter] = field(default_factory=list)
    """The dead letters among those above whose content the memory does not keep."""
    expired: Expired = field(default_factory=Expired)
    """Tombstones, oldest first; never of a key that the decision itself enters."""
    stream_time_ms: int = 0
    counts: Counts = field(default_factory=Counts)

    @property
    def needs_commit(self) -> bool:
        """Whether there is any output; after mere duplicates there is none."""
        return bool(
            self.ready
            or self.forwards
            or self.dead_letters
            or self.entries
            or self.variants
            or self.expired
        )


class _Bench(Struct, frozen=True):
    """What stays the same from one record of a batch to the next."""

    settings: ShardSettings
    seen: SeenIds
    decision: Decision
    builder: ReadyEventBuilder


def process(
    settings: ShardSettings,
    seen: SeenIds,
    batch: SourceBatch,
    decision: Decision,
    ceiling_ms: int,
) -> None:
    """Decide about every record of `batch`. No time later than `ceiling_ms` is believed."""
    topic, partition, records, forwarded = batch
    shard, shards = settings.shard, settings.shards
    max_forward_bytes = settings.limits.forward_max_bytes
    bench = _Bench(settings, seen, decision, ReadyEventBuilder.of(settings))
    decision.stream_time_ms = max(decision.stream_time_ms, seen.stream_time_ms)
    ready_before, forwards_before = len(decision.ready), len(decision.forwards)

    for record in records:
        headers = record.headers
        origin = Origin(topic, partition, record.offset, record.timestamp)
        try:
            if forwarded and not isinstance(record.value, PackedBatch):
                headers, origin = strip_origin(headers)
            time_ms = origin.timestamp_ms
            if time_ms > decision.stream_time_ms:
                decision.stream_time_ms = max(decision.stream_time_ms, min(time_ms, ceiling_ms))
            if time_ms > ceiling_ms:
                time_ms = _NO_TIME_MS
            decoded = decode(record.value, headers)
            home_shard = home(decoded.id, shards)
            if home_shard == shard:
                _settle(bench, decoded, origin, headers, time_ms)
            elif forwarded:
                headers = record.headers
                origin = Origin(topic, partition, record.offset, record.timestamp)
                raise misdirected(home_shard, shard)  # noqa: TRY301 - buried like any other poison
            else:
                decision.forwards.append(forward(record, origin, home_shard, max_forward_bytes))
        except InvalidRecord as poison:
            _bury(bench, poison, origin, record, headers)
        except Exception as error:  # noqa: BLE001 - no record may ever stop a shard
            _bury(bench, _unexpected(error), origin, record, headers)

    counts = decision.counts
    counts.consumed += len(records)
    counts.published += len(decision.ready) - ready_before
    counts.forwarded += len(decision.forwards) - forwards_before


def expire(seen: SeenIds, decision: Decision, watermark_ms: int, limit: int) -> None:
    """Add at most `limit` tombstones for what no record from `watermark_ms` on can find."""
    due = seen.expired(watermark_ms, limit)
    for digest in due.ids:
        if digest not in decision.entries:
            decision.expired.ids[digest] = None
    for digest in due.variants:
        if digest not in decision.variants:
            decision.expired.variants[digest] = None


def apply(seen: SeenIds, decision: Decision) -> None:
    """Make the memory follow a decision that was committed."""
    for digest in decision.expired.ids:
        seen.forget(digest)
    for digest in decision.expired.variants:
        seen.forget_variant(digest)
    for digest, entry in decision.entries.items():
        seen.remember(digest, entry.digest, entry.stream_time_ms)
    for digest, variant in decision.variants.items():
        seen.remember_variant(digest, id_digest(variant.id), variant.stream_time_ms)
    seen.stream_time_ms = max(seen.stream_time_ms, decision.stream_time_ms)


def _settle(
    bench: _Bench, decoded: Decoded, origin: Origin, headers: Headers, time_ms: int
) -> None:
    """Publish a checkpoint whose home is here, unless its id is seen."""
    checkpoint_id = decoded.id
    digest = id_digest(checkpoint_id)
    decision = bench.decision
    entries = decision.entries
    entry = entries.get(digest)
    if entry is None:
        published = bench.seen.lookup(digest, time_ms)
    elif bench.seen.is_expired(entry.stream_time_ms, time_ms):
        published = None
    else:
        published = entry.digest
    if published is not None:
        _repeat(bench, decoded, digest, published, time_ms)
        return
    decision.ready.append(bench.builder.build(decoded, origin, headers))
    if entry is not None:  # published again after its window: entries stay in the order of time
        del entries[digest]
    entries[digest] = IdEntry(checkpoint_id, decoded.digest, origin, decision.stream_time_ms)
    decision.expired.ids.pop(digest, None)


def _repeat(bench: _Bench, decoded: Decoded, digest: bytes, published: bytes, time_ms: int) -> None:
    """Drop a duplicate; refuse other content under a published id.

    Each content is refused once, as long as the memory has room for contents of this id. Without
    room each such record is refused: whether it came before is not known, and nothing may be lost.
    """
    decision = bench.decision
    is_same = is_same_content(decoded.digest, decoded.canonical, published)
    if is_same:
        decision.counts.duplicates += 1
        return
    # A release may have refused it by the digest of an older form.
    contents = digests(decoded.digest, decoded.canonical)
    if any(_is_refused(bench, variant_digest(digest, content), time_ms) for content in contents):
        decision.counts.duplicates += 1
        return
    variant = variant_digest(digest, decoded.digest)
    what = "other content" if is_same is False else "content that only a newer release can compare"
    message = (
        f"id {decoded.id[:_QUOTED_CHARS]!r} was published with {what}: "
        f"digest {published.hex()}, this record has {decoded.digest.hex()}"
    )
    cause = "ConflictingDuplicate"
    if _has_room(bench, digest, variant):
        # Entries stay in the order of time.
        decision.variants.pop(variant, None)
        entry = VariantEntry(decoded.id, decoded.digest, decision.stream_time_ms)
        decision.variants[variant] = entry
        decision.expired.variants.pop(variant, None)
    else:
        cause = _UNREMEMBERED_CAUSE
        message += (
            f"; {MAX_VARIANTS_PER_ID} contents of this id were refused before, so this one is not "
            "remembered: does a field change with every record?"
        )
    raise InvalidRecord(Reason.CONFLICTING_DUPLICATE, message, Stage.TRANSFORMATION, cause)


def _has_room(bench: _Bench, of_id: bytes, variant: bytes) -> bool:
    """Tell whether a variant may be remembered, and count it if it is a new one."""
    decision, seen = bench.decision, bench.seen
    if variant in decision.variants or seen.holds_variant(variant):
        return True
    more = decision.more_variants.get(of_id, 0)
    if seen.variants_of(of_id) + more >= MAX_VARIANTS_PER_ID:
        return False
    decision.more_variants[of_id] = more + 1
    return True


def _is_refused(bench: _Bench, variant: bytes, time_ms: int) -> bool:
    refused = bench.decision.variants.get(variant)
    if refused is None:
        return bench.seen.has_variant(variant, time_ms)
    return not bench.seen.is_expired(refused.stream_time_ms, time_ms)


def _unexpected(error: Exception) -> InvalidRecord:
    cause = type(error).__name__
    return InvalidRecord(Reason.INTERNAL_ERROR, f"{cause}: {error}", Stage.TRANSFORMATION, cause)


def _bury(
    bench: _Bench, poison: InvalidRecord, origin: Origin, record: SourceRecord, headers: Headers
) -> None:
    max_bytes = bench.settings.limits.dead_letter_max_bytes
    letter = dead_letter(poison, origin, record, headers, max_bytes)
    bench.decision.dead_letters.append(letter)
    if poison.cause == _UNREMEMBERED_CAUSE:
        bench.decision.unremembered.append(letter)
    counts = bench.decision.counts
    reason = poison.reason
    counts.dead_letters[reason] = counts.dead_letters.get(reason, 0) + 1
    if reason is Reason.CONFLICTING_DUPLICATE:
        counts.conflicting += 1
