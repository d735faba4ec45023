"""Decisions about records: each fate, its counts, and that no record is lost on the way."""

import json
import struct

import pytest

from consumer.pipeline import ready_event as press_module
from consumer.pipeline.decider import TOO_MANY_CONTENTS, Decider, Decision, apply, expire
from consumer.pipeline.ready_event import MAX_ID_CHARS
from consumer.pipeline.records import Header, PackedBatch, Reason
from consumer.pipeline.routing import ORIGIN_HEADER, home
from consumer.pipeline.seen_ids import MAX_VARIANTS_PER_ID, SeenIds, id_digest
from schemas.ready_event import Origin
from tests.builders import (
    NO_CEILING_MS,
    SDK_EXAMPLE,
    TIMESTAMP_MS,
    TOPIC,
    Record,
    batch,
    camel,
    checkpoint,
    decide,
    record,
    shard_settings,
)

SHARDS = 3


def id_at(shard: int) -> str:
    """Return an id whose home is `shard` of three."""
    return next(f"id-{n}" for n in range(100) if home(f"id-{n}", SHARDS) == shard)


def reasons(decision: Decision) -> list[Reason]:
    """Return the reasons of the dead letters."""
    return [letter.reason for letter in decision.dead_letters]


def at(second: int, **changes: object) -> Record:
    """Return a record of a checkpoint with a timestamp some seconds into the test."""
    return record(checkpoint(**changes), timestamp_ms=TIMESTAMP_MS + second * 1000)


def test_a_new_id_is_published_and_entered() -> None:
    """A first record gives one event, one entry with its origin, and a commit."""
    decision = decide(batch(record(checkpoint(), offset=7), partition=4))
    origin = Origin(TOPIC, 4, 7, TIMESTAMP_MS)
    [event] = decision.ready
    assert event.origin == origin
    assert decision.entries[id_digest(event.id)].origin == origin
    entry = decision.entries[id_digest(event.id)]
    assert entry.stream_time_ms == decision.stream_time_ms == TIMESTAMP_MS
    assert decision.needs_commit


def test_the_sdk_documents_own_example_is_published() -> None:
    """The example of the SDK's document is published, not refused."""
    assert len(decide(batch(record(raw=SDK_EXAMPLE))).ready) == 1


def test_repeats_are_dropped_within_and_after_a_decision() -> None:
    """Any spelling of a published content is a duplicate, and needs no commit."""
    seen = SeenIds(0)
    first = decide(batch(record(checkpoint()), record(camel(checkpoint()))), seen=seen)
    assert (first.counts.published, first.counts.duplicates) == (1, 1)
    assert len(seen) == 0, "memory changes only after the commit"
    apply(seen, first)
    again = decide(batch(record(checkpoint())), seen=seen)
    assert again.counts.duplicates == 1
    assert not again.needs_commit


def test_a_field_that_changes_with_every_record_takes_bounded_memory() -> None:
    """After eight contents of an id every further record is a dead letter. None is remembered."""
    seen = SeenIds(0)
    polls = [record(checkpoint(fetched_at=second), offset=second) for second in range(100)]
    first = decide(batch(*polls), seen=seen)
    apply(seen, first)
    assert (len(first.ready), first.counts.conflicting) == (1, 99)
    assert reasons(first) == [Reason.CONFLICTING_DUPLICATE] * 99
    assert len(first.variants) == seen.variants == MAX_VARIANTS_PER_ID
    assert first.unremembered == first.dead_letters[MAX_VARIANTS_PER_ID:]
    assert TOO_MANY_CONTENTS in first.unremembered[0].message

    again = decide(batch(*polls), seen=seen)
    apply(seen, again)
    assert again.counts.duplicates == 1 + MAX_VARIANTS_PER_ID
    assert len(again.unremembered) == len(again.dead_letters) == 99 - MAX_VARIANTS_PER_ID
    assert (again.variants, seen.variants) == ({}, MAX_VARIANTS_PER_ID)


def test_the_bound_on_contents_is_that_of_one_id() -> None:
    """The first contents of another id are remembered, after any number of conflicts."""
    flood = [record(checkpoint(id="a", fetched_at=second)) for second in range(100)]
    others = [record(checkpoint(id="b", step_number=step)) for step in range(3)]
    decision = decide(batch(*flood, *others, *others))
    assert (decision.counts.conflicting, decision.counts.duplicates) == (99 + 2, 3)


def test_each_conflicting_content_is_a_dead_letter_once() -> None:
    """Other content is never published. The first is a dead letter, repeats are duplicates."""
    seen = SeenIds(0)
    one, two = record(checkpoint(step_number=1)), record(checkpoint(step_number=2))
    first = decide(batch(record(checkpoint()), one, one, two), seen=seen)
    assert reasons(first) == [Reason.CONFLICTING_DUPLICATE] * 2
    assert (first.counts.conflicting, first.counts.duplicates) == (2, 1)
    apply(seen, first)
    again = decide(batch(one, two, record(checkpoint(step_number=3))), seen=seen)
    assert (again.counts.conflicting, again.counts.duplicates) == (1, 2)


def test_every_reason() -> None:
    """Each reason occurs and is counted. The dead letter keeps the record's bytes."""
    invalid = {
        Reason.TOMBSTONE: record(),
        Reason.MALFORMED_JSON: record(raw=b"{"),
        Reason.INVALID_SCHEMA: record({}),
        Reason.WRONG_OBJECT_TYPE: record({"object": "list"}),
        Reason.TOO_DEEP: record(raw=b"[" * 2000),
        Reason.TOO_LARGE: record(checkpoint(id="large", extra="x" * 5000)),
        Reason.UNREADABLE_BATCH: record(
            raw=PackedBatch(b"batch", "cannot be read", Reason.UNREADABLE_BATCH)
        ),
        Reason.CONFLICTING_DUPLICATE: record(checkpoint(step_number=1)),
    }
    decision = decide(
        batch(record(checkpoint()), *invalid.values()),
        batch(record(checkpoint()), forwarded=True),
        settings=shard_settings(max_bytes=4000),
    )
    assert reasons(decision) == [*invalid, Reason.INTERNAL_ERROR]
    assert set(reasons(decision)) == set(Reason)
    assert decision.counts.dead_letters == dict.fromkeys(Reason, 1)
    kept = [letter.value for letter in decision.dead_letters[:-1]]
    assert kept == [source.value for source in invalid.values()]


def test_too_large_ids_are_not_remembered() -> None:
    """An id that did not fit can be published later, when the limit of the topic is higher."""
    source = batch(record(checkpoint(extra="x" * 5000)))
    refused = decide(source, settings=shard_settings(max_bytes=4000))
    assert reasons(refused) == [Reason.TOO_LARGE]
    assert not refused.entries
    seen = SeenIds(0)
    apply(seen, refused)
    assert decide(source, seen=seen).counts.published == 1


@pytest.mark.parametrize("binary_mode", [False, True])
@pytest.mark.parametrize("guid", ["", "89791762-2336-4186-9674-299b90a802e2"])
def test_size_is_decided_to_the_byte(guid: str, *, binary_mode: bool) -> None:
    """The smallest sufficient limit is the size of the event's batch."""
    sizes = []
    for max_bytes in range(1000, 2500):
        settings = shard_settings(max_bytes=max_bytes, binary_mode=binary_mode, schema_guid=guid)
        sizes.append(bool(decide(batch(record(checkpoint())), settings=settings).ready))
    assert sizes == sorted(sizes), "one threshold"
    smallest = 1000 + sizes.index(True)
    needed = decide(
        batch(record(checkpoint())),
        settings=shard_settings(max_bytes=smallest - 1, binary_mode=binary_mode, schema_guid=guid),
    )
    assert f"needs {smallest} bytes" in needed.dead_letters[0].message


def test_any_other_exception_is_an_internal_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug that affects one record gives one dead letter. The other records are published."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("boom " * 1000)

    good = batch(record(checkpoint()))
    decision = decide(good)
    with monkeypatch.context() as patched:
        patched.setattr(press_module, "enrich", fail)
        Decider(shard_settings(), SeenIds(0)).decide(batch(record(checkpoint(id="b"))), decision, 0)
    Decider(shard_settings(), SeenIds(0)).decide(batch(record(checkpoint(id="c"))), decision, 0)
    assert [entry.id for entry in decision.entries.values()] == [
        "ftckpt_qtZ5Gyk4BLq1SfLFWp3RtO3P",
        "c",
    ]
    assert reasons(decision) == [Reason.INTERNAL_ERROR]
    assert decision.dead_letters[0].message.startswith("ZeroDivisionError: boom")
    assert len(decision.dead_letters[0].message) == 500


def test_away_from_home_a_record_is_forwarded_byte_for_byte() -> None:
    """The reading shard adds one header; the home shard publishes with the true origin."""
    source = record(
        checkpoint(id=id_at(1)), offset=9, headers=[("traceparent", b"t"), (ORIGIN_HEADER, b"?")]
    )
    sent = decide(batch(source, partition=6), settings=shard_settings(shard=0, shards=SHARDS))
    [forwarded] = sent.forwards
    assert sent.counts.forwarded == 1
    assert (forwarded.shard, forwarded.key, forwarded.value) == (1, source.key, source.value)
    place = struct.pack(">iqq", 6, 9, TIMESTAMP_MS) + TOPIC.encode()
    assert forwarded.headers == [*source.headers, (ORIGIN_HEADER, place)]

    arrived = Record(0, 1, forwarded.key, forwarded.value, forwarded.headers)
    home_shard = shard_settings(shard=1, shards=SHARDS)
    decision = decide(batch(arrived, topic="repartition", forwarded=True), settings=home_shard)
    assert decision.ready[0].origin == Origin(TOPIC, 6, 9, TIMESTAMP_MS)
    assert decision.ready[0].headers[-1] == ("traceparent", b"t")
    assert decision.stream_time_ms == TIMESTAMP_MS


def test_forwarding_does_not_change_the_event() -> None:
    """The value of a ready event does not depend on whether the record was forwarded."""
    source = record(checkpoint(id=id_at(1)))
    direct = decide(batch(source), settings=shard_settings(shard=1, shards=SHARDS))
    [sent] = decide(batch(source), settings=shard_settings(shards=SHARDS)).forwards
    arrived = Record(5, 6, sent.key, sent.value, sent.headers)
    round_about = decide(
        batch(arrived, forwarded=True), settings=shard_settings(shard=1, shards=SHARDS)
    )
    assert direct.ready == round_about.ready


def test_a_forwarded_record_at_the_wrong_shard() -> None:
    """The record becomes a dead letter with all its headers, and is never forwarded again."""
    source = record(checkpoint(id=id_at(1)))
    [sent] = decide(batch(source), settings=shard_settings(shards=SHARDS)).forwards
    arrived = Record(5, 6, sent.key, sent.value, sent.headers)
    decision = decide(
        batch(arrived, topic="repartition", partition=2, forwarded=True),
        settings=shard_settings(shard=2, shards=SHARDS),
    )
    [letter] = decision.dead_letters
    assert letter.reason is Reason.INTERNAL_ERROR
    assert letter.origin == Origin("repartition", 2, 5, 6)
    assert letter.headers[: len(sent.headers)] == sent.headers
    assert not decision.forwards


def test_a_dead_letter_of_a_forwarded_record_tells_its_origin() -> None:
    """The conflict of a forwarded record names the input's offset and keeps its own headers."""
    settings = shard_settings(shard=1, shards=SHARDS)
    headers: list[Header] = [("own", b"1")]
    conflict = record(checkpoint(id=id_at(1), step_number=1), offset=77, headers=headers)
    [sent] = decide(batch(conflict), settings=shard_settings(shards=SHARDS)).forwards
    decision = decide(
        batch(record(checkpoint(id=id_at(1)))),
        batch(Record(5, 6, sent.key, sent.value, sent.headers), forwarded=True),
        settings=settings,
    )
    [letter] = decision.dead_letters
    assert letter.origin == Origin(TOPIC, 0, 77, TIMESTAMP_MS)
    assert letter.headers[0] == ("own", b"1")
    assert letter.headers[1][0] == "__connect.errors.topic"


def test_a_forward_that_does_not_fit_is_a_dead_letter() -> None:
    """The added header may make a record too large for the repartition topic."""
    source = record(checkpoint(id=id_at(1), extra="x" * 5000))
    decision = decide(
        batch(source), settings=shard_settings(shard=0, shards=SHARDS, max_bytes=5000)
    )
    assert reasons(decision) == [Reason.TOO_LARGE]
    assert decision.counts.forwarded == 0


def test_an_id_expires_by_the_time_of_the_next_record() -> None:
    """After the window the id is published again, even within one decision."""
    seen = SeenIds(10_000)
    decision = decide(batch(at(0), at(9), at(10)), seen=seen)
    assert (decision.counts.published, decision.counts.duplicates) == (2, 1)
    assert [entry.stream_time_ms for entry in decision.entries.values()] == [TIMESTAMP_MS + 10_000]


def test_a_record_of_a_backlog_finds_what_is_newer_than_itself() -> None:
    """Records with later times in one partition do not expire ids for another partition."""
    decision = decide(
        batch(at(0), at(1000, id="other")),
        batch(at(9)),
        seen=SeenIds(10_000),
    )
    assert (decision.counts.published, decision.counts.duplicates) == (2, 1)


def test_a_record_from_the_future_repeats_what_is_held() -> None:
    """A future timestamp is not trusted: a copy that is read a window later is a duplicate."""
    seen = SeenIds(10_000)
    apply(seen, decide(batch(at(10**6)), seen=seen, ceiling_ms=TIMESTAMP_MS))
    later = decide(batch(at(10**6)), seen=seen, ceiling_ms=TIMESTAMP_MS + 20_000)
    assert (later.counts.published, later.counts.duplicates) == (0, 1)


def test_entries_stay_in_the_order_of_time() -> None:
    """An entry written again in one decision moves to the end, because memory keeps time order."""
    again = decide(
        batch(
            *(at(0, id="a"), at(1, id="a", step_number=1)),
            *(at(2, id="b"), at(3, id="b", step_number=1)),
            *(at(10, id="a"), at(12, id="a", step_number=1)),
        ),
        seen=SeenIds(10_000),
    )
    assert [entry.id for entry in again.entries.values()] == ["b", "a"]
    assert [variant.id for variant in again.variants.values()] == ["b", "a"]


def test_stream_time_never_goes_back_and_is_clamped() -> None:
    """Old timestamps do not decrease stream time. Future timestamps are not trusted."""
    ceiling_ms = TIMESTAMP_MS + 5000
    decision = decide(batch(at(4), at(0, id="b")), ceiling_ms=ceiling_ms)
    assert [entry.stream_time_ms - TIMESTAMP_MS for entry in decision.entries.values()] == [
        4000
    ] * 2
    decision = decide(batch(at(10**6)), ceiling_ms=ceiling_ms)
    assert decision.stream_time_ms == ceiling_ms
    without = decide(batch(record(checkpoint(), timestamp_ms=-1)))
    assert without.stream_time_ms == 0


def test_tombstones_are_bounded_and_spare_the_decisions_own_entries() -> None:
    """At most the limit, oldest first, and none for an id that this decision publishes again."""
    seen = SeenIds(10_000)
    apply(seen, decide(batch(*(at(n, id=f"id-{n}") for n in range(5))), seen=seen))
    decision = decide(batch(at(100, id="id-0")), seen=seen)
    expire(seen, decision, decision.stream_time_ms, 3)
    assert list(decision.expired.ids) == [id_digest("id-1"), id_digest("id-2")]
    apply(seen, decision)
    assert len(seen) == 3
    later = Decision()
    expire(seen, later, seen.stream_time_ms, 10)
    assert list(later.expired.ids) == [id_digest("id-3"), id_digest("id-4")]


def test_what_is_published_after_its_tombstone_loses_the_tombstone() -> None:
    """A decision that continues after `expire` never both writes and deletes a key."""
    seen = SeenIds(10_000)
    apply(seen, decide(batch(at(0), at(1, step_number=1)), seen=seen))
    decision = decide(batch(at(100, id="other")), seen=seen)
    expire(seen, decision, decision.stream_time_ms, 10)
    assert len(decision.expired) == 2
    Decider(shard_settings(), seen).decide(
        batch(at(101), at(102, step_number=1)), decision, NO_CEILING_MS
    )
    assert not decision.expired
    assert (len(decision.entries), len(decision.variants)) == (2, 1)


def test_batches_may_be_cut_anywhere() -> None:
    """One call with all records and one call for each give the same decision."""
    seen = SeenIds(5000)
    records = [at(n, id=f"id-{n % 3}", step_number=n % 2) for n in range(20)]
    whole = decide(batch(*records), seen=seen)
    assert decide(*(batch(one) for one in records), seen=seen) == whole


def test_values_are_deterministic() -> None:
    """The same source record always gives the same bytes, key and headers."""
    source = batch(record(json.loads(SDK_EXAMPLE), headers=[("tracestate", b"s")]))
    assert decide(source).ready == decide(source).ready


def test_an_id_too_long_for_the_changelog_is_too_large() -> None:
    """The changelog holds each id too, so the length of an id has a limit of its own."""
    fits, too_long = "x" * MAX_ID_CHARS, "x" * (MAX_ID_CHARS + 1)
    decision = decide(batch(record(checkpoint(id=fits)), record(checkpoint(id=too_long), offset=1)))
    assert [ready.id for ready in decision.ready] == [fits]
    assert [letter.reason for letter in decision.dead_letters] == [Reason.TOO_LARGE]


def test_a_packed_batch_of_the_repartition_topic_keeps_its_reason() -> None:
    """Its dead letter says why the batch was not read, not that the origin is missing."""
    packed = PackedBatch(b"batch", "it is damaged", Reason.UNREADABLE_BATCH)
    decision = decide(batch(record(raw=packed), forwarded=True))
    (letter,) = decision.dead_letters
    assert (letter.reason, letter.message) == (Reason.UNREADABLE_BATCH, "it is damaged")
