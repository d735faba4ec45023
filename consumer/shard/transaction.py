"""The content of one transaction: the outcome of a decision, and the progress after it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Final

from consumer.kafka.port import TransactionBatches
from consumer.kafka.types import TopicPartition
from consumer.pipeline.decider import Decision, apply
from consumer.pipeline.records import Headers
from consumer.pipeline.routing import partition_for_key
from consumer.pipeline.trace_context import trace_context
from consumer.shard.buffer import Gathered
from consumer.shard.changelog import (
    ShardState,
    id_key,
    id_records,
    progress_record,
    variant_key,
    variant_record,
)
from consumer.shard.context import ShardContext
from consumer.shard.events import TransactionReport
from consumer.shard.progress import Progress
from consumer.shard.watermark import Announcement, announcement
from schemas.ready_event import Origin

# At most this many events and this many dead letters of a transaction get a log line of their own.
# Otherwise a backfill would flood the log.
MAX_EVENT_LINES: Final = 10
# Producers choose ids of any length. A log line has only the beginning of a long id.
MAX_LOGGED_CHARS: Final = 256
Positions = Mapping[TopicPartition, Progress]


def build_transaction(
    context: ShardContext,
    transaction: TransactionBatches,
    decision: Decision,
    progress: Positions,
    announced: Announcement | None = None,
) -> None:
    """Add everything that must become visible together to the empty batches of a transaction.

    If `announced` is not None, also add this announcement, after the forwards.
    """
    settings, topology = context.settings, context.topology
    partitions = topology.output_partitions
    # Append the events in the order of the decision, not partition by partition. They are in memory
    # in this order, and copying them in another order takes longer.
    append_to: dict[int, Callable[[bytes, bytes, Headers], None]] = {}
    for ready in decision.ready:
        partition = partition_for_key(ready.key, partitions)
        append = append_to.get(partition)
        if append is None:
            append = transaction.to(settings.output_topic, partition).append
            append_to[partition] = append
        append(ready.key, ready.value, ready.headers)
    for forward in decision.forwards:
        batches = transaction.to(settings.repartition_topic, forward.shard)
        batches.append(forward.key, forward.value, forward.headers)
    if announced is not None:
        headers = announcement(context.shard, announced.watermark_ms)
        for shard in announced.to_shards:
            transaction.to(settings.repartition_topic, shard).append(None, None, headers)
    for dead_letter in decision.dead_letters:
        partition = dead_letter.origin.partition % topology.dead_letter_partitions
        batches = transaction.to(settings.dead_letter_topic, partition)
        batches.append(dead_letter.key, dead_letter.value, dead_letter.headers)
    transaction.to(*context.changelog).append_pairs(changelog_records(decision, progress))


def changelog_records(
    decision: Decision, progress: Positions
) -> Iterable[tuple[bytes, bytes | None]]:
    """Return the changelog entries from which a restore rebuilds the state after the decision."""
    return chain(
        id_records(decision.entries),
        (variant_record(digest, variant) for digest, variant in decision.variants.items()),
        ((id_key(digest), None) for digest in decision.expired.ids),
        ((variant_key(digest), None) for digest in decision.expired.variants),
        (progress_record(*source, position) for source, position in progress.items()),
    )


def apply_to_memory(memory: ShardState, decision: Decision, progress: Positions) -> None:
    """Apply a decision to the shard's memory. Call it only after the transaction is committed."""
    apply(memory.seen, decision)
    memory.progress.update(progress)


def report(  # noqa: PLR0913 - all parts of a committed transaction
    shard: int,
    decision: Decision,
    progress: Positions,
    duration_ms: float,
    consumed_by_topic: dict[str, int],
    *,
    sources: Sequence[Gathered],
) -> TransactionReport:
    """Describe a committed transaction for logs and metrics."""
    counts = decision.counts
    events: list[dict[str, object]] = [
        {
            "id": ready.id[:MAX_LOGGED_CHARS],
            "job_id": ready.job_id[:MAX_LOGGED_CHARS],
            **_origin_fields(ready.origin, ready.headers),
        }
        for ready in decision.ready[:MAX_EVENT_LINES]
    ]
    dead_letter_fields: list[dict[str, object]] = [
        {
            "reason": str(dead_letter.reason),
            **_origin_fields(dead_letter.origin, dead_letter.headers),
        }
        for dead_letter in decision.dead_letters[:MAX_EVENT_LINES]
    ]
    return TransactionReport(
        shard=shard,
        consumed=counts.consumed,
        published=counts.published,
        duplicates=counts.duplicates,
        conflicting=counts.conflicting,
        dead_letters={str(reason): count for reason, count in counts.dead_letters.items()},
        forwarded=counts.forwarded,
        expired=len(decision.expired),
        next_offsets={f"{s.topic}/{s.partition}": p.next_offset for s, p in progress.items()},
        duration_ms=duration_ms,
        events=events,
        dead_letter_fields=dead_letter_fields,
        suppressed_events=max(0, len(decision.ready) - MAX_EVENT_LINES),
        consumed_by_topic=consumed_by_topic,
        ready=decision.ready,
        sources=sources,
    )


def _origin_fields(origin: Origin, headers: Headers) -> dict[str, object]:
    """Return topic, partition and offset of a source record, and its trace id if it has one."""
    fields: dict[str, object] = {
        "topic": origin.topic,
        "partition": origin.partition,
        "offset": origin.offset,
    }
    context = trace_context(headers)
    return fields if context is None else fields | {"trace_id": context.trace_id}
