"""The kit's strategies and claims, and the service: each accepts what the other makes."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from checkpoint_ready_testkit import (
    REASONS,
    KafkaRecord,
    assert_dead_letter,
    assert_ready_event,
    assert_ready_record,
    event_of,
    ready_record,
)
from checkpoint_ready_testkit import strategies as kit
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from consumer.contract.messages import json_schema
from consumer.pipeline.dead_letters import parse_dead_letter
from consumer.pipeline.decode.checkpoint import decode
from consumer.pipeline.ready_event import ReadyEventBuilder, replayed
from schemas.ready_event import Origin, ReadyData, ReadyEvent
from tests.builders import Record, shard_settings
from tests.property.strategies import checkpoints, json_values, text
from tests.testkit.service_output import published, written

if TYPE_CHECKING:
    from checkpoint_ready_testkit import Mode

SCHEMA = Draft202012Validator(json_schema("ready-event"))
MODES: tuple[Mode, ...] = ("structured", "binary")
COUNTED_EXAMPLES = 300


@given(event=kit.ready_events())
def test_an_event_is_valid_for_the_schema_and_the_service(event: dict[str, Any]) -> None:
    """Also with the new members of a later version."""
    value = ready_record(event).value or b""
    SCHEMA.validate(event)
    assert json.loads(value) == event
    decoded = msgspec.json.decode(value, type=ReadyEvent)
    assert (decoded.id, decoded.data.origin.offset) == (
        event["id"],
        event["data"]["origin"]["offset"],
    )
    assert_ready_event(event)


@given(event=kit.ready_events(later_versions=False), mode=st.sampled_from(MODES))
def test_an_event_is_the_one_of_the_service(event: dict[str, Any], mode: Mode) -> None:
    """Byte for byte, for any checkpoint and origin that the strategy draws."""
    assert ready_record(event, mode=mode) == published(event, mode)


@given(record=kit.ready_records(), binary=kit.ready_records(mode="binary"))
def test_a_record_is_valid_for_the_service(record: KafkaRecord, binary: KafkaRecord) -> None:
    """In both modes the value can be decoded, and the record satisfies the claims."""
    assert_ready_record(record)
    event = assert_ready_record(binary)
    assert event == event_of(binary)
    msgspec.json.decode(binary.value or b"", type=ReadyData)


@given(letter=kit.dead_letters())
def test_a_dead_letter_is_valid_for_the_service(letter: KafkaRecord) -> None:
    """The service's own parser, which a redrive uses, reads the record and its reason."""
    parsed = parse_dead_letter(Record(0, 0, letter.key, letter.value, letter.headers))
    assert parsed is not None
    assert assert_dead_letter(letter) == parsed.reason
    assert parsed.is_cut == (letter.header("checkpoint-ready.value.size") is not None)


@given(
    fields=checkpoints(),
    unknown=st.dictionaries(text.map("x {}".format), json_values, max_size=3),
    mode=st.sampled_from(MODES),
    replay_id=st.none() | st.just("again"),
    timestamp_ms=st.integers(-1, 2**63 - 1),
)
def test_every_event_of_the_service_satisfies_the_claims(
    fields: dict[str, Any],
    unknown: dict[str, Any],
    mode: Mode,
    replay_id: str | None,
    timestamp_ms: int,
) -> None:
    """The claims are not narrower than what the service makes of a random checkpoint."""
    source = decode(json.dumps({**unknown, **fields}).encode())
    is_binary = mode == "binary"
    builder = ReadyEventBuilder.of(shard_settings(binary_mode=is_binary))
    ready = builder.build(source, Origin("input", 0, 0, timestamp_ms), [])
    if replay_id is not None:
        ready = replayed(ready, replay_id, binary_mode=is_binary)
    event = assert_ready_record(written(ready))
    SCHEMA.validate(event)


def test_the_strategies_reach_what_they_must() -> None:
    """Each provider, reason and mode, replays, later versions and absent figures occur."""
    seen: Counter[str] = Counter()

    @settings(max_examples=COUNTED_EXAMPLES, derandomize=True, database=None, deadline=None)
    @given(event=kit.ready_events(), record=kit.ready_records(), letter=kit.dead_letters())
    def collect(event: dict[str, Any], record: KafkaRecord, letter: KafkaRecord) -> None:
        data = event["data"]
        checkpoint = data["checkpoint"]
        optional = {"base_model", "expires_at", "provider", "uri"} & checkpoint.keys()
        seen.update(
            [
                "own provider" if "provider" in checkpoint else data["model"]["provider"],
                *(f"has {name}" for name in optional),
                "replay" if "replayid" in event else "no replay",
                "later" if set(data) - {"checkpoint", "model", "evaluation", "origin"} else "now",
                str(data["evaluation"].get("metric")),
                "perplexity" if "perplexity" in data["evaluation"] else "no perplexity",
                str(record.header("content-type")),
                "trace" if record.header("traceparent") else "no trace",
                assert_dead_letter(letter),
            ]
        )

    collect()
    expected = {"openai", "azure", "mistral", "together", "fireworks", "tinker", "path"}
    expected |= {"unrecognised", "own provider", "replay", "no replay", "later", "now"}
    expected |= {"has base_model", "has expires_at", "has provider", "has uri"}
    expected |= {"full_valid_loss", "valid_loss", "train_loss", "None", "perplexity"}
    expected |= {"no perplexity", "trace", "no trace", *REASONS}
    assert expected <= seen.keys()
    assert len(seen) == len(expected) + len(MODES)
