"""The dedup state machine against a plain set: any cutting, any crash, any restore."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consumer.pipeline.decider import Decider, Decision, apply, expire
from consumer.pipeline.decode.checkpoint import decode
from consumer.pipeline.records import Reason
from consumer.pipeline.seen_ids import MAX_VARIANTS_PER_ID, SeenIds, id_digest, variant_digest
from tests.builders import NO_CEILING_MS, Record, batch, checkpoint, record, shard_settings

IDS = ("a", "b", "c")
# More than an id may have in memory, and few of them mostly.
CONTENTS = (0, 0, 1, 1, 2, *range(MAX_VARIANTS_PER_ID + 3))
WINDOW_MS = 100
OLDEST_MS = 60
Fate = str
Logged = tuple[str, bytes, bytes | None, int]
Refused = tuple[str, int]


class PlainShard:
    """What a shard must do, told by sets and times alone."""

    def __init__(self, window_ms: int) -> None:
        self.window_ms = window_ms
        self.now_ms = 0
        self.published: dict[str, tuple[int, int]] = {}
        self.refused: dict[Refused, int] = {}

    def copy(self) -> "PlainShard":
        """Return an independent copy, kept for the case of a crash."""
        other = PlainShard(self.window_ms)
        other.now_ms = self.now_ms
        other.published, other.refused = dict(self.published), dict(self.refused)
        return other

    def is_live(self, since_ms: int, time_ms: int) -> bool:
        """Tell whether a record of this time is within the window of what happened then."""
        return not self.window_ms or time_ms - since_ms < self.window_ms

    def take(self, name: str, content: int, time_ms: int) -> Fate:
        """Return the fate of a record."""
        self.now_ms = max(self.now_ms, time_ms)
        known = self.published.get(name)
        if known is None or not self.is_live(known[1], time_ms):
            self.published[name] = (content, self.now_ms)
            return "published"
        refused_ms = self.refused.get((name, content))
        if content == known[0] or (refused_ms is not None and self.is_live(refused_ms, time_ms)):
            return "duplicate"
        if refused_ms is not None or self.refusals_of(name) < MAX_VARIANTS_PER_ID:
            self.refused[name, content] = self.now_ms
        return "conflicting"

    def refusals_of(self, name: str) -> int:
        """Return how many contents of an id are held."""
        return sum(held == name for held, _ in self.refused)

    def forget(self, refused: set[Refused]) -> None:
        """Drop refused contents."""
        for one in refused:
            self.refused.pop(one, None)


class DedupMachine(RuleBasedStateMachine):
    """Feeds records in transactions that commit or crash, and restores from their log."""

    window_ms = 0

    def __init__(self) -> None:
        super().__init__()
        self.settings = shard_settings()
        self.seen = SeenIds(self.window_ms)
        self.plain = PlainShard(self.window_ms)
        self.log: list[Logged] = []
        self.variants: dict[bytes, Refused] = {}  # every content that was ever sent
        self.stream_time_ms = 0
        self.begin()

    @initialize()
    def begin(self) -> None:
        """Open a transaction: nothing decided yet."""
        self.decision = Decision()
        self.planned = self.plain.copy()
        self.fates: list[Fate] = []

    @rule(
        chunks=st.lists(
            st.lists(
                st.tuples(
                    st.sampled_from(IDS), st.sampled_from(CONTENTS), st.integers(-OLDEST_MS, 60)
                ),
                max_size=6,
            ),
            max_size=3,
        )
    )
    def decide(self, chunks: list[list[tuple[str, int, int]]]) -> None:
        """Decide about more records, cut into batches anyhow."""
        for chunk in chunks:
            records: list[Record] = []
            for name, content, step_ms in chunk:
                time_ms = max(0, self.planned.now_ms + step_ms)
                self.fates.append(self.planned.take(name, content, time_ms))
                value = checkpoint(id=name, step_number=content)
                records.append(record(value, timestamp_ms=time_ms))
                decoded = decode(records[-1].value)
                variant = variant_digest(id_digest(name), decoded.digest)
                self.variants[variant] = (name, content)
            Decider(self.settings, self.seen).decide(batch(*records), self.decision, NO_CEILING_MS)

    @rule(limit=st.integers(0, 4))
    def expire(self, limit: int) -> None:
        """Add tombstones at any moment; records of more than 60 ms ago do not come any more."""
        before = len(self.decision.expired)
        expire(self.seen, self.decision, self.planned.now_ms - OLDEST_MS, limit)
        assert len(self.decision.expired) <= before + limit

    @rule()
    def commit(self) -> None:
        """Make the transaction visible; the log gets what the changelog would."""
        decision = self.decision
        for digest, entry in decision.entries.items():
            self.log.append(("id", digest, entry.digest, entry.stream_time_ms))
        for digest, variant in decision.variants.items():
            of_id = id_digest(variant.id)
            self.log.append(("variant", digest, of_id, variant.stream_time_ms))
        self.log += [("id", digest, None, 0) for digest in decision.expired.ids]
        self.log += [("variant", digest, None, 0) for digest in decision.expired.variants]
        self.stream_time_ms = max(self.stream_time_ms, decision.stream_time_ms)
        apply(self.seen, decision)
        self.plain = self.planned
        self.plain.forget({self.variants[digest] for digest in decision.expired.variants})
        self.begin()

    @rule()
    def crash(self) -> None:
        """Lose the transaction: memory is rebuilt from the log, the records come again."""
        self.seen = self.restored()
        self.begin()

    @rule()
    def compact(self) -> None:
        """Keep only the last entry of each key in the log, in its place."""
        last = {(kind, key): index for index, (kind, key, _, _) in enumerate(self.log)}
        self.log = [self.log[index] for index in sorted(last.values())]

    @invariant()
    def fates_are_the_plain_ones(self) -> None:
        """Each record had the fate that plain sets give it."""
        counts = self.decision.counts
        assert counts.published == self.fates.count("published")
        assert counts.duplicates == self.fates.count("duplicate")
        assert counts.conflicting == self.fates.count("conflicting")
        assert counts.dead_letters.get(Reason.CONFLICTING_DUPLICATE, 0) == counts.conflicting
        assert counts.consumed == len(self.fates)

    @invariant()
    def restored_memory_equals_live_memory(self) -> None:
        """Rebuilt from the log, the memory answers every question as the live one does."""
        restored = self.restored()
        assert restored.stream_time_ms == self.seen.stream_time_ms
        assert len(restored) == len(self.seen)
        assert restored.variants == self.seen.variants == len(self.plain.refused)
        for name in IDS:
            of_id = id_digest(name)
            held = self.seen.variants_of(of_id)
            assert restored.variants_of(of_id) == held == self.plain.refusals_of(name)
            assert held <= MAX_VARIANTS_PER_ID
        for now_ms in (self.stream_time_ms + ahead for ahead in (-30, 0, 30, WINDOW_MS, 10**6)):
            assert restored.expired(now_ms, 100) == self.seen.expired(now_ms, 100)
            for digest in map(id_digest, IDS):
                assert restored.lookup(digest, now_ms) == self.seen.lookup(digest, now_ms)
            for variant in self.variants:
                live = self.seen.has_variant(variant, now_ms)
                assert restored.has_variant(variant, now_ms) == live

    @invariant()
    def nothing_is_both_entered_and_deleted(self) -> None:
        """Give a key one entry in a transaction: the order of its records cannot matter."""
        assert not self.decision.expired.ids.keys() & self.decision.entries.keys()
        assert not self.decision.expired.variants.keys() & self.decision.variants.keys()

    def restored(self) -> SeenIds:
        """Return a memory rebuilt from the log."""
        seen = SeenIds(self.window_ms)
        for kind, digest, content, time_ms in self.log:
            if kind == "id" and content is not None:
                seen.remember(digest, content, time_ms)
            elif kind == "id":
                seen.forget(digest)
            elif content is not None:
                seen.remember_variant(digest, content, time_ms)
            else:
                seen.forget_variant(digest)
        seen.stream_time_ms = self.stream_time_ms
        return seen


class WindowedDedupMachine(DedupMachine):
    """The same with a window, in which ids and variants expire."""

    window_ms = WINDOW_MS


TestDedup = DedupMachine.TestCase
TestWindowedDedup = WindowedDedupMachine.TestCase
TestDedup.settings = TestWindowedDedup.settings = settings(deadline=None, stateful_step_count=30)
