"""The receiver on a real broker: what was answered with success is in the topic."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.deployment import Deployment
from tests.support.ingest import Ingest, start_ingest
from tests.support.records import checkpoint, numbered_ids
from tests.support.verdicts import assert_exactly_once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cluster import Cluster
    from tests.support.reader import Record
    from tests.support.topics import Names

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = {"traceparent": TRACEPARENT, "tracestate": "a=1"}


def event(checkpoint_id: str, **attributes: str) -> bytes:
    """Return a CloudEvent in structured mode."""
    data = json.loads(checkpoint(checkpoint_id))
    return json.dumps(
        {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", **attributes, "data": data}
    ).encode()


@pytest.fixture
def deployment(cluster: Cluster, names: Names) -> Iterator[Deployment]:
    """Make the topics of one test."""
    with Deployment(cluster, names) as deployment:
        yield deployment


@pytest.fixture
def ingest(deployment: Deployment, tmp_path: Path) -> Ingest:
    """Start a receiver."""
    return start_ingest(deployment, tmp_path)


def received(deployment: Deployment) -> dict[str, Record]:
    """Return the records of the input topic by their key."""
    records = deployment.cluster.read(deployment.input_topic)
    return {(record.key or b"").decode(): record for record in records}


def test_every_form_is_one_record_for_each_checkpoint(
    deployment: Deployment, ingest: Ingest
) -> None:
    """The value has the bytes of the sender, the key is the id, and the trace context is kept."""
    one, *_ = ids = numbered_ids(20)
    listed = b'{"object": "list", "data": [' + b" , ".join(map(checkpoint, ids[1:3])) + b"]}"
    lines = b"\n\n".join(map(checkpoint, ids[5:7])) + b"\r\n"
    own = event(ids[10], traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-00")
    bodies = [
        (b"  " + checkpoint(one) + b"\n", "application/json; charset=utf-8", {}, 1),
        (listed, "application/json", {}, 2),
        (b"[" + b",".join(map(checkpoint, ids[3:5])) + b"]", "application/json", {}, 2),
        (lines, "application/x-ndjson", {}, 2),
        (event(ids[7]), "application/cloudevents+json", {}, 1),
        (
            b"[" + b",".join(map(event, ids[8:10])) + b"," + own + b"]",
            "application/cloudevents-batch+json",
            {},
            3,
        ),
        (
            checkpoint(ids[11]),
            "application/json",
            {"ce-specversion": "1.0", "ce-id": "%C3%A9", "ce-source": "/s", "ce-type": "t"},
            1,
        ),
        (b"[]", "application/json", {}, 0),
    ]
    for body, content_type, headers, count in bodies:
        reply = ingest.post(body, content_type, headers={**headers, **TRACE})
        assert (reply.status, reply.json) == (202, {"accepted": count}), body

    found = received(deployment)
    assert sorted(found) == ids[:12]
    for bare in (*ids[:7], ids[11]):
        assert found[bare].value == checkpoint(bare)
    for structured in ids[7:10]:
        assert found[structured].value == event(structured)
        assert found[structured].header("content-type") == b"application/cloudevents+json"
    assert found[ids[11]].header("ce_id") == "é".encode()
    for name in (*ids[:10], ids[11]):
        assert found[name].header("traceparent") == TRACEPARENT.encode()
        assert found[name].header("tracestate") == b"a=1"
    assert found[ids[10]].header("traceparent") is None  # the event has its own


def test_nothing_of_a_request_is_sent_if_one_element_is_invalid(
    deployment: Deployment, ingest: Ingest
) -> None:
    """The answer has the pipeline's reasons."""
    wrong = b'{"id":"x","object":"fine_tuning.job"}'
    body = b"[" + b",".join([checkpoint("ftckpt_1"), wrong, b"17"]) + b"]"
    reply = ingest.post(body)
    assert reply.status == 422
    assert reply.headers["content-type"] == "application/problem+json"
    invalid = reply.json["invalid"]
    assert [(one["index"], one["reason"], one.get("id")) for one in invalid] == [
        (1, "wrong_object_type", "x"),
        (2, "invalid_schema", None),
    ]
    assert reply.json["elements"] == 3
    assert received(deployment) == {}


def test_the_service_publishes_what_was_sent_twice_once(
    deployment: Deployment, ingest: Ingest, cluster: Cluster, names: Names
) -> None:
    """A sender that repeats a request never causes a second event."""
    ids = numbered_ids(50)
    service = deployment.start()
    for _ in range(2):
        assert ingest.post(b"\n".join(map(checkpoint, ids)), "application/x-ndjson").status == 202
    assert_exactly_once(cluster, names, ids)
    assert service.terminate() == 0
    assert ingest.process.terminate() == 0
    assert "Traceback" not in ingest.process.tail()


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_records_can_be_compressed(
    cluster: Cluster, names: Names, tmp_path: Path, compression: str
) -> None:
    """Brokers and other clients read what COMPRESSION_TYPE makes."""
    ids = numbered_ids(2000)
    with Deployment(cluster, names, create_topics=False, COMPRESSION_TYPE=compression) as made:
        ingest = start_ingest(made, tmp_path)
        body = b"\n".join(map(checkpoint, ids))
        assert ingest.post(body, "application/x-ndjson").json == {"accepted": len(ids)}
        assert sorted(received(made)) == ids
