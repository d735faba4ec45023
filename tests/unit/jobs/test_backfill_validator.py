"""A backfill's validation and forecast, compared with the pipeline."""

import json

from hypothesis import given
from hypothesis import strategies as st

from consumer.jobs.backfill.elements import Element, Rejected
from consumer.jobs.backfill.forecast import AcceptedElements, Forecast
from consumer.jobs.backfill.validator import Accepted, Validator
from consumer.pipeline.decider import apply
from consumer.pipeline.ready_event import MAX_ID_CHARS
from consumer.pipeline.record_size import batch_bytes
from consumer.pipeline.records import Reason
from consumer.pipeline.seen_ids import SeenIds
from tests.builders import batch, checkpoint, decide, record, shard_settings
from tests.property.strategies import values

HEADERS = [("header", b"value")]
TOPIC_BYTES = 1_048_588


def validated(value: bytes, limit: int = TOPIC_BYTES) -> Accepted | Rejected:
    """Return the validation of a value in line 3."""
    return Validator(limit, list(HEADERS)).validate(Element(3, 1, value))


def encoded(**fields: object) -> bytes:
    """Return a checkpoint's bytes."""
    return json.dumps(checkpoint(**fields)).encode()


@given(values.filter(bool))
def test_what_the_service_would_refuse_is_not_sent(value: bytes) -> None:
    """Validator and pipeline agree on every value, its reason and its id, which is the key."""
    decision = decide(batch(record(raw=value)), settings=shard_settings(max_bytes=2**30))
    found = validated(value)
    if isinstance(found, Rejected):
        (dead_letter,) = decision.dead_letters
        assert (found.line, found.index) == (3, 1)
        assert (found.reason, found.message) == (dead_letter.reason, dead_letter.message)
    else:
        (ready,) = decision.ready
        assert found.key.decode() == ready.id
        assert found.value is value


def test_sizes() -> None:
    """A record of the maximum size is sent; a record with one more byte is not."""
    value = encoded(id="ä")
    exact = batch_bytes("ä".encode(), value, HEADERS)
    assert isinstance(validated(value, exact), Accepted)
    refused = validated(value, exact - 1)
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.TOO_LARGE
    assert str(exact) in refused.message
    assert isinstance(validated(encoded(id="x" * MAX_ID_CHARS)), Accepted)
    refused = validated(encoded(id="x" * (MAX_ID_CHARS + 1)))
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.TOO_LARGE


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2)), max_size=8),
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 2)), max_size=16),
)
def test_the_forecast_is_what_happens(
    before: list[tuple[str, int]], after: list[tuple[str, int]]
) -> None:
    """The forecast of a file equals what a shard does, for any ids published before."""
    seen = SeenIds(0)
    first = [encoded(id=one, step_number=content) for one, content in before]
    apply(seen, decide(batch(*(record(raw=value) for value in first)), seen=seen))
    file = [encoded(id=one, step_number=content) for one, content in after]
    contents = AcceptedElements()
    for value in file:
        found = validated(value)
        assert isinstance(found, Accepted)
        contents.add(found.decoded)
    forecast = contents.forecast(seen, 0)
    outcome = decide(batch(*(record(raw=value) for value in file)), seen=seen)
    assert forecast.ids == len({one for one, _ in after})
    assert forecast.new == len(outcome.ready)
    refused_before = outcome.counts.consumed - len(outcome.ready) - len(outcome.dead_letters)
    assert len(outcome.dead_letters) <= forecast.conflicting
    assert forecast.published + forecast.repeated <= refused_before
    assert sum((forecast.new, forecast.published, forecast.repeated, forecast.conflicting)) == len(
        after
    )
    assert bool(forecast.conflicting) >= bool(outcome.dead_letters)


def test_the_window() -> None:
    """After the dedup window a published id is new again."""
    seen = SeenIds(1000)
    value = encoded(id="a")
    apply(seen, decide(batch(record(raw=value, timestamp_ms=5000)), seen=seen))
    contents = AcceptedElements()
    found = validated(value)
    assert isinstance(found, Accepted)
    contents.add(found.decoded)
    contents.add(found.decoded)
    assert contents.forecast(seen, 5999) == Forecast(1, 0, 2, 0, 0)
    assert contents.forecast(seen, 6000) == Forecast(1, 1, 0, 1, 0)
