"""No record, however odd, is lost, counted twice, or able to stop a shard."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.pipeline.dedup import SeenIds
from consumer.pipeline.model_name import parse_model_name
from consumer.pipeline.process import expire
from tests.builders import Record, batch, decide, shard_settings
from tests.property.strategies import records, text


@given(
    name=st.text() | text.map("ft:{}".format) | st.from_regex(r"ft(:[^:]*){3,6}", fullmatch=True)
)
def test_the_model_name_parser_is_total(name: str) -> None:
    """Any text gives a model, and none is both recognised and without a meaning."""
    model = parse_model_name(name)
    assert model.provider in {"openai", "azure", "path", "unrecognised"}
    assert not (model.is_final and model.step is not None)


@given(
    sources=st.lists(records, max_size=8),
    forwarded=st.booleans(),
    shards=st.integers(1, 3),
    binary_mode=st.booleans(),
    max_bytes=st.sampled_from([600, 1500, 1_000_000]),
    window_ms=st.sampled_from([0, 1000]),
)
def test_each_record_is_accounted_for_once(  # noqa: PLR0913 - independent dimensions
    *,
    sources: list[Record],
    forwarded: bool,
    shards: int,
    binary_mode: bool,
    max_bytes: int,
    window_ms: int,
) -> None:
    """Consumed is published plus duplicates plus forwarded plus dead letters, for any records."""
    settings = shard_settings(
        shards=shards, max_bytes=max_bytes, dead_letter_max_bytes=1500, binary_mode=binary_mode
    )
    seen = SeenIds(window_ms)
    decision = decide(batch(*sources, forwarded=forwarded), seen=seen, settings=settings)
    expire(seen, decision, decision.stream_time_ms, 3)
    counts = decision.counts
    assert counts.consumed == len(sources)
    assert counts.consumed == (
        counts.published + counts.duplicates + counts.forwarded + sum(counts.dead_letters.values())
    )
    assert counts.published == len(decision.ready)
    assert counts.forwarded == len(decision.forwards)
    assert sum(counts.dead_letters.values()) == len(decision.dead_letters)
    assert not (forwarded and decision.forwards)
    assert {event.id for event in decision.ready} == {
        entry.id for entry in decision.entries.values()
    }
