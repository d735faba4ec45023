"""The origins of published ids, loaded from a changelog."""

import json

import pytest

from consumer.errors import StateCorrupted
from consumer.jobs.replay.origins import PublishedOrigin, PublishedOrigins
from consumer.pipeline.decode.checkpoint import decode
from consumer.pipeline.records import IdEntry
from consumer.pipeline.seen_ids import id_digest
from consumer.shard.changelog import ID, id_key, id_record
from schemas.ready_event import Origin
from tests.builders import Record, checkpoint

CONTENT, OTHER = (
    decode(json.dumps(checkpoint(id="a", step_number=step)).encode()) for step in (1, 2)
)
ORIGIN = Origin("input", 3, 40, 5_000)
DIGEST = id_digest("a")


def origins(*entries: tuple[bytes, bytes | None]) -> PublishedOrigins:
    """Return the origins in a changelog with these entries."""
    found = PublishedOrigins()
    found.load(0, [Record(n, 0, key, value, []) for n, (key, value) in enumerate(entries)])
    return found


def entry(origin: Origin = ORIGIN) -> tuple[bytes, bytes]:
    """Return the entry of the id "a"."""
    return id_record(DIGEST, IdEntry("a", CONTENT.digest, origin, 0))


def test_offset_timestamp_and_content_identify_the_published_record() -> None:
    """A recreated topic may have another record at the same offset."""
    found = origins(entry())
    assert found.is_origin(DIGEST, ORIGIN, CONTENT) is True
    for other in (
        Origin("other", 3, 40, 5_000),
        Origin("input", 2, 40, 5_000),
        Origin("input", 3, 41, 5_000),
        Origin("input", 3, 40, 5_001),
    ):
        assert found.is_origin(DIGEST, other, CONTENT) is False
    assert found.is_origin(DIGEST, ORIGIN, OTHER) is False
    assert found.is_origin(id_digest("b"), ORIGIN, CONTENT) is None


def test_later_entries_and_tombstones_count() -> None:
    """An id that was published again has its last origin; a tombstone removes the origin."""
    again = Origin("input", 0, 7, 9_000)
    found = origins(entry(), entry(again))
    assert list(found) == [PublishedOrigin("input", 0, 7, 9_000)]
    assert len(origins(entry(), (id_key(DIGEST), None))) == 0


def test_an_unreadable_entry_is_an_error() -> None:
    """The message has the shard and the offset."""
    with pytest.raises(StateCorrupted, match="changelog of shard 0: the record at offset 1"):
        origins(entry(), (ID + DIGEST, b"\x02short"))
