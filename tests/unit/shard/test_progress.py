"""Progress, its fingerprints, and every row of the verdict about a partition."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from consumer.kafka.types import FetchedRecords, TopicPartition
from consumer.pipeline.records import PackedBatch, Reason
from consumer.shard.buffer import Buffer
from consumer.shard.progress import (
    OLDER_OFFSETS,
    Continuity,
    Fingerprint,
    Found,
    Identity,
    Progress,
    Verdict,
    judge,
    lost_its_end,
)
from tests.batches.build import batch
from tests.builders import Record, record

SOURCE = TopicPartition("in", 0)
OLDER = Record(40, 400, b"key", b"older", ())
LAST = Record(99, 990, b"key", b"last", ())
REPLACED = LAST._replace(value=b"another")
REPLACED_OLDER = OLDER._replace(value=b"another")
# Handled up to and with 99, in a log whose leader epoch was 3.
BARE = Progress(100, 0, Fingerprint.of(LAST))
KNOWN = Progress(100, 0, Fingerprint.of(LAST), "topic", 3, Fingerprint.of(OLDER))
NAMELESS = Progress(100, 0, Fingerprint.of(LAST), older=Fingerprint.of(OLDER))

INTACT, EXPIRED = Continuity.INTACT, Continuity.EXPIRED
TRUNCATED, RECREATED = Continuity.TRUNCATED, Continuity.RECREATED

TABLE = {
    "nothing has changed": (KNOWN, Found(0, 100, "topic", LAST), (INTACT, 100)),
    "it has grown": (KNOWN, Found(0, 500, "topic", LAST), (INTACT, 100)),
    "the last record is gone by age": (KNOWN, Found(100, 500, "topic"), (INTACT, 100)),
    "the last record was compacted": (
        KNOWN,
        Found(0, 500, "topic", LAST._replace(offset=120, value=b"next")),
        (INTACT, 100),
    ),
    "markers behind the last record were replaced": (
        replace(KNOWN, next_offset=105),
        Found(0, 500, "topic", LAST, epoch_end=102),
        (INTACT, 102),
    ),
    "the last record came in a later epoch": (
        replace(KNOWN, next_offset=105),
        Found(0, 500, "topic", LAST, epoch_end=90),
        (INTACT, 100),
    ),
    "unread records are gone by age": (KNOWN, Found(130, 500, "topic"), (EXPIRED, 130)),
    "the same without ids": (BARE, Found(130, 500), (EXPIRED, 130)),
    # The same topic without its end.
    "cut": (KNOWN, Found(0, 97, "topic", epoch_end=97), (TRUNCATED, 97)),
    "cut and grown, and still shorter": (
        KNOWN,
        Found(0, 99, "topic", at_older=OLDER, epoch_end=90),
        (TRUNCATED, 90),
    ),
    "cut and grown past": (
        KNOWN,
        Found(0, 500, "topic", REPLACED, OLDER, epoch_end=90),
        (TRUNCATED, 90),
    ),
    "cut behind clean elections that were not seen": (
        KNOWN,
        Found(0, 500, "topic", REPLACED, OLDER, epoch_end=30),
        (TRUNCATED, 41),
    ),
    "cut to nothing": (KNOWN, Found(0, 0, "topic", epoch_end=0), (TRUNCATED, 0)),
    "cut below what retention has left": (
        KNOWN,
        Found(95, 95, "topic", epoch_end=90),
        (TRUNCATED, 95),
    ),
    "the leader does not know the epoch": (
        KNOWN,
        Found(0, 500, "topic", REPLACED, OLDER),
        (TRUNCATED, 41),
    ),
    "nothing but the id is known": (
        KNOWN,
        Found(10, 500, "topic", REPLACED, REPLACED_OLDER),
        (TRUNCATED, 10),
    ),
    "the epoch contradicts the record": (
        KNOWN,
        Found(0, 500, "topic", REPLACED, OLDER, epoch_end=500),
        (TRUNCATED, 41),
    ),
    "a marker alone is lost": (
        Progress(102, 0, Fingerprint.of(LAST), "topic", 3),
        Found(0, 100, "topic", LAST, epoch_end=100),
        (TRUNCATED, 100),
    ),
    # Another topic with the same name.
    "another id": (KNOWN, Found(0, 50, "new"), (RECREATED, 0)),
    "another id, and the last record is the same": (
        KNOWN,
        Found(0, 500, "new", LAST, OLDER, epoch_end=500),
        (RECREATED, 0),
    ),
    "a baseline of another id": (
        Progress(1000, 0, None, "topic", 3),
        Found(5, 2000, "new"),
        (RECREATED, 5),
    ),
    # Brokers, or entries, without ids.
    "an entry without an id, intact": (BARE, Found(0, 500, "topic", LAST), (INTACT, 100)),
    "without ids, shorter": (BARE, Found(0, 50), (RECREATED, 0)),
    "without ids, replaced": (BARE, Found(0, 500, None, REPLACED), (RECREATED, 0)),
    "without ids, cut and grown past": (
        NAMELESS,
        Found(0, 500, None, REPLACED, OLDER),
        (TRUNCATED, 41),
    ),
    "without ids, cut": (NAMELESS, Found(0, 97, None, None, OLDER), (TRUNCATED, 41)),
    "without ids, the older record is another too": (
        NAMELESS,
        Found(0, 500, None, REPLACED, REPLACED_OLDER),
        (RECREATED, 0),
    ),
    "an epoch alone proves nothing": (
        Progress(100, 0, Fingerprint.of(LAST), None, 3),
        Found(0, 97, None, epoch_end=97),
        (RECREATED, 0),
    ),
}


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
def test_the_verdict_about_a_partition(
    row: tuple[Progress, Found, tuple[Continuity, int]],
) -> None:
    """Each row: progress, the present state of the partition, and the right verdict."""
    progress, found, verdict = row
    assert judge(progress, found) == Verdict(*verdict)


@pytest.mark.parametrize(
    "other",
    [
        record({"id": "b"}, offset=7),
        record({"id": "a"}, offset=7, key=b"other"),
        record({"id": "a"}, offset=7, timestamp_ms=1),
        record(raw=None, offset=7),
    ],
)
def test_another_record_at_the_offset_is_noticed(other: Record) -> None:
    """With another value, key or time, or no value, it is not the handled record."""
    progress = Progress(8, 0, Fingerprint.of(record({"id": "a"}, offset=7)))
    assert lost_its_end(progress, Found(0, 100, None, other))


def test_the_older_fingerprint_follows_at_a_distance() -> None:
    """It is a former last record, at most some thousand offsets older."""
    progress = Progress(0, 0, None, "topic", 3)
    handled = set()
    for offset in range(0, 10 * OLDER_OFFSETS, 7):
        fingerprint = Fingerprint(offset, offset, offset)
        progress = Progress(offset + 1, 0, fingerprint).following(progress)
        handled.add(fingerprint)
        assert progress.identity == Identity("topic", 3)
        if offset:
            assert progress.older in handled - {fingerprint}
            assert progress.older is not None
            assert offset - progress.older.offset < OLDER_OFFSETS + 7


def test_an_identity_that_brokers_no_longer_report_is_kept() -> None:
    """A broker that does not know topic ids must not remove them from the changelog."""
    assert KNOWN.identified(Identity()) == KNOWN
    assert BARE.identified(Identity("topic", 4)).identity == Identity("topic", 4)


def test_entries_of_both_releases_can_be_read() -> None:
    """An entry without an id is valid, and a release that knows none reads a new entry."""

    class OldProgress(msgspec.Struct, frozen=True):
        next_offset: int
        stream_time_ms: int
        fingerprint: Fingerprint | None = None

    old = OldProgress(100, 0, Fingerprint.of(LAST))
    assert msgspec.json.decode(msgspec.json.encode(old), type=Progress) == BARE
    assert msgspec.json.decode(msgspec.json.encode(KNOWN), type=OldProgress) == old


def test_a_packed_batch_is_no_fingerprint() -> None:
    """A higher `max.message.bytes` makes its records readable: the source is still the same."""
    raw = batch(b"", 1, base_offset=LAST.offset + 1, attributes=7)
    value = PackedBatch(raw, "inflates too far", Reason.TOO_LARGE)
    packed = Record(LAST.offset + 1, 990, None, value, ())
    buffer = Buffer()
    buffer.add({SOURCE: FetchedRecords.of([LAST, packed])}, lambda _: 101)
    assert buffer.progress_after(0) == {SOURCE: Progress(101, 0, Fingerprint.of(LAST))}
    buffer.add({SOURCE: FetchedRecords.of([packed])}, lambda _: 102)
    assert buffer.progress_after(0) == {SOURCE: Progress(102, 0, Fingerprint.of(LAST))}
    only_packed = Buffer()
    only_packed.add({SOURCE: FetchedRecords.of([packed])}, lambda _: 101)
    progress = only_packed.progress_after(0)[SOURCE].following(KNOWN)
    assert (progress.next_offset, progress.fingerprint) == (101, KNOWN.fingerprint)
    readable = packed._replace(value=b"a record that can be read now")
    assert judge(progress, Found(0, 200, "topic", LAST, readable)) == Verdict(INTACT, 101)
