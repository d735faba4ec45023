"""Traces of the running service as a collector receives them, and an unreachable collector."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from consumer import __version__
from tests.integration import bare_service
from tests.support.child_process import ROOT
from tests.support.deployment import Deployment
from tests.support.otlp_receiver import OtlpReceiver, deaf_endpoint
from tests.support.records import NewRecord, checkpoint, ids_at_home, numbered_ids, scattered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster import Cluster
    from tests.support.topics import Names

CONSUMER, CLIENT, ERROR = 5, 3, 2  # numbers of the protocol
SHARDS = 3
LIMIT_BYTES = 2000
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
# Above what an orderly end takes on a busy machine, and below OpenTelemetry's own waits.
END_SECONDS = 12.0


def trace_id(number: int) -> str:
    """Return the id of a producer's trace."""
    return f"{number:032x}"


def traceparent(number: int) -> tuple[str, bytes]:
    """Return the header of a record in this trace."""
    return "traceparent", f"00-{trace_id(number)}-00f067aa0ba902b7-01".encode()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    """Receive the spans of the services of this test, which send each at once."""
    with OtlpReceiver() as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield receiver


def test_a_transaction_is_a_span_that_links_to_its_record(
    cluster: Cluster, names: Names, collector: OtlpReceiver
) -> None:
    """One record: the span has all attributes; the ready event keeps the context of its source."""
    one = ids_at_home(1, SHARDS, 1)[0]
    headers = [traceparent(7), ("tracestate", b"vendor=a,other=b")]
    with Deployment(cluster, names) as deployment:
        service = deployment.start("pod-1")
        deployment.wait_until_running(SHARDS, service)
        began_ns = time.time_ns()
        cluster.produce(deployment.input_topic, [NewRecord(checkpoint(one), b"k", 1, headers)])
        found = collector.wait_for(lambda it: it.linked == [trace_id(7)] and "process" in it.name)
        sent = collector.wait_for(lambda it: "send" in it.name)
        line = service.wait_for_log("checkpoint_ready", id=one)
        committed = service.wait_for_log("transaction_committed", published=1)
        event = cluster.read(deployment.ready_topic)[0]
    assert found.name == f"process {deployment.input_topic}"
    assert found.span.kind == CONSUMER
    assert found.span.parent_span_id == b""
    assert began_ns < found.span.start_time_unix_nano <= found.span.end_time_unix_nano
    assert found.span.end_time_unix_nano < time.time_ns()
    assert found.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": deployment.input_topic,
        "messaging.destination.partition.id": "1",
        "messaging.consumer.group.name": deployment.group,
        "messaging.client.id": f"{deployment.group}-1",
        "messaging.kafka.offset": 0,
        "checkpoint_ready.shard": 1,
        "checkpoint_ready.published": 1,
        "checkpoint_ready.duplicates": 0,
        "checkpoint_ready.forwarded": 0,
        "checkpoint_ready.dead_letters": 0,
    }
    assert found.link_attributes(0) == {"messaging.kafka.offset": 0}
    assert sent.name == f"send {deployment.ready_topic}"
    assert sent.span.kind == CLIENT
    assert sent.span.parent_span_id == found.span.span_id
    assert not sent.linked
    assert sent.span.trace_id == found.span.trace_id
    assert sent.span.end_time_unix_nano <= found.span.end_time_unix_nano
    assert {"service.name": "checkpoint-ready", "service.version": __version__} == {
        name: found.resource[name] for name in ("service.name", "service.version")
    }
    assert found.resource["service.instance.id"] == "pod-1"
    assert [header for header in event.headers if header[0].startswith("trace")] == headers
    assert line["trace_id"] == trace_id(7)
    assert committed["trace_id"] == found.trace_id


def test_a_backlog_is_one_span_with_a_bounded_number_of_links(
    cluster: Cluster, names: Names, collector: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A span has at most 128 links and shows that more exist; the variables name the service."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=i-1,team=ml")
    ids = ids_at_home(0, SHARDS, 300)
    backlog = [NewRecord(checkpoint(o), b"k", 0, [traceparent(n)]) for n, o in enumerate(ids, 1)]
    with Deployment(cluster, names) as deployment:
        cluster.produce(deployment.input_topic, backlog)
        deployment.start()
        found = collector.wait_for(
            lambda it: "messaging.batch.message_count" in it.attributes and "process" in it.name
        )
    assert found.attributes["messaging.batch.message_count"] == 300
    assert "messaging.kafka.offset" not in found.attributes
    assert found.linked == [trace_id(n) for n in range(1, 129)]
    assert found.link_attributes(127) == {"messaging.kafka.offset": 127}
    assert found.attributes["checkpoint_ready.links.cut"] is True
    assert found.span.dropped_links_count == 0
    told = {"service.name": "mine", "service.instance.id": "i-1", "team": "ml"}
    assert told.items() <= found.resource.items()


def test_the_context_goes_with_a_record_wherever_it_goes(
    cluster: Cluster, names: Names, collector: OtlpReceiver
) -> None:
    """Forwarded records and dead letters keep the context; the service ignores a malformed one."""
    away, odd = ids_at_home(2, SHARDS, 2)
    malformed = ("traceparent", b"00-zz-01")
    records = [
        NewRecord(checkpoint(away), b"k", 0, [traceparent(21)]),
        NewRecord(b"{", b"k", 1, [traceparent(22)]),
        NewRecord(checkpoint(odd), b"k", 2, [malformed]),
    ]
    with Deployment(cluster, names) as deployment:
        service = deployment.start()
        deployment.wait_until_running(SHARDS, service)
        cluster.produce(deployment.input_topic, records)
        forwarded = collector.wait_for(
            lambda it: (
                it.linked == [trace_id(21)] and it.attributes.get("checkpoint_ready.forwarded") == 1
            )
        )
        decided = collector.wait_for(
            lambda it: it.linked == [trace_id(21)] and it.name.endswith(".repartition")
        )
        buried = collector.wait_for(
            lambda it: it.attributes.get("checkpoint_ready.dead_letters") == 1
        )
        unlinked = collector.wait_for(
            lambda it: (
                it.attributes.get("messaging.destination.partition.id") == "2"
                and it.name == f"process {deployment.input_topic}"
            )
        )
        letter_line = service.wait_for_log("dead_letter", reason="malformed_json")
        odd_line = service.wait_for_log("checkpoint_ready", id=odd)
        away_line = service.wait_for_log("checkpoint_ready", id=away)
        headers = [
            event.header("traceparent") or b"" for event in cluster.read(deployment.ready_topic)
        ]
        letter = cluster.read(deployment.dead_letter_topic)[0]
    assert forwarded.name == f"process {deployment.input_topic}"
    assert decided.attributes["checkpoint_ready.published"] == 1
    assert buried.linked == [trace_id(22)]
    assert unlinked.linked == []
    assert sorted(headers) == sorted([traceparent(21)[1], malformed[1]])
    assert letter.headers[0] == traceparent(22)
    assert letter_line["trace_id"] == trace_id(22)
    assert away_line["trace_id"] == trace_id(21)
    assert odd_line["trace_id"] == unlinked.trace_id


def test_a_transaction_that_fails_is_a_span_with_the_error(
    cluster: Cluster, names: Names, collector: OtlpReceiver
) -> None:
    """The broker refuses a batch: the lost transaction has an error, the next one has none."""
    one = ids_at_home(0, SHARDS, 1)[0]
    with Deployment(cluster, names) as deployment:
        service = deployment.start()
        deployment.wait_until_running(SHARDS, service)
        cluster.set_config(deployment.ready_topic, max_message_bytes=str(LIMIT_BYTES))
        value = checkpoint(one, padding="x" * LIMIT_BYTES)
        cluster.produce(deployment.input_topic, [NewRecord(value, b"k", 0, [traceparent(31)])])
        lost = collector.wait_for(lambda it: it.span.status.code == ERROR)
        buried = collector.wait_for(
            lambda it: it.attributes.get("checkpoint_ready.dead_letters") == 1
        )
    assert lost.name == buried.name == f"process {deployment.input_topic}"
    assert lost.attributes["error.type"] in {"TaskFailed", "ClusterError"}
    assert "too large" in lost.span.status.message.lower().replace("toolarge", "too large")
    assert lost.linked == buried.linked == [trace_id(31)]
    assert "error.type" not in buried.attributes
    assert buried.span.status.code == 0


@pytest.mark.parametrize("is_listening", [False, True], ids=["refuses", "never-answers"])
def test_a_dead_collector_holds_nothing_up(
    cluster: Cluster, names: Names, monkeypatch: pytest.MonkeyPatch, *, is_listening: bool
) -> None:
    """Records are still published, the log has one line, and the shutdown does not wait for it."""
    ids = numbered_ids(60)
    with (
        deaf_endpoint(is_listening=is_listening) as endpoint,
        Deployment(cluster, names) as deployment,
    ):
        monkeypatch.setenv(ENDPOINT, endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
        service = deployment.start()
        with cluster.subscriber(deployment.ready_topic) as subscriber:
            cluster.produce(deployment.input_topic, scattered(ids[:30]))
            subscriber.wait_for(30)
            said = service.wait_for_log("traces_not_exported")
            cluster.produce(deployment.input_topic, scattered(ids[30:]))
            subscriber.wait_for(60)
        monkeypatch.undo()
        began = time.monotonic()
        assert service.terminate() == 0
        seconds = time.monotonic() - began
    assert said["error"]
    assert seconds < END_SECONDS
    assert len(service.logged("traces_not_exported")) == 1
    # Before the first failure is known, the library may log spans that it drops from its queue.
    assert not service.logged("library_message", after=service.lines.index(said))


def test_a_collector_that_comes_back_is_said_and_gets_the_last_spans(
    cluster: Cluster, names: Names, collector: OtlpReceiver
) -> None:
    """Failure and recovery are one line each; an orderly shutdown sends the remaining spans."""
    first, second, last = ids_at_home(0, SHARDS, 3)
    records = [
        NewRecord(checkpoint(one), b"k", 0, [traceparent(number)])
        for number, one in enumerate((first, second, last), 41)
    ]
    collector.is_refusing = True
    with Deployment(cluster, names) as deployment:
        service = deployment.start()
        cluster.produce(deployment.input_topic, records[:1])
        service.wait_for_log("traces_not_exported", level="warning")
        collector.is_refusing = False
        cluster.produce(deployment.input_topic, records[1:2])
        service.wait_for_log("traces_exported_again")
        collector.wait_for(lambda it: it.linked == [trace_id(42)])
        cluster.produce(deployment.input_topic, records[2:])
        service.wait_for_log("checkpoint_ready", id=last)
        assert service.terminate() == 0
        linked = [trace for span in collector.spans for trace in span.linked]
    assert trace_id(43) in linked
    assert trace_id(41) not in linked
    assert not service.logged("traces_not_flushed")


def test_the_last_spans_are_sent_before_the_end(
    cluster: Cluster, names: Names, collector: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM sends spans that would otherwise wait for a minute."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    one = ids_at_home(0, SHARDS, 1)[0]
    with Deployment(cluster, names) as deployment:
        service = deployment.start()
        record = NewRecord(checkpoint(one), b"k", 0, [traceparent(61)])
        cluster.produce(deployment.input_topic, [record])
        service.wait_for_log("checkpoint_ready", id=one)
        assert not collector.spans
        assert service.terminate() == 0
    assert [trace_id(61)] in [span.linked for span in collector.spans]


def test_a_variable_that_cannot_be_read_switches_traces_off(
    cluster: Cluster, names: Names, collector: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service logs what is wrong and runs without tracing."""
    monkeypatch.setenv("OTEL_SPAN_LINK_COUNT_LIMIT", "many")
    with Deployment(cluster, names) as deployment:
        service = deployment.start()
        said = service.wait_for_log("traces_off", level="warning")
        deployment.wait_until_running(SHARDS, service)
        assert service.terminate() == 0
    assert "OTEL_SPAN_LINK_COUNT_LIMIT" in said["error"]
    assert not collector.spans


def test_without_the_extra_the_service_runs_and_says_what_to_install(
    cluster: Cluster, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If variables enable tracing, a warning says so; log lines still have trace ids."""
    one = ids_at_home(0, SHARDS, 1)[0]
    with Deployment(cluster, names) as deployment:
        monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
        service = deployment.start(command=[bare_service.MODULE])
        said = service.wait_for_log("traces_off", level="warning")
        record = NewRecord(checkpoint(one), b"k", 0, [traceparent(51)])
        cluster.produce(deployment.input_topic, [record])
        line = service.wait_for_log("checkpoint_ready", id=one)
        assert service.terminate() == 0
    assert "pip install 'checkpoint-ready[otel]'" in said["error"]
    assert line["trace_id"] == trace_id(51)
    assert "trace_id" not in service.logged("transaction_committed")[0]


def test_nothing_of_it_is_loaded_unless_a_variable_asks() -> None:
    """Without the variables the service does not import OpenTelemetry, although it is installed."""
    probe = (
        "import sys, consumer.cli, consumer.service.app as app;"
        "from consumer.config import Settings;"
        "from consumer.service.tracing.config import open_traces;"
        "seen = object();"
        "exec('with open_traces(Settings.load({}), {}) as add:\\n assert add(seen) is seen');"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
