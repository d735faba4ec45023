"""Latency at rest, throughput and restore of one process, on a local Kafka: ``make bench``.

Prints one JSON object per measurement. Machines are noisy: compare within one run, and look at
``events_per_cpu_second`` where wall time depends on what else the machine does.
"""

import argparse
import os
import sys

import msgspec

from bench.decide import measure_decide
from bench.latency import measure_bare_transaction, measure_latency
from bench.restore import measure_restore
from bench.service import BenchService
from bench.throughput import measure_throughput
from dev.kafka import LocalKafka

MAX_DECIDE_EVENTS = 50_000


def main() -> None:
    """Run the measurements that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only", choices=["latency", "throughput", "restore"], help="just this one"
    )
    parser.add_argument("--events", type=int, default=300_000, help="backlog for throughput")
    parser.add_argument("--samples", type=int, default=100, help="single events for latency")
    parser.add_argument(
        "--ids", type=int, nargs="+", default=[1_000_000], help="ids to restore, one run for each"
    )
    options = parser.parse_args()
    external = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if external:
        run(external, options)
    else:
        with LocalKafka() as kafka:
            run(kafka.bootstrap_servers, options)


def run(bootstrap_servers: str, options: argparse.Namespace) -> None:
    """Measure on this broker."""
    if options.only in {None, "latency"}:
        with BenchService(bootstrap_servers, "latency") as service:
            show(measure_bare_transaction(service, samples=options.samples))
            for spread in (False, True):
                show(measure_latency(service, samples=options.samples, spread=spread))
    if options.only in {None, "throughput"}:
        show(measure_decide(events=min(options.events, MAX_DECIDE_EVENTS)))
        for spread in (False, True):
            name = "throughput-spread" if spread else "throughput-home"
            with BenchService(bootstrap_servers, name, start=False) as service:
                show(measure_throughput(service, events=options.events, spread=spread))
    if options.only in {None, "restore"}:
        for ids in options.ids:
            show(measure_restore(bootstrap_servers, ids=ids))


def show(figures: dict[str, object]) -> None:
    """Print one measurement."""
    sys.stdout.buffer.write(msgspec.json.encode(figures) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
