"""No record, however odd, is lost, counted twice, or able to stop a shard."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.kafka.client.record_format import RawHeaderName
from consumer.pipeline.decider import expire
from consumer.pipeline.model_name import parse_model_name
from consumer.pipeline.records import Header
from consumer.pipeline.seen_ids import SeenIds
from tests.builders import STRUCTURED, Record, batch, checkpoint, decide, record, shard_settings
from tests.fuzz.judge import Shard
from tests.property.strategies import records, text

HUGE_BYTES = 10_000_000
NAMES = sorted({*checkpoint(), "createdAt", "stepNumber", "new"})
huge_integers = st.integers(290, 4400).map(lambda digits: b"9" * digits)
surrogates = st.text(st.characters(categories=["Cs"]), min_size=1, max_size=3).map(
    lambda found: json.dumps(found).encode()
)
raw_surrogates = st.sampled_from(
    [b'"\xed\xa0\x80"', b'"\xed\xbf\xbf"', b'"\xed\xa0\xbd\xed\xb8\x80"']
)
nests = st.builds(
    lambda opening, closing, depth: opening * depth + b"0" + closing * depth,
    st.sampled_from([b"[", b'{"a":', b'[1,{"":']),
    st.sampled_from([b"]", b"}", b"}]", b""]),
    st.integers(60, 70) | st.integers(200, 100_000),
)
hostile_headers: st.SearchStrategy[list[Header]] = st.lists(
    st.tuples(
        st.binary().map(RawHeaderName)
        | st.text(st.characters(exclude_categories=["Cs"]))
        | st.sampled_from(["content-type", "Content-Type", "ce_specversion", "traceparent"]),
        st.none()
        | st.binary()
        | st.sampled_from([STRUCTURED[1], b"1.0", b"\xa0" + (STRUCTURED[1] or b"")]),
    ),
    max_size=6,
)


@given(
    name=st.text() | text.map("ft:{}".format) | st.from_regex(r"ft(:[^:]*){3,6}", fullmatch=True)
)
def test_the_model_name_parser_is_total(name: str) -> None:
    """Any text gives a model, and none is both recognised and without a meaning."""
    model = parse_model_name(name)
    assert model.provider in {
        *("openai", "azure", "mistral", "together", "fireworks", "tinker"),
        *("path", "unrecognised"),
    }
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


@given(
    name=st.sampled_from(NAMES),
    hostile=huge_integers | surrogates | raw_surrogates | nests | st.binary(max_size=8),
    key=st.none() | st.just(b"") | st.binary(),
    headers=hostile_headers,
)
def test_hostile_fields_are_decided_as_the_contract_says(
    name: str, hostile: bytes, key: bytes | None, headers: list[Header]
) -> None:
    """Any nest, integer, surrogate or byte run in a field, under any key and headers, is judged."""
    text_before = json.dumps(checkpoint(**{name: "@"})).encode()
    value = text_before.replace(b'"@"', hostile)
    outcomes, _ = Shard().judge([record(raw=value, key=key, headers=headers)])
    assert outcomes.total() == 1


@settings(max_examples=10)
@given(
    piece=st.sampled_from([b"na ", b"1e15,", b"{},", b'[{"a":[]}],', b"[", b'\\"', b"7", b"\xff"])
    # Whitespace alone is no content: the event does not keep it.
    | st.binary(min_size=1, max_size=6).filter(lambda piece: piece.strip(b" \t\r\n")),
    around=st.sampled_from([(b'"', b'"'), (b"[", b"0]"), (b"", b"")]),
)
def test_ten_megabytes_are_decided_as_the_contract_says(
    piece: bytes, around: tuple[bytes, bytes]
) -> None:
    """A value of 10 MB of anything is a dead letter, since no topic takes its event, and cut."""
    filling = around[0] + piece * (HUGE_BYTES // len(piece)) + around[1]
    value = json.dumps(checkpoint(new="@")).encode().replace(b'"@"', filling)
    outcomes, _ = Shard().judge([record(raw=value)])
    assert outcomes.total() == 1
    assert not outcomes["published"]
