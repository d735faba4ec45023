"""What subscribers see of the running service: each id once, the rest in the dead letters."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from tests.support.deployment import Deployment
from tests.support.records import NewRecord, checkpoint, ids_at_home, numbered_ids, scattered, send
from tests.support.verdicts import assert_exactly_once, document, wait_until_handled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster import Cluster
    from tests.support.service_process import ServiceProcess
    from tests.support.topics import Names

PARTITIONS = 6
HOSTILE_SECONDS = 20.0  # most of it is the start of the service
LONG_AGO_MS = 1_500_000_000_000
TRACEPARENT = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


@pytest.fixture
def deployment(cluster: Cluster, names: Names) -> Iterator[Deployment]:
    """Topics with six input partitions, and whatever a test starts on them."""
    with Deployment(cluster, names, input_partitions=PARTITIONS) as one:
        yield one


@pytest.fixture
def service(deployment: Deployment) -> ServiceProcess:
    """One process that is starting: what a test produces may come before or after."""
    return deployment.start()


@pytest.mark.usefixtures("service")
def test_one_id_on_all_partitions_is_one_event(cluster: Cluster, deployment: Deployment) -> None:
    """Copies of one id under random keys on every partition give exactly one ready event."""
    copies = [NewRecord(checkpoint("same"), os.urandom(8), p) for p in range(PARTITIONS)] * 5
    placed = cluster.produce(deployment.input_topic, copies)
    assert {partition for partition, _ in placed} == set(range(PARTITIONS))
    assert_exactly_once(cluster, deployment.names, ["same"])


def test_many_ids_over_two_processes(cluster: Cluster, names: Names) -> None:
    """Two processes that start at once and create the topics publish 3,000 ids once each."""
    ids = numbered_ids(3000)
    with Deployment(cluster, names, input_partitions=PARTITIONS, create_topics=False) as deployment:
        cluster.produce(deployment.input_topic, scattered(ids[:1500]))
        services = [deployment.start(CREATE_TOPICS="true") for _ in range(2)]
        cluster.produce(deployment.input_topic, scattered(ids[600:]))  # 900 of them again
        deployment.wait_until_running(PARTITIONS, *services)
        cluster.produce(deployment.input_topic, scattered(ids[:400]))
        assert_exactly_once(cluster, names, ids)
        assert cluster.read(deployment.dead_letter_topic) == []


@pytest.mark.usefixtures("service")
def test_each_conflicting_content_is_one_dead_letter(
    cluster: Cluster, deployment: Deployment
) -> None:
    """Of three contents under one id one is published and two are dead letters, however often."""
    contents = [checkpoint("same", step_number=step) for step in (1, 2, 3)]
    respelled = json.dumps(json.loads(contents[0]), indent=2, sort_keys=True).encode()
    for value in [*contents, respelled, *contents]:
        copies = [NewRecord(value, os.urandom(8), partition) for partition in range(PARTITIONS)]
        cluster.produce(deployment.input_topic, copies)
    published = assert_exactly_once(cluster, deployment.names, ["same"])
    letters = cluster.read(deployment.dead_letter_topic)
    steps = [document(published[0])["data"]["checkpoint"]["step_number"]]
    steps += [document(letter)["step_number"] for letter in letters]
    assert sorted(steps) == [1, 2, 3]
    reasons = {letter.header("checkpoint-ready.reason") for letter in letters}
    assert reasons == {b"conflicting_duplicate"}


@pytest.mark.usefixtures("service")
def test_hostile_texts_take_no_time(cluster: Cluster, deployment: Deployment) -> None:
    """A model name and a trace context that once took minutes hold up no shard."""
    model_name = (".ft-" + "0" * 32 + "-") * 8_000 + ":"
    blanks = [("traceparent", b"01" + TRACEPARENT[1][2:] + b"-" + b" " * 64_000 + b"\n")]
    hostile = checkpoint("hostile", fine_tuned_model_checkpoint=model_name)
    records = [NewRecord(hostile, b"key", p, blanks) for p in range(PARTITIONS)]
    cluster.produce(deployment.input_topic, [*records, *scattered(["good"])])
    began = time.monotonic()
    assert_exactly_once(cluster, deployment.names, ["hostile", "good"])
    assert time.monotonic() - began < HOSTILE_SECONDS


@pytest.mark.usefixtures("service")
def test_poison_keeps_its_bytes(cluster: Cluster, deployment: Deployment) -> None:
    """A record that cannot be read is a dead letter with its key, value, headers and a reason."""
    headers = [("h", b"\x00\xff"), ("h", None), ("checkpoint-ready.reason", b"mine")]
    poison = {
        b"malformed_json": NewRecord(b"\xff{", b"\x00key", 1, headers, LONG_AGO_MS),
        b"invalid_schema": NewRecord(b"{}", None, 2, headers),
        b"wrong_object_type": NewRecord(checkpoint("x", object="model"), b"", 3, headers),
        b"too_deep": NewRecord(b"[" * 5000 + b"]" * 5000, b"deep", 4, headers),
    }
    placed = cluster.produce(deployment.input_topic, poison.values())
    cluster.produce(deployment.input_topic, scattered(["good"]))
    assert_exactly_once(cluster, deployment.names, ["good"])
    letters = {
        letter.header("checkpoint-ready.reason"): letter
        for letter in cluster.read(deployment.dead_letter_topic)
    }
    assert letters.keys() == poison.keys()
    for (reason, sent), (partition, offset) in zip(poison.items(), placed, strict=True):
        letter = letters[reason]
        assert (letter.key, letter.value) == (sent.key, sent.value)
        assert letter.headers[: len(headers)] == headers
        assert letter.header("__connect.errors.topic") == deployment.input_topic.encode()
        assert letter.header("__connect.errors.partition") == str(partition).encode()
        assert letter.header("__connect.errors.offset") == str(offset).encode()
        assert abs(letter.timestamp_ms - time.time() * 1000) < 60_000
    timestamp = letters[b"malformed_json"].header("checkpoint-ready.timestamp")
    assert timestamp == str(LONG_AGO_MS).encode()


@pytest.mark.usefixtures("service")
def test_a_ready_event_says_where_it_comes_from(cluster: Cluster, deployment: Deployment) -> None:
    """Forwarded or not: keyed by job, stamped when published, with its origin and trace context."""
    at_home = ids_at_home(0, PARTITIONS, 1)[0]
    away = ids_at_home(1, PARTITIONS, 1)[0]
    sent = [
        NewRecord(checkpoint(one, job="ftjob-7"), b"any", 0, [TRACEPARENT], LONG_AGO_MS)
        for one in (at_home, away)
    ]
    placed = cluster.produce(deployment.input_topic, sent)
    records = assert_exactly_once(cluster, deployment.names, [at_home, away])
    assert any(cluster.end_offsets(deployment.repartition_topic).values())
    by_id = {document(record)["id"]: record for record in records}
    for one, (partition, offset) in zip((at_home, away), placed, strict=True):
        record = by_id[one]
        assert record.key == b"ftjob-7"
        assert abs(record.timestamp_ms - time.time() * 1000) < 60_000
        assert record.header("traceparent") == TRACEPARENT[1]
        assert document(record)["data"]["origin"] == {
            "topic": deployment.input_topic,
            "partition": partition,
            "offset": offset,
            "timestamp_ms": LONG_AGO_MS,
        }
    assert by_id[at_home].partition == by_id[away].partition


def test_records_keyed_by_id_are_not_forwarded(cluster: Cluster, deployment: Deployment) -> None:
    """What a producer with Kafka's default partitioner keys by id is decided where it arrives."""
    service = deployment.start()
    ids = numbered_ids(60)
    records = [NewRecord(checkpoint(one), one.encode()) for one in ids]
    java_like = Producer({**cluster.settings, "partitioner": "murmur2_random"})
    placed = send(java_like, deployment.input_topic, records * 2)
    assert len({partition for partition, _ in placed}) == PARTITIONS
    wait_until_handled(cluster, deployment.names)
    assert_exactly_once(cluster, deployment.names, ids)
    assert not any(cluster.end_offsets(deployment.repartition_topic).values())
    lines = service.logged("transaction_committed")
    assert sum(line["published"] for line in lines) == len(ids)
    assert not any(line["forwarded"] for line in lines)
