"""Which records of an offset range a replay publishes again."""

import pytest

from consumer.pipeline.decode.checkpoint import Decoded
from consumer.pipeline.record_size import batch_bytes
from consumer.pipeline.records import Reason, SourceRecord
from consumer.pipeline.replay_decider import ReplayCounts, ReplayDecision, Replayer, Selection
from consumer.pipeline.seen_ids import id_digest
from schemas.ready_event import Origin
from tests.builders import TOPIC, Record, checkpoint, record, shard_settings

MAX_BYTES = 1_048_588


class KnownOrigins:
    """Origins of a few ids: partition and offset, on the tests' topic."""

    def __init__(self, **places: tuple[int, int]) -> None:
        self._places = {id_digest(one): place for one, place in places.items()}

    def is_origin(self, digest: bytes, origin: Origin, decoded: Decoded) -> bool | None:
        """Return whether the record is at the origin."""
        assert id_digest(decoded.id) == digest
        place = self._places.get(digest)
        return (
            None
            if place is None
            else (TOPIC, *place) == (origin.topic, origin.partition, origin.offset)
        )


def replay(
    *records: Record,
    partition: int = 0,
    room: int = 100,
    target_bytes: int = MAX_BYTES,
    selection: Selection | None = None,
    max_bytes: int = MAX_BYTES,
    **origins: tuple[int, int],
) -> ReplayDecision:
    """Return what is decided about records of one partition."""
    settings = [shard_settings(max_bytes=max_bytes)]
    known = KnownOrigins(**origins)
    replayer = Replayer.of(settings, known, selection or Selection(), "again", target_bytes)
    decision = ReplayDecision()
    sources: list[SourceRecord] = list(records)
    replayer.decide((TOPIC, partition), sources, decision, room)
    return decision


def of(one: str, offset: int, **fields: object) -> Record:
    """Return a record of an id."""
    return record(checkpoint(id=one, **fields), offset=offset)


def test_the_origin_is_replayed_not_the_first() -> None:
    """Where the changelog names the second copy, the first one is a duplicate."""
    decision = replay(of("a", 1), of("a", 2), of("a", 3), a=(0, 2))
    assert [event.origin.offset for event in decision.events] == [2]
    assert decision.counts == ReplayCounts(records=3, events=1, origins=1, duplicates=2)


def test_an_origin_elsewhere_makes_every_copy_a_duplicate() -> None:
    """An id whose origin is outside the range belongs to another range."""
    decision = replay(of("a", 1), of("a", 2), a=(1, 1))
    assert decision.counts == ReplayCounts(records=2, duplicates=2)


def test_an_unknown_id_is_decided_as_live_would() -> None:
    """The first valid record is published. One that the live service refuses does not count."""
    large = of("a", 0, padding="x" * 5000)
    decision = replay(large, of("a", 1), of("a", 2), max_bytes=3000)
    assert [event.origin.offset for event in decision.events] == [1]
    assert decision.counts.not_in_changelog == 1
    assert decision.counts.invalid == {Reason.TOO_LARGE: 1}


def test_a_filtered_id_stays_decided() -> None:
    """Another content of an id that was not selected is a duplicate, selected or not."""
    one, other = of("a", 0, fine_tuning_job_id="x"), of("a", 1, fine_tuning_job_id="y")
    decision = replay(one, other, selection=Selection.of("y", None, None))
    assert not decision.events
    assert decision.counts == ReplayCounts(records=2, not_selected=1, duplicates=1)


@pytest.mark.parametrize(
    ("glob", "is_taken"), [("ft:*", True), ("*", True), ("ft:gpt-4", False), ("FT:*", False)]
)
def test_the_model_is_matched_as_a_whole(glob: str, is_taken: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A case-sensitive shell pattern."""
    decision = replay(of("a", 0), selection=Selection.of(None, None, glob))
    assert bool(decision.events) is is_taken


def test_it_stops_at_the_most_events() -> None:
    """Remaining records are not counted, so the caller knows where to continue."""
    decision = replay(*(of(f"id-{n}", n) for n in range(5)), room=2)
    assert len(decision.events) == decision.counts.records == 2


def test_trace_headers_of_an_envelope_count_for_the_target() -> None:
    """They become headers of the event, although the record itself has none."""
    envelope = {
        "specversion": "1.0",
        "id": "e",
        "source": "s",
        "type": "fine_tuning.job.checkpoint",
        "traceparent": f"00-{'1' * 32}-{'2' * 16}-01",
        "tracestate": "a=" + "b" * 1_000,
        "data": checkpoint(id="a"),
    }
    traced = record(envelope, offset=0)
    (event,) = replay(traced).events
    assert sum(len(content or b"") for _, content in event.headers) > 1_000
    size_bytes = batch_bytes(event.key, event.value, event.headers)
    assert replay(traced, target_bytes=size_bytes).counts.events == 1
    assert replay(traced, target_bytes=size_bytes - 1).counts.too_large_for_target == 1


def test_an_event_too_large_for_the_target_is_not_invalid() -> None:
    """It is counted separately. A published event only has to fit the target topic of today."""
    decision = replay(of("a", 0), of("b", 1), of("b", 2), target_bytes=500, a=(0, 0))
    assert decision.counts.too_large_for_target == 2
    assert decision.counts.duplicates == 1
    assert not decision.counts.invalid
    assert not decision.events
    larger_than_live_takes = replay(of("a", 0), max_bytes=500, a=(0, 0))
    assert larger_than_live_takes.counts.events == 1
