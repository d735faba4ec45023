"""Measures the cost of tracing: runs with and without tracing alternate, on equal backlogs.

Each record has a trace context, which is the most expensive case. This process is the collector.
"""

from statistics import median
from typing import Final

from bench.service import BenchService
from bench.throughput import measure_throughput
from tests.support.otlp_receiver import OtlpReceiver

TRACEPARENT: Final = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


def measure_traces(bootstrap_servers: str, *, events: int, rounds: int) -> dict[str, object]:
    """Return the medians of events per CPU second, without and with tracing."""
    plain, traced, spans, links = [], [], 0, 0
    for _ in range(rounds):
        plain.append(_events_per_cpu_second(bootstrap_servers, events, endpoint=None))
        with OtlpReceiver() as collector:
            traced.append(
                _events_per_cpu_second(bootstrap_servers, events, endpoint=collector.endpoint)
            )
            spans += len(collector.spans)
            links += sum(len(span.linked) for span in collector.spans)
    return {
        "measure": "traces",
        "path": "keyed by id, each record with a trace context",
        "source_events": events,
        "rounds": rounds,
        "events_per_cpu_second_without": round(median(plain)),
        "events_per_cpu_second_with": round(median(traced)),
        "ratio": round(median(traced) / median(plain), 3),
        "spans_per_round": round(spans / rounds),
        "links_per_round": round(links / rounds),
    }


def _events_per_cpu_second(bootstrap_servers: str, events: int, *, endpoint: str | None) -> float:
    with BenchService(bootstrap_servers, "traces", start=False) as service:
        if endpoint is not None:
            service.variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
        figures = measure_throughput(service, events=events, spread=False, headers=[TRACEPARENT])
    return float(str(figures["events_per_cpu_second"]))
