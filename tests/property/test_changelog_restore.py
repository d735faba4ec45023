"""Restored state equals live state: whatever a shard decided, its changelog says it again."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.types import TopicPartition
from consumer.pipeline.decider import Decider, Decision, expire
from consumer.pipeline.seen_ids import id_digest
from consumer.shard.changelog import ShardState
from consumer.shard.progress import Fingerprint, Progress
from consumer.shard.transaction import Positions, apply_to_memory, changelog_records
from tests.builders import (
    NO_CEILING_MS,
    Record,
    batch,
    checkpoint,
    record,
    shard_settings,
)

IDS = ["a", "b", "c", "ä/…", "p:in/0"]
SOURCE = TopicPartition("in", 0)
steps = st.lists(
    st.lists(st.tuples(st.sampled_from(IDS), st.integers(0, 2), st.integers(0, 40)), max_size=6),
    max_size=12,
)
# One id with more contents than memory has room for.
floods = st.lists(
    st.lists(st.tuples(st.just("a"), st.integers(0, 20), st.integers(0, 40)), max_size=12),
    max_size=6,
)


@given(steps=steps | floods, window_ms=st.sampled_from([0, 10, 25]), limit=st.integers(0, 3))
def test_restored_state_equals_live_state(
    steps: list[list[tuple[str, int, int]]], window_ms: int, limit: int
) -> None:
    """A changelog of committed transactions, compacted or not, restores the memory exactly."""
    live = ShardState(window_ms)
    written: list[Record] = []
    offset = 0
    for records in steps:
        decision = Decision(stream_time_ms=live.seen.stream_time_ms)
        sources = []
        for name, content, time_ms in records:
            value = checkpoint(id=name, step_number=content)
            sources.append(record(value, offset=offset, timestamp_ms=time_ms))
            offset += 1
        Decider(shard_settings(), live.seen).decide(batch(*sources), decision, NO_CEILING_MS)
        expire(live.seen, decision, decision.stream_time_ms, limit)
        progress: Positions = {}
        if sources:
            fingerprint = Fingerprint.of(sources[-1])
            progress = {SOURCE: Progress(offset, decision.stream_time_ms, fingerprint)}
        for key, content_or_null in changelog_records(decision, progress):
            written.append(Record(len(written), 0, key, content_or_null, []))
        apply_to_memory(live, decision, progress)
    for changelog in (written, compacted(written)):
        restored = ShardState(window_ms)
        restored.load(changelog)
        assert observed(restored) == observed(live)


def compacted(written: list[Record]) -> list[Record]:
    """Return what a full compaction leaves: the last record of each key, in offset order."""
    last = {entry.key: entry for entry in written}
    return sorted(last.values(), key=lambda entry: entry.offset)


def observed(state: ShardState) -> object:
    """Return all that later decisions can depend on."""
    seen = state.seen
    now = seen.stream_time_ms
    return (
        now,
        len(seen),
        seen.variants,
        [seen.variants_of(id_digest(name)) for name in IDS],
        [[seen.lookup(id_digest(name), now + ahead) for ahead in (0, 5, 20)] for name in IDS],
        [seen.expired(now + ahead, 100) for ahead in (0, 5, 20)],
        state.progress,
    )
