"""The changelog's codec; that it restores what was live is a property test."""

import pytest

from consumer.engine import changelog
from consumer.engine.changelog import Meta, ShardState
from consumer.engine.kafka import TopicPartition
from consumer.engine.progress import Progress, Witness
from consumer.errors import StateCorrupted
from consumer.pipeline.records import IdEntry
from schemas.ready_event import Origin
from tests.builders import Record

DIGEST = bytes(range(16))
ENTRY = IdEntry(DIGEST, Origin("in", 3, 2**40, 1_721_764_900_000), 1_721_764_900_001)
META = Meta(1, "group", 0, 6, "cluster", ["in"], "out")


def load(state: ShardState, key: bytes | None, value: bytes | None) -> None:
    """Load one record."""
    state.load(Record(0, 0, key, value, []))


def test_id_entry_comes_back() -> None:
    """An id is known again after a restore, with its digest."""
    state = ShardState(0)
    load(state, *changelog.id_record("ftckpt_ä", ENTRY))
    assert state.seen.lookup("ftckpt_ä", 0) == DIGEST


def test_id_entry_keeps_its_origin() -> None:
    """The origin stands in the entry: an exact replay needs it."""
    _, value = changelog.id_record("a", ENTRY)
    *fixed, partition, offset, timestamp_ms = changelog.ID_ENTRY.unpack_from(value)
    assert fixed == [1, DIGEST, ENTRY.stream_time_ms]
    topic = value[changelog.ID_ENTRY.size :].decode()
    assert Origin(topic, partition, offset, timestamp_ms) == ENTRY.origin


def test_tombstones_forget() -> None:
    """A null value takes an id and a variant away."""
    state = ShardState(0)
    load(state, *changelog.id_record("a", ENTRY))
    load(state, *changelog.variant_record("a", DIGEST, 5))
    load(state, changelog.id_key("a"), None)
    load(state, changelog.variant_key("a", DIGEST), None)
    assert state.seen.lookup("a", 0) is None
    assert not state.seen.has_variant("a", DIGEST, 0)


def test_progress_and_meta_come_back() -> None:
    """Progress is kept per partition, and its stream time is taken over."""
    state = ShardState(0)
    progress = Progress(12, 77, Witness(11, 70, 123))
    load(state, *changelog.progress_record("my.topic", 4, progress))
    load(state, *changelog.meta_record(META))
    load(state, *changelog.fence_record("host/1"))
    assert state.progress == {TopicPartition("my.topic", 4): progress}
    assert state.meta == META
    assert state.seen.stream_time_ms == 77


def test_an_id_cannot_pose_as_anything_else() -> None:
    """Prefixes keep ids and the rest apart, whatever an id says."""
    state = ShardState(0)
    for hostile in ("m:", "p:in/0", "f:", "v:" + "x" * 16):
        load(state, *changelog.id_record(hostile, ENTRY))
    assert state.meta is None
    assert not state.progress
    assert len(state.seen) == 4


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"x:other", b""),
        (None, b"no key"),
        (b"i:a", b"short"),
        (b"i:\xff", changelog.id_record("a", ENTRY)[1]),
        (b"i:a", b"\x02" + changelog.id_record("a", ENTRY)[1][1:]),
        (b"v:" + DIGEST + b"a", b"\x02" + bytes(8)),
        (b"p:in/0", b"{}"),
        (b"p:in/zero", changelog.progress_record("in", 0, Progress(1, 1))[1]),
        (b"m:", b'{"version":2}'),
        (b"m:", changelog.meta_record(Meta(2, "g", 0, 1, "c", [], "o"))[1]),
        (b"m:", None),
    ],
)
def test_what_is_not_ours_is_refused(key: bytes | None, value: bytes | None) -> None:
    """An unreadable record or a newer version stops the shard instead of being skipped."""
    with pytest.raises(StateCorrupted):
        load(ShardState(0), key, value)
