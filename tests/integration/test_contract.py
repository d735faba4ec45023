"""Ready events as a subscriber takes them: by the CloudEvents SDK, and always the same bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event, from_structured_event

from consumer.pipeline.routing import home
from tests.builders import SDK_EXAMPLE, camel, checkpoint
from tests.support.deployment import Deployment
from tests.support.records import NewRecord, numbered_ids
from tests.support.topics import Names
from tests.support.verdicts import event_id

if TYPE_CHECKING:
    from cloudevents.core.base import BaseCloudEvent

    from tests.support.cluster import Cluster
    from tests.support.reader import Record

PARTITIONS = 3
TRACE = [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
SENT_AT_MS = 1_721_764_900_123
READERS = {"structured": from_structured_event, "binary": from_binary_event}
CONTENT_TYPES = {
    "structured": b"application/cloudevents+json; charset=UTF-8",
    "binary": b"application/json",
}


def message_of(record: Record) -> KafkaMessage:
    """Return a record as the SDK wants it."""
    headers = {name: value or b"" for name, value in record.headers}
    return KafkaMessage(headers=headers, key=record.key, value=record.value or b"")


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_the_cloudevents_sdk_reads_the_events(cluster: Cluster, names: Names, mode: str) -> None:
    """Every attribute of the contract is there, whatever spelling the source had."""
    source = checkpoint(id="wire", seed=7)
    values = {
        "wire": json.dumps(source).encode(),
        "sdk": json.dumps(camel(checkpoint(id="sdk"))).encode(),
        "<id>": SDK_EXAMPLE,
    }
    records = [
        NewRecord(value, b"k", number, TRACE, SENT_AT_MS)
        for number, value in enumerate(values.values())
    ]
    with Deployment(
        cluster, names, input_partitions=PARTITIONS, CLOUDEVENTS_MODE=mode
    ) as deployment:
        placed = cluster.produce(deployment.input_topic, records)
        service = deployment.start()
        with cluster.subscriber(deployment.ready_topic) as subscriber:
            published = list(subscriber.wait_for(len(values)))
        assert service.terminate() == 0

    events: dict[str, BaseCloudEvent] = {}
    for record in published:
        event = READERS[mode](message_of(record))
        events[event.get_id()] = event
        assert record.header("content-type") == CONTENT_TYPES[mode]
        assert record.header("traceparent") == TRACE[0][1]
        assert (record.key or b"").decode() == event.get_extension("partitionkey")
    assert events.keys() == values.keys()

    event = events["wire"]
    assert event.get_specversion() == "1.0"
    assert event.get_type() == "fine_tuning.job.checkpoint.ready"
    assert event.get_source() == "/fine_tuning/jobs/ftjob-abc123"
    assert event.get_subject() == "wire"
    assert event.get_time() == datetime.fromtimestamp(1_721_764_867, UTC)
    assert event.get_datacontenttype() == "application/json"
    assert event.get_dataschema()
    assert event.get_extension("partitionkey") == "ftjob-abc123"
    data = event.get_data()
    assert isinstance(data, dict)
    assert data["checkpoint"] == source
    assert data["model"]["base_model"] == "gpt-4o-mini-2024-07-18"
    assert data["evaluation"]["loss"] == 0.567
    partition, offset = placed[0]
    assert data["origin"] == {
        "topic": deployment.input_topic,
        "partition": partition,
        "offset": offset,
        "timestamp_ms": SENT_AT_MS,
    }
    # Camel case came in; subscribers see one spelling only.
    in_camel = events["sdk"].get_data()
    assert isinstance(in_camel, dict)
    assert in_camel["checkpoint"] == checkpoint(id="sdk")


def test_the_same_records_give_the_same_bytes(cluster: Cluster, names: Names) -> None:
    """Two groups with other numbers of shards, so that other records are forwarded, agree."""
    ids = numbered_ids(30)
    partition_of = {one: number % PARTITIONS for number, one in enumerate(ids)}
    homes = {
        shards: {one for one in ids if home(one, shards) == partition_of[one] % shards}
        for shards in (3, 5)
    }
    assert homes[3] - homes[5]
    assert homes[5] - homes[3]
    records = [
        NewRecord(
            json.dumps(checkpoint(id=one, fine_tuning_job_id=f"ftjob-{one[-1]}")).encode(),
            partition=partition,
            timestamp_ms=SENT_AT_MS,
        )
        for one, partition in partition_of.items()
    ]
    others = Names(f"{names.prefix}-other")
    with (
        Deployment(cluster, names, input_partitions=PARTITIONS, SHARDS=3) as first,
        Deployment(cluster, others, SHARDS=5, INPUT_TOPICS=first.input_topic) as second,
    ):
        cluster.produce(first.input_topic, records)
        values = []
        for deployment in (first, second):
            service = deployment.start()
            with cluster.subscriber(deployment.ready_topic) as subscriber:
                published = subscriber.wait_for(len(ids))
                values.append({event_id(record): record.value for record in published})
            assert service.terminate() == 0
    assert values[0].keys() == set(ids)
    assert values[0] == values[1]
