"""Loading a changelog in bulk equals loading it record by record, with either table."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import StateCorrupted
from consumer.kafka.types import TopicPartition
from consumer.pipeline import seen_ids
from consumer.pipeline.digest_table import DigestTable, PurePythonDigestTable
from consumer.pipeline.records import IdEntry, VariantEntry
from consumer.pipeline.seen_ids import id_digest, variant_digest
from consumer.shard import changelog
from consumer.shard.changelog import ShardState
from consumer.shard.progress import Progress
from schemas.ready_event import Origin
from tests.batches.build import batch
from tests.batches.build import record as wire_record
from tests.batches.judge import read_here
from tests.builders import Record

IDS = [f"ftckpt_{number}" for number in range(12)]
CONTENTS = [bytes([1]) + bytes([number]) * 15 for number in range(3)]
Pair = tuple[bytes | None, bytes | None]
ids, contents, times = st.sampled_from(IDS), st.sampled_from(CONTENTS), st.integers(0, 500)


def id_pair(name: str, content: bytes, time_ms: int) -> Pair:
    """Return an id's entry."""
    entry = IdEntry(name, content, Origin("in", 0, time_ms, time_ms), time_ms)
    return changelog.id_record(id_digest(name), entry)


def variant_pair(name: str, content: bytes, time_ms: int) -> Pair:
    """Return a refused content's entry."""
    digest = variant_digest(id_digest(name), content)
    return changelog.variant_record(digest, VariantEntry(name, content, time_ms))


def damaged(pair: Pair, place: int, byte: int, end: int) -> Pair:
    """Return an entry with one other byte in its key or value, or with a part of them."""
    key, value = (bytearray(part or b"") for part in pair)
    part = key if place < len(key) else value
    if part:
        part[place % len(part)] = byte
    return bytes(key), bytes(value[:end])


sound = st.one_of(
    st.builds(id_pair, ids, contents, times),
    st.builds(id_pair, ids, contents, times),
    st.builds(variant_pair, ids, contents, times),
    ids.map(lambda name: (changelog.id_key(id_digest(name)), None)),
    st.builds(
        lambda name, content: (
            changelog.variant_key(variant_digest(id_digest(name), content)),
            None,
        ),
        ids,
        contents,
    ),
    times.map(lambda time_ms: changelog.progress_record("in", 0, Progress(time_ms, time_ms, None))),
    st.just(changelog.barrier_record("owner")),
)
hostile = st.one_of(
    st.builds(damaged, sound, st.integers(0, 80), st.integers(0, 255), st.integers(0, 60)),
    st.tuples(st.none(), st.none() | st.binary(max_size=40)),
    st.tuples(
        st.sampled_from([b"i:", b"i:" + bytes(15), b"i:" + bytes(17), b"x:", b""]) | st.binary(),
        st.none() | st.binary(max_size=40),
    ),
)
pairs = st.lists(sound, max_size=60) | st.lists(st.one_of(sound, sound, hostile), max_size=60)


def loaded(
    records: list[Any], window_ms: int, table: type[DigestTable] | None, cut: int
) -> tuple[object, ShardState]:
    """Return the error, and the state after records were loaded in two parts.

    Without a table, each record is loaded by itself.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen_ids, "DigestTable", table or PurePythonDigestTable)
        state = ShardState(window_ms)
    error = None
    try:
        if table is None:
            for record in records:
                state._load_one(record)  # noqa: SLF001 - the reference
        else:
            state.load(records[:cut])
            state.load(records[cut:])
    except StateCorrupted as corrupted:
        error = str(corrupted)
    return error, state


def observed(state: ShardState) -> object:
    """Return all that later decisions can depend on."""
    seen = state.seen
    digests = [id_digest(name) for name in IDS]
    return (
        len(seen),
        seen.variants,
        [seen.lookup(digest, 400) for digest in digests],
        [seen.variants_of(digest) for digest in digests],
        [
            seen.has_variant(variant_digest(digest, content), 400)
            for digest in digests
            for content in CONTENTS
        ],
        [seen.expired(time_ms, 100) for time_ms in (0, 200, 1000)],
        state.progress,
    )


@given(written=pairs, window_ms=st.sampled_from([0, 100]), cut=st.integers(0, 60))
def test_a_load_in_bulk_equals_one_record_after_another(
    written: list[Pair], window_ms: int, cut: int
) -> None:
    """The same state, or the same error at the same offset, for records of either class."""
    expected_error, expected = loaded(of_tests(written), window_ms, None, cut)
    for table in (DigestTable, PurePythonDigestTable):
        for records in (of_tests(written), of_the_reader(written)):
            error, state = loaded(records, window_ms, table, cut)
            assert error == expected_error
            assert observed(state) == observed(expected)


def of_tests(written: list[Pair]) -> list[Any]:
    """Return records as tests build them."""
    return [Record(offset, 0, key, value, []) for offset, (key, value) in enumerate(written)]


def of_the_reader(written: list[Pair]) -> list[Any]:
    """Return records as a fetch returns them."""
    if not written:
        return []
    raw = b"".join(
        wire_record(offset, value, key=key) for offset, (key, value) in enumerate(written)
    )
    return read_here(batch(raw, len(written))).records


def test_runs_of_every_length_are_loaded() -> None:
    """Entries are taken in groups: each number of them before another record loses none."""
    written: list[Pair] = []
    for count in range(70):
        written += [id_pair(f"{count}/{number}", CONTENTS[0], 0) for number in range(count)]
        written.append(changelog.progress_record("in", count, Progress(count, 0, None)))
    for table in (DigestTable, PurePythonDigestTable):
        error, state = loaded(of_tests(written), 0, table, 1000)
        assert error is None
        assert len(state.seen) == 70 * 69 // 2
        assert state.positions == {TopicPartition("in", count): count for count in range(70)}
        assert state.records_loaded == len(written)
