"""The changelog's format. A property test shows that a restore equals the live state."""

import pytest

from consumer.errors import StateCorrupted
from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import IdEntry, VariantEntry
from consumer.pipeline.seen_ids import id_digest, variant_digest
from consumer.shard import changelog
from consumer.shard.changelog import Meta, ShardState
from consumer.shard.progress import Fingerprint, Progress
from schemas.ready_event import Origin
from tests.builders import Record

DIGEST = bytes(range(16))
KEY = id_digest("ftckpt_ä")
VARIANT_KEY = variant_digest(KEY, DIGEST)
VARIANT = VariantEntry("ftckpt_ä", DIGEST, 5)
ENTRY = IdEntry("ftckpt_ä", DIGEST, Origin("in", 3, 2**40, 1_721_764_900_000), 1_721_764_900_001)
META = Meta(3, "group", 0, 6, "cluster", ["in"], "out")


def load(state: ShardState, key: bytes | None, value: bytes | None) -> None:
    """Load one record."""
    state.load([Record(7, 0, key, value, [])])


def test_an_id_entry_is_restored() -> None:
    """An id is known again after a restore, with the digest of its content."""
    state = ShardState(0)
    load(state, *changelog.id_record(KEY, ENTRY))
    assert state.seen.lookup(KEY, 0) == DIGEST


def test_id_entry_keeps_id_and_origin() -> None:
    """The entry holds the id and the published record's origin: an exact replay needs both."""
    _, value = changelog.id_record(KEY, ENTRY)
    assert changelog.read_id_entry(value) == ENTRY


def test_tombstones_forget() -> None:
    """A null value removes an id, or a variant."""
    state = ShardState(0)
    load(state, *changelog.id_record(KEY, ENTRY))
    load(state, *changelog.variant_record(VARIANT_KEY, VARIANT))
    assert state.seen.has_variant(VARIANT_KEY, 0)
    load(state, changelog.id_key(KEY), None)
    load(state, changelog.variant_key(VARIANT_KEY), None)
    assert state.seen.lookup(KEY, 0) is None
    assert not state.seen.has_variant(VARIANT_KEY, 0)


def test_progress_and_meta_are_restored() -> None:
    """Progress is kept per partition, and its stream time is restored."""
    state = ShardState(0)
    progress = Progress(12, 77, Fingerprint(11, 70, 123))
    load(state, *changelog.progress_record("my.topic", 4, progress))
    load(state, *changelog.meta_record(META))
    load(state, *changelog.barrier_record("host/1"))
    assert state.progress == {TopicPartition("my.topic", 4): progress}
    assert state.meta == META
    assert state.seen.stream_time_ms == 77


def test_a_record_that_cannot_be_read_is_named_by_its_offset() -> None:
    """The message names the offset of the broken record."""
    with pytest.raises(StateCorrupted, match="offset 7"):
        load(ShardState(0), b"x:other", b"")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"x:other", b""),
        (None, b"no key"),
        (b"i:" + KEY, b"short"),
        (b"i:an id of the first format", changelog.id_record(KEY, ENTRY)[1]),
        (b"i:an id of the first format", None),
        (b"i:" + KEY, b"\x04" + changelog.id_record(KEY, ENTRY)[1][1:]),
        (b"v:" + VARIANT_KEY, b"\x02" + changelog.variant_record(VARIANT_KEY, VARIANT)[1][1:]),
        (b"v:" + VARIANT_KEY + b"more", None),
        (b"p:in/0", b"{}"),
        (b"p:in/zero", changelog.progress_record("in", 0, Progress(1, 1))[1]),
        (b"m:", b'{"version":4}'),
        (b"m:", changelog.meta_record(Meta(4, "g", 0, 1, "c", [], "o"))[1]),
        (b"m:", None),
    ],
)
def test_a_record_of_another_service_or_version_is_refused(
    key: bytes | None, value: bytes | None
) -> None:
    """An unreadable record or a newer version stops the shard instead of being skipped."""
    with pytest.raises(StateCorrupted):
        load(ShardState(0), key, value)


def test_entries_of_alternating_topics() -> None:
    """Forwarded records of several topics alternate; each entry has the topic of its own record."""
    entries = {
        bytes([number]) * 16: IdEntry(f"é{number}", KEY, Origin(topic, number, number, number), 0)
        for number, topic in enumerate(["one", "fourteen", "one", "", "one", "x" * 249])
    }
    found = list(changelog.id_records(entries))
    assert [key for key, _ in found] == [changelog.id_key(digest) for digest in entries]
    assert [changelog.read_id_entry(value) for _, value in found] == list(entries.values())
    assert found == [changelog.id_record(digest, entry) for digest, entry in entries.items()]
