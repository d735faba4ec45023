"""The records of the kit are byte for byte those that the service writes."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from checkpoint_ready_testkit import (
    REASONS,
    KafkaRecord,
    Mode,
    Reason,
    dead_letter,
    default_partition,
    job_events,
    later_version,
    ready_event,
    ready_record,
    redelivery,
    replayed,
)
from checkpoint_ready_testkit.dead_letters import TRAILING_NAMES
from checkpoint_ready_testkit.json_text import encode
from checkpoint_ready_testkit.validation import MAX_DEPTH
from jsonschema import Draft202012Validator

from consumer.cli.pipe import pipe
from consumer.contract.messages import json_schema
from consumer.pipeline.dead_letters import parse_dead_letter
from consumer.pipeline.record_size import batch_bytes
from consumer.pipeline.records import Limits, ShardSettings, SourceBatch
from consumer.pipeline.records import Reason as ServiceReason
from consumer.pipeline.routing import partition_for_key
from tests.batches.judge import read_here
from tests.builders import Record
from tests.testkit.service_output import READY_MAX_BYTES, dead_letters, published

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MODES: tuple[Mode, ...] = ("structured", "binary")
SCHEMA = Draft202012Validator(json_schema("ready-event"))
TRACE = [
    ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("tracestate", b"vendor=1"),
]
# The room that the service leaves for the lengths in a dead letter that it cuts.
SLACK_BYTES = 16
KEPT_BYTES = 40

WRONG: Any = "wrong"
GUID = "0F0ec7b6-3e8a-4f4e-9d5c-6d2f0c1f5b7a"


def nested(levels: int) -> list[Any]:
    """Return lists in each other."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


EVENTS: dict[str, dict[str, Any]] = {
    "default": ready_event(),
    "no metrics": ready_event(metrics={}),
    "all metrics": ready_event(
        metrics={
            "full_valid_loss": 1,
            "full_valid_mean_token_accuracy": 0.5,
            "step": 7.0,
            "train_loss": 1e16,
            "train_mean_token_accuracy": 1e-5,
            "valid_loss": 5e-324,
            "valid_mean_token_accuracy": -0.0,
        }
    ),
    "metrics of an SDK that writes 0": ready_event(
        metrics={
            "full_valid_loss": 0,
            "full_valid_mean_token_accuracy": 0,
            "train_loss": 0.5,
            "step": None,
        }
    ),
    "no figure is finite": ready_event(metrics={"valid_loss": 1e308, "train_loss": -1e308}),
    "only the training loss": ready_event(metrics={"train_loss": 2.5}),
    "unknown fields": ready_event(
        unknown_fields={"seedValue": 1, "zz": {"b": 1e-7, "a": [None, True]}, "A": 10**30},
        metrics={"valid_loss": 0.25, "tokenCount": 12345678901234567890},
    ),
    "unicode": ready_event(checkpoint_id='é"\\\n\x7f\u2028😀', job_id="job/1 %é"),
    "the first second": ready_event(created_at=datetime(1, 1, 1, tzinfo=UTC)),
    "the last second": ready_event(created_at=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    "no timestamp": ready_event(timestamp_ms=-1, offset=0, partition=11, topic="other"),
    "final model": ready_event(model="ft:gpt-4o:org::9ABel2dg"),
    "azure": ready_event(model=f"gpt-4o.ft-{'a' * 32}-v1.ft-{'b' * 32}-two:ckpt-step-5"),
    "azure without suffix": ready_event(model=f"gpt-4o.ft-{'a' * 32}"),
    "not azure": ready_event(model=f"gpt-4o.ft-{'a' * 32}-"),
    "path": ready_event(model="s3://bucket/checkpoint-000123/"),
    "path without step": ready_event(model="./model"),
    "tinker": ready_event(model="tinker://run-1/sampler_weights/step-100"),
    "tinker without step": ready_event(model="tinker://run-1:train:0/sampler_weights/000100"),
    "fireworks": ready_event(model="accounts/acme/models/my-model"),
    "together": ready_event(model="acme/Meta-Llama-3.1-8B-Instruct-Reference-my-suffix-b34d4ba5"),
    "mistral": ready_event(model="ft:open-mistral-7b:587a6b29:20240514:7e773925"),
    "mistral with suffix": ready_event(model="ft:open-mistral-7b:587a6b29:20240514:my:7e773925"),
    "fields of the producer": ready_event(
        provider="trainer",
        base_model="acme/base",
        uri="s3://bucket/checkpoint-500",
        expires_at=datetime(2027, 1, 1, tzinfo=UTC),
        metrics={"valid_loss": 0, "train_loss": 1},
    ),
    "only the provider": ready_event(provider="é", unknown_fields={"zz": 1}),
    "only the base model": ready_event(base_model="b", model="/data/checkpoint-5"),
    "no name": ready_event(model=""),
    "extreme step": ready_event(step=-(2**63)),
    "replayed": replayed(ready_event(), "second-try"),
    "a schema on a server": ready_event(
        dataschema="http://ready.ml.svc:8080/schemas/ready-event-data/1"
    ),
    "the deepest": ready_event(unknown_fields={"x": nested(MAX_DEPTH - 1)}),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", EVENTS)
def test_a_ready_record_is_the_one_of_the_service(name: str, mode: Mode) -> None:
    """Key, value and headers of the pipeline for the same checkpoint, in their order."""
    event = EVENTS[name]
    assert ready_record(event, mode=mode) == published(event, mode)
    assert SCHEMA.is_valid(event)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("headers", [TRACE, TRACE[:1], TRACE[1:]])
def test_the_headers_are_those_of_the_service(
    mode: Mode, headers: Sequence[tuple[str, bytes]]
) -> None:
    """The trace context of the source record, the group and the shard are in the same places."""
    trace = {name: value.decode() for name, value in headers}
    made = ready_record(
        ready_event(), mode=mode, group_id="registry", shards=7, schema_guid=GUID, **trace
    )
    assert made == published(
        ready_event(),
        mode,
        headers=list(headers),
        group_id="registry",
        shards=7,
        schema_guid=GUID,
    )


@pytest.mark.parametrize("mode", MODES)
def test_pipe_prints_the_event_of_the_kit(mode: Mode) -> None:
    """The value is also the one that `checkpoint-ready pipe` shows for the checkpoint."""
    event = EVENTS["all metrics"]
    data = event["data"]
    origin = data["origin"]
    line = json.dumps({"value": data["checkpoint"], **origin}).encode()
    printed: list[bytes] = []
    limits = Limits(READY_MAX_BYTES, READY_MAX_BYTES, READY_MAX_BYTES)
    settings = ShardSettings(0, 1, "group", limits, binary_mode=mode == "binary")
    assert pipe([line], printed.append, settings=settings, window_ms=0, records=True) == 0
    value = ready_record(event, mode=mode).value or b""
    assert printed == [
        b'{"decision":"ready","event":' + value + b',"reason":null,"message":null}\n'
    ]


def test_the_sequences_are_made_of_events_of_the_service() -> None:
    """A job's events differ in id and offset; the last one is the final model."""
    events = job_events(steps=(10, 20, 30), job_id="ftjob-x")
    for event in events:
        assert ready_record(event) == published(event, "structured")
    assert [event["data"]["model"]["step"] for event in events] == [10, 20, None]
    assert [event["data"]["model"]["is_final"] for event in events] == [False, False, True]
    assert len({event["id"] for event in events}) == 3
    assert {event["partitionkey"] for event in events} == {"ftjob-x"}
    assert job_events(steps=(10, 20, 30), job_id="ftjob-x", newest_first=True) == events[::-1]
    assert redelivery(events, committed=2) == [*events, events[2]]


def test_a_later_version_only_adds_members() -> None:
    """Without the new members, the event is the same. The schema accepts it."""
    event = replayed(ready_event())
    later = later_version(event)
    assert SCHEMA.is_valid(later)
    assert list(later)[-2:] == ["newattribute", "replayid"]
    del later["newattribute"]
    data = dict(later["data"])
    del data["new_member"]
    for name in ("model", "evaluation", "origin"):
        data[name] = {key: value for key, value in data[name].items() if key != "new_member"}
    assert {**later, "data": data} == event


def test_a_key_has_the_partition_of_the_service() -> None:
    """The partition is computed without the service's library, for keys of any length."""
    for length in range(40):
        key = bytes(range(200, 200 + length))
        for partitions in (1, 3, 50, 1000):
            assert default_partition(key, partitions) == partition_for_key(key, partitions)


@pytest.mark.parametrize(
    "wrong",
    [
        {"checkpoint_id": ""},
        {"checkpoint_id": "x" * 32_769},
        {"job_id": ""},
        {"step": 2**63},
        {"step": True},
        {"metrics": {"train_loss": math.nan}},
        {"metrics": {"train_loss": 10**400}},
        {"metrics": {"train_loss": "0.5"}},
        {"metrics": {"trainLoss": 0.5}},
        {"unknown_fields": {"createdAt": 1}},
        {"created_at": 253_402_300_800},
        {"created_at": datetime(2024, 1, 1)},  # noqa: DTZ001 - without a zone, as it must not be
        {"replay_id": 'a"b'},
        {"checkpoint_id": "\ud800"},
        {"checkpoint_id": None},
        {"job_id": 5},
        {"model": "\udfff"},
        {"step": 5.5},
        {"step": 5.0},
        {"step": "5"},
        {"created_at": "2024-07-23"},
        {"created_at": 1.5},
        {"metrics": [1]},
        {"metrics": {"x": math.inf}},
        {"metrics": {"x": nested(MAX_DEPTH - 1)}},
        {"unknown_fields": {"x": math.nan}},
        {"unknown_fields": {"x": [{1}]}},
        {"unknown_fields": {"x": {"y": "\ud800"}}},
        {"unknown_fields": {"\ud800": 1}},
        {"unknown_fields": {1: 2}},
        {"unknown_fields": {"x": nested(MAX_DEPTH)}},
        {"topic": "a topic"},
        {"topic": ".."},
        {"partition": -1},
        {"partition": 2**31},
        {"offset": -1},
        {"offset": 2**63},
        {"offset": 1.0},
        {"timestamp_ms": -2},
        {"dataschema": "ready-event/1"},
        {"dataschema": "https:///ready-event/1"},
        {"dataschema": None},
    ],
    ids=ascii,
)
def test_an_event_that_the_service_would_not_publish_is_refused(wrong: dict[str, Any]) -> None:
    """A mistake in a subscriber's test is reported there, and does not become an event."""
    with pytest.raises(ValueError, match=r"must|parameter"):
        ready_event(**wrong)


def test_the_limit_of_the_topic_is_that_of_the_service() -> None:
    """An event of exactly `max.message.bytes` is published. One more byte is too many."""
    max_bytes = batch_bytes(*published(ready_event(unknown_fields={"x": ""}), "structured"))
    room = READY_MAX_BYTES - max_bytes - 2  # two lengths need a byte more each
    largest = ready_event(unknown_fields={"x": "a" * room})
    record = published(largest, "structured")
    assert batch_bytes(*record) == READY_MAX_BYTES
    assert ready_record(largest) == record
    with pytest.raises(ValueError, match=f"needs {READY_MAX_BYTES + 1} bytes"):
        ready_event(unknown_fields={"x": "a" * (room + 1)})
    with pytest.raises(ValueError, match="must have at most 999"):
        ready_event(max_bytes=999)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ready_record(ready_event(), mode=WRONG),
        lambda: ready_record(ready_event(), shards=0),
        lambda: ready_record(ready_event(), shards=10_001),
        lambda: ready_record(ready_event(), schema_guid="{" + GUID + "}"),
        lambda: ready_record(ready_event(), schema_guid="1"),
        lambda: default_partition(b"key", 0),
        lambda: dead_letter("too_large", kept_bytes=-1),
        lambda: dead_letter("too_large", partition=-1),
        lambda: dead_letter("too_large", offset=-1),
        lambda: dead_letter("unreadable_batch", offset=0),
        lambda: dead_letter("too_large", timestamp_ms=-2),
        lambda: dead_letter("too_large", topic=""),
        lambda: redelivery(job_events(), committed=-1),
        lambda: redelivery(job_events(), committed=4),
    ],
)
def test_a_wrong_argument_of_another_builder_is_refused(call: Callable[[], object]) -> None:
    """The error is a ValueError that names the argument, also where Python has another one."""
    with pytest.raises(
        ValueError,
        match=r"(mode|shards|schema_guid|partitions?|kept_bytes) must"
        r"|(offset|timestamp_ms|topic|committed) must",
    ):
        call()


def test_the_reasons_are_those_of_the_service() -> None:
    """A new reason needs a sample in the kit."""
    assert list(REASONS) == [str(reason) for reason in ServiceReason]


@pytest.mark.parametrize("name", ["default", "all metrics", "unicode"])
@pytest.mark.parametrize("reason", REASONS)
def test_a_dead_letter_is_the_one_of_the_service(reason: Reason, name: str) -> None:
    """Key, value and headers of the dead letter that the pipeline writes for the same record."""
    made = dead_letter(reason, event=EVENTS[name])
    assert dead_letters(_source_batches(made, EVENTS[name])) == [made]


@pytest.mark.parametrize("reason", [reason for reason in REASONS if reason != "unreadable_batch"])
def test_headers_of_the_producer_come_first(reason: Reason) -> None:
    """Also for a header without a value, and for one with a name of the service's headers."""
    headers = [("h", None), (TRAILING_NAMES[0], b"mine"), ("\N{SNOWMAN}", b"\xff")]
    made = dead_letter(reason, headers=headers, partition=2, timestamp_ms=-1, key=None)
    assert made.headers[:3] == headers
    assert dead_letters(_source_batches(made, ready_event())) == [made]


@pytest.mark.parametrize("reason", [reason for reason in REASONS if reason != "tombstone"])
def test_a_cut_dead_letter_is_the_one_of_the_service(reason: Reason) -> None:
    """The value is cut, and two headers describe the whole value."""
    headers = [] if reason == "unreadable_batch" else [("h", b"1")]
    whole = dead_letter(reason, headers=headers)
    made = dead_letter(reason, headers=headers, kept_bytes=KEPT_BYTES)
    max_bytes = batch_bytes(made.key, b"", made.headers) + SLACK_BYTES + KEPT_BYTES
    assert dead_letters(_source_batches(whole, ready_event()), max_bytes=max_bytes) == [made]
    parsed = parse_dead_letter(Record(0, 0, made.key, made.value, made.headers))
    assert parsed is not None
    assert parsed.whole_value is not None
    assert parsed.whole_value.size_bytes == len(whole.value or b"")
    with pytest.raises(ValueError, match="kept_bytes"):
        dead_letter(reason, kept_bytes=len(whole.value or b""))


def _source_batches(letter: KafkaRecord, event: dict[str, Any]) -> list[SourceBatch]:
    """Return the source record of a dead letter, after the records that it needs."""
    parsed = parse_dead_letter(Record(0, 0, letter.key, letter.value, letter.headers))
    assert parsed is not None
    origin, reason = parsed.origin, parsed.reason
    source: Any = Record(
        origin.offset, origin.timestamp_ms, letter.key, letter.value, parsed.headers
    )
    if reason is ServiceReason.UNREADABLE_BATCH:
        (source,) = read_here(letter.value or b"", start=origin.offset - 1).packed
    is_forward = reason is ServiceReason.INTERNAL_ERROR
    batch = SourceBatch(origin.topic, origin.partition, [source], forwarded=is_forward)
    if reason is not ServiceReason.CONFLICTING_DUPLICATE:
        return [batch]
    value = encode(event["data"]["checkpoint"])
    first = SourceBatch(origin.topic, origin.partition, [Record(0, 0, None, value, [])], False)  # noqa: FBT003 - the last field of a tuple
    return [first, batch]
