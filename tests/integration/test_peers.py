"""The comparison with peers works: with few events a run is measured and verified."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from bench.peers.backlog import Placement, fill
from bench.peers.broker import all_cores, started_broker
from bench.peers.contenders.catalogue import (
    NO_CONTENDER,
    SERVICE,
    STREAMS_RANDOM,
    WITHOUT_PROMISE,
)
from bench.peers.contenders.contender import Contender, Delivery
from bench.peers.latency import loads, measure_latency
from bench.peers.sampling import sample_until_complete
from bench.peers.throughput import measure, started_contender

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.peers.backlog import Backlog
    from bench.peers.broker import Broker

EVENTS = 2_000


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """Start a broker whose data folder and CPU time the comparison can read."""
    if any(shutil.which(program) is None for program in ("java", "javac", "mvn")):
        pytest.skip("Java, its compiler or Maven is missing")
    with started_broker(all_cores()) as started:
        yield started


def test_a_run_is_measured_and_verified(broker: Broker) -> None:
    """The output has each id once, and time, CPU, memory and bytes were measured."""
    backlog = fill(broker.cluster, EVENTS, Placement.KEYED)
    figures = measure(broker, SERVICE, backlog, 1)
    assert figures.verdict.distinct_ids == figures.verdict.records == backlog.distinct
    assert not figures.problem
    assert figures.cpu_seconds_from_start > 0
    assert figures.peak_memory_mib > 10
    assert {"*-ready", "*-group.changelog"} <= figures.written_bytes.keys()
    assert not {name for name in broker.cluster.topics() if name.startswith("peers-service")}


def test_the_program_without_the_promise_publishes_every_record(broker: Broker) -> None:
    """It does the work that the promise is compared with: each record, duplicates too."""
    backlog = fill(broker.cluster, EVENTS, Placement.KEYED)
    figures = measure(broker, WITHOUT_PROMISE, backlog, 1)
    assert (figures.verdict.records, figures.verdict.distinct_ids) == (EVENTS, backlog.distinct)
    assert not figures.problem


def test_latency_is_measured(broker: Broker) -> None:
    """Every event of the stream arrives once."""
    streams = loads([200], 1.0, 1)
    (figures,) = measure_latency(broker, NO_CONTENDER, streams, warm_up_seconds=0.1)
    assert (figures.events, figures.missing, figures.repeated) == (200, 0, 0)
    assert 0 < figures.p50_ms <= figures.p99_ms <= figures.most_ms


def test_kafka_streams_publishes_the_same_events(broker: Broker) -> None:
    """The Java program and this service publish equal events, so they do the same work."""
    STREAMS_RANDOM.prepare()
    backlog = fill(broker.cluster, EVENTS, Placement.RANDOM)
    ours, theirs = (published(broker, one, backlog) for one in (SERVICE, STREAMS_RANDOM))
    assert len(ours) == backlog.distinct
    assert ours == theirs


def published(broker: Broker, contender: Contender, backlog: Backlog) -> dict[str, Any]:
    """Return the key and the event of each id. Each must be there once."""
    assert contender.delivery is Delivery.EACH_ID_ONCE
    with started_contender(broker, contender, backlog) as (run, processes):
        sample_until_complete(broker, run, processes, backlog.distinct)
        records = broker.cluster.read(run.output_topic)
    events = [(record.key, json.loads(record.value or b"")) for record in records]
    found = {event["id"]: (key, comparable(event)) for key, event in events}
    assert len(found) == len(events)
    return found


def comparable(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event without its origin: which of two equal records is published may differ."""
    del event["data"]["origin"]
    # Python and Java may round the last digit of an exponential differently.
    evaluation = event["data"]["evaluation"]
    evaluation["perplexity"] = round(evaluation["perplexity"], 9)
    return event
