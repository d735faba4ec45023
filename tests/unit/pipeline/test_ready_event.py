"""Ready events: what is in them, and that the CloudEvents SDK reads them."""

import json
import math
import tracemalloc
from typing import Any

import msgspec
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, from_structured
from cloudevents.core.formats.json import JSONFormat

from consumer.pipeline.decode.checkpoint import decode
from consumer.pipeline.ready_event import enrich, evaluate, ready_headers, rfc3339
from consumer.pipeline.records import Header, ReadyRecord
from consumer.pipeline.trace_context import trace_headers
from schemas.checkpoint import FIRST_UNIX_SECOND, LAST_UNIX_SECOND, Metrics
from schemas.ready_event import DATASCHEMA, READY_TYPE, Evaluation, Origin, ReadyEvent
from tests.builders import (
    SDK_EXAMPLE,
    batch,
    checkpoint,
    connect,
    decide,
    envelope,
    record,
    shard_settings,
)

ORIGIN = Origin("töpic", 3, 42, 1_721_764_900_000)


def ready(value: bytes, *, binary_mode: bool = False) -> ReadyRecord:
    """Return the ready event of a record's value."""
    headers = ready_headers(shard_settings(shard=2, shards=3, binary_mode=binary_mode))
    return enrich(decode(value), ORIGIN, headers, binary_mode=binary_mode)


def ready_json(**changes: object) -> dict[str, Any]:
    """Return the ready event of a checkpoint as plain JSON."""
    event: dict[str, Any] = json.loads(ready(json.dumps(checkpoint(**changes)).encode()).value)
    return event


def as_message(event: ReadyRecord) -> KafkaMessage:
    """Return the event as the SDK takes messages."""
    headers = {name: content or b"" for name, content in event.headers}
    return KafkaMessage(headers=headers, key=event.key, value=event.value)


def test_the_whole_event() -> None:
    """Every attribute and every member of the data follows the contract."""
    source = checkpoint(extra=[1])
    event = ready(json.dumps(source).encode())
    assert (event.key, event.created_at, event.origin) == (b"ftjob-abc123", 1721764867, ORIGIN)
    assert event.headers == [
        ("content-type", b"application/cloudevents+json; charset=UTF-8"),
        ("checkpoint-ready.shard", b"group/2/3"),
    ]
    assert json.loads(event.value) == {
        "specversion": "1.0",
        "id": "ftckpt_qtZ5Gyk4BLq1SfLFWp3RtO3P",
        "source": "/fine_tuning/jobs/ftjob-abc123",
        "type": READY_TYPE,
        "subject": "ftckpt_qtZ5Gyk4BLq1SfLFWp3RtO3P",
        "time": "2024-07-23T20:01:07Z",
        "datacontenttype": "application/json",
        "dataschema": DATASCHEMA,
        "partitionkey": "ftjob-abc123",
        "data": {
            "checkpoint": source,
            "model": {
                "provider": "openai",
                "base_model": "gpt-4o-mini-2024-07-18",
                "organization": "my-org",
                "suffix": "custom_suffix",
                "step": 88,
                "is_final": False,
            },
            "evaluation": {
                "loss": 0.567,
                "metric": "full_valid_loss",
                "perplexity": pytest.approx(1.76297, rel=1e-5),
                "generalization_gap": 0.567 - 0.478,
            },
            "origin": {
                "topic": "töpic",
                "partition": 3,
                "offset": 42,
                "timestamp_ms": 1_721_764_900_000,
            },
        },
    }


def test_the_schema_reads_the_event_and_writes_the_same_bytes() -> None:
    """A published event matches `schemas.ReadyEvent` exactly."""
    value = ready(json.dumps(checkpoint(extra={"kept": None})).encode()).value
    assert msgspec.json.encode(msgspec.json.decode(value, type=ReadyEvent)) == value


@pytest.mark.parametrize("binary_mode", [False, True])
@pytest.mark.parametrize(
    "value", [SDK_EXAMPLE, json.dumps(checkpoint(id="ïd €", extra=1)).encode()]
)
def test_the_cloudevents_sdk_reads_the_event(value: bytes, *, binary_mode: bool) -> None:
    """The SDK's reader of either mode gives the same attributes and data."""
    event = ready(value, binary_mode=binary_mode)
    read = from_binary if binary_mode else from_structured
    decoded = read(as_message(event), JSONFormat())
    source = decode(value)
    assert decoded.get_id() == decoded.get_subject() == source.id
    assert decoded.get_type() == READY_TYPE
    assert decoded.get_dataschema() == DATASCHEMA
    assert decoded.get_datacontenttype() == "application/json"
    assert decoded.get_extension("partitionkey") == source.job_id
    time = decoded.get_time()
    assert time is not None
    assert time.timestamp() == source.checkpoint.created_at
    data = decoded.get_data()
    assert isinstance(data, dict)
    assert data["checkpoint"] == json.loads(source.canonical)
    assert data["origin"]["offset"] == 42


def test_binary_mode_holds_the_same_data() -> None:
    """In binary mode the value is the structured event's data."""
    value = json.dumps(checkpoint()).encode()
    structured, binary = ready(value), ready(value, binary_mode=True)
    assert json.loads(structured.value)["data"] == json.loads(binary.value)
    assert binary.headers[0] == ("content-type", b"application/json")


@pytest.mark.parametrize("binary_mode", [False, True])
@pytest.mark.parametrize("extra", [{}, {"extra": 1}])
@pytest.mark.parametrize("trace", [[], [("traceparent", b"00-trace")]])
def test_the_guid_of_the_schema_is_a_header(
    extra: dict[str, int], trace: list[Header], *, binary_mode: bool
) -> None:
    """Byte 1 and the 16 bytes of the GUID; all other headers and the value are unchanged.

    A source record may have such a header of its own, which describes only its own value.
    """
    source = record(checkpoint(**extra), headers=[("__value_schema_id", b"\1source"), *trace])
    events = [
        decide(
            batch(source), settings=shard_settings(binary_mode=binary_mode, schema_guid=guid)
        ).ready[0]
        for guid in ("", "89791762-2336-4186-9674-299b90a802e2")
    ]
    without, with_guid = events
    assert with_guid.value == without.value
    schema_id = ("__value_schema_id", b"\1" + bytes.fromhex("89791762233641869674299b90a802e2"))
    assert [one for one in with_guid.headers if one != schema_id] == without.headers
    assert with_guid.headers.count(schema_id) == 1


def test_source_is_a_uri_reference() -> None:
    """Characters that a URI does not allow are percent-encoded, only in `source`."""
    event = ready_json(fine_tuning_job_id="job a/ü?")
    assert event["source"] == "/fine_tuning/jobs/job%20a%2F%C3%BC%3F"
    assert event["partitionkey"] == "job a/ü?"


@pytest.mark.parametrize(
    ("metrics", "evaluation"),
    [
        (Metrics(), Evaluation()),
        (Metrics(step=1, train_mean_token_accuracy=0.5), Evaluation()),
        (Metrics(train_loss=0.0), Evaluation(0.0, "train_loss", 1.0)),
        (Metrics(valid_loss=0.0), Evaluation(0.0, "valid_loss", 1.0)),
        (Metrics(valid_loss=0.0, train_loss=0.5), Evaluation(0.0, "valid_loss", 1.0, -0.5)),
        (
            Metrics(full_valid_loss=0.0, valid_loss=9.0, train_loss=0.25),
            Evaluation(0.0, "full_valid_loss", 1.0, -0.25),
        ),
        (Metrics(train_loss=710.0), Evaluation(710.0, "train_loss")),
        (
            Metrics(valid_loss=1.7e308, train_loss=-1.7e308),
            Evaluation(1.7e308, "valid_loss"),
        ),
    ],
)
def test_evaluation(metrics: Metrics, evaluation: Evaluation) -> None:
    """The evaluation uses the best loss available, and only finite figures."""
    assert evaluate(metrics) == evaluation


def test_absent_figures_are_absent() -> None:
    """Unknown figures are omitted from the JSON. The object is kept."""
    assert ready_json(metrics={})["data"]["evaluation"] == {}
    loss_only = ready_json(metrics={"train_loss": 1000})["data"]["evaluation"]
    assert loss_only == {"loss": 1000.0, "metric": "train_loss"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (975522, "1970-01-12T06:58:42Z"),
        (FIRST_UNIX_SECOND, "0001-01-01T00:00:00Z"),
        (LAST_UNIX_SECOND, "9999-12-31T23:59:59Z"),
    ],
)
def test_time(seconds: int, text: str) -> None:
    """Times are RFC 3339 in UTC, for all years of RFC 3339."""
    assert rfc3339(seconds) == text


def test_trace_context_is_handed_on() -> None:
    """Only the trace context of the source's headers is copied."""
    trace: list[Header] = [("traceparent", b"00-1"), ("tracestate", b"a=b")]
    assert trace_headers([("x", b"1"), *trace, ("traceparent", None)]) == trace


def test_long_job_ids_are_not_kept() -> None:
    """No cache holds them: 200 records of 1 MB would keep more than 1 GiB."""
    size_bytes = 100_000
    records = [
        record(checkpoint(id=f"c{n}", fine_tuning_job_id="é" * size_bytes + str(n)), offset=n)
        for n in range(20)
    ]
    decide(batch(records[0]))  # what is loaded at the first record does not count
    tracemalloc.start()
    for one in records:
        decide(batch(one))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < size_bytes


@pytest.mark.parametrize(
    ("headers", "of_envelope", "expected"),
    [
        ([], [("traceparent", b"e")], [("traceparent", b"e")]),
        ([("tracestate", b"s")], [("traceparent", b"e")], [("traceparent", b"e")]),
        ([("traceparent", b"h")], [("traceparent", b"e")], [("traceparent", b"h")]),
        (
            [("CE_TraceParent", b"b"), ("ce_tracestate", b"s")],
            [("traceparent", b"e")],
            [("traceparent", b"b"), ("tracestate", b"s")],
        ),
        ([("ce_traceparent", None)], [("traceparent", b"e")], [("traceparent", b"e")]),
        ([("ce_traceparent", b"b"), ("traceparent", b"h")], [], [("traceparent", b"h")]),
        ([("tracestate", b"s"), ("ce_tracestate", b"t")], [], [("tracestate", b"s")]),
    ],
)
def test_the_first_place_with_a_traceparent_counts(
    headers: list[Header], of_envelope: list[Header], expected: list[Header]
) -> None:
    """Headers of the record, then those of a CloudEvent, then the attributes of its envelope."""
    assert trace_headers(headers, of_envelope) == expected


def test_trace_context_in_an_envelope_reaches_the_event() -> None:
    """Its attributes become headers of the event. A value that is not text is ignored."""
    attributes: dict[str, Any] = {"traceparent": "00-a", "tracestate": "k=v"}
    for wrapped in (envelope(checkpoint(), **attributes), connect(envelope({}, **attributes))):
        if "payload" in wrapped:
            wrapped["payload"]["data"] = checkpoint()
        (event,) = decide(batch(record(wrapped))).ready
        assert event.headers[2:] == [("traceparent", b"00-a"), ("tracestate", b"k=v")]
    (event,) = decide(batch(record(envelope(checkpoint(), traceparent=5, tracestate="s")))).ready
    assert event.headers[2:] == []


@pytest.mark.parametrize(
    ("metrics", "evaluation"),
    [
        (
            Metrics(0, 0, 90, 0.51, 0, 0, 0),
            Evaluation(0.51, "train_loss", math.exp(0.51)),
        ),
        (Metrics(full_valid_loss=0, full_valid_mean_token_accuracy=-0.0), Evaluation()),
        (Metrics(0, 0, 0, 0, 0, 0, 0), Evaluation()),
        (
            Metrics(0, 0, valid_loss=0.62, train_loss=0, train_mean_token_accuracy=0),
            Evaluation(0.62, "valid_loss", math.exp(0.62)),
        ),
        (Metrics(full_valid_loss=0), Evaluation(0, "full_valid_loss", 1)),
        (
            Metrics(full_valid_loss=0, full_valid_mean_token_accuracy=1),
            Evaluation(0, "full_valid_loss", 1),
        ),
        (
            Metrics(train_loss=1e-300, train_mean_token_accuracy=0),
            Evaluation(1e-300, "train_loss", 1),
        ),
    ],
)
def test_a_loss_of_0_beside_an_accuracy_of_0_is_not_measured(
    metrics: Metrics, evaluation: Evaluation
) -> None:
    """The evaluation uses the next loss instead of a 0 that an SDK wrote for a missing loss."""
    assert evaluate(metrics) == evaluation
