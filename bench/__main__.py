"""Measures the service on a local Kafka: ``make bench``, ``make bench ARGS="restore recovery"``.

latency      latency of single events without load, and of a transaction without the service
throughput   events per second of one process on a backlog, and of the pipeline without Kafka
steady       CPU and memory from idle to 50,000 events per second (seven minutes)
table        time and memory of the table of seen ids, without Kafka
restore      ids per second that a starting shard restores, and memory per id
traces       cost of tracing on a backlog, in runs that alternate with and without it
memory       peak memory: idle, with a backlog, on a slow broker, with large and inflating records
replay       a large replay that is killed several times, during a live stream (minutes)
recovery     how long consumers wait when a process crashes, restarts or joins (six minutes)

Three benchmarks compare, and have options of their own (`python -m bench peers --help`):

peers        throughput of this service, Kafka Streams, Quix Streams and others (half an hour)
peer-latency latency of this service, Kafka Streams and Quix Streams at several rates
growth       throughput and memory of this service with up to ten million ids in memory

ingest       the receiver of checkpoints over HTTP, under load by wrk; it has options of its own too

Recovery prints a table. Every other benchmark prints one JSON object for each measurement. Figures
vary between runs, so compare only figures of the same run. If other programs use the machine
meanwhile, compare ``events_per_cpu_second``.
"""

import argparse
import os
import sys

import msgspec

from bench.decide import measure_decide
from bench.ingest import command as ingest
from bench.latency import measure_bare_transaction, measure_latency
from bench.memory import measure_memory
from bench.peers import command as peers
from bench.recovery import HEAD, measure_recovery, table
from bench.replay import measure_replay
from bench.restore import measure_restore
from bench.service import BenchService
from bench.steady import measure_steady
from bench.table import measure_table
from bench.throughput import measure_throughput
from bench.traces import measure_traces
from dev.kafka import LocalKafka

MAX_DECIDE_EVENTS = 50_000


def main() -> None:
    """Run the benchmarks that the arguments name."""
    if sys.argv[1:2] == ["ingest"]:
        ingest.main(sys.argv[2:])
        return
    if sys.argv[1:] and sys.argv[1] in peers.COMMANDS:
        peers.main(sys.argv[1], sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="*", help="default: latency throughput")
    parser.add_argument(
        "--events", type=int, default=300_000, help="records in a backlog, and in the replay"
    )
    parser.add_argument("--samples", type=int, default=100, help="single events for latency")
    parser.add_argument(
        "--ids", type=int, nargs="+", default=[1_000_000], help="ids of table and restore"
    )
    parser.add_argument("--kills", type=int, default=5, help="number of kills of the replay")
    parser.add_argument(
        "--rounds", type=int, default=5, help="number of runs of each recovery, and of traces"
    )
    parser.add_argument(
        "--seconds", type=float, default=20, help="duration of each steady stream (s)"
    )
    parser.add_argument(
        "--nodes", type=int, default=1, choices=[1, 3], help="number of local brokers"
    )
    options = parser.parse_args()
    unknown = set(options.what) - MEASUREMENTS.keys()
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(MEASUREMENTS)}")
    external = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if external or options.what == ["table"]:
        run(external or "", options)
    else:
        with LocalKafka(options.nodes) as kafka:
            run(kafka.bootstrap_servers, options)


def run(bootstrap_servers: str, options: argparse.Namespace) -> None:
    """Run the benchmarks on this broker."""
    for what in options.what or DEFAULT:
        MEASUREMENTS[what](bootstrap_servers, options)


def latency(bootstrap_servers: str, options: argparse.Namespace) -> None:
    """Print the latencies of single events without load."""
    with BenchService(bootstrap_servers, "latency") as service:
        show(measure_bare_transaction(service, samples=options.samples))
        for spread in (False, True):
            show(measure_latency(service, samples=options.samples, spread=spread))


def throughput(bootstrap_servers: str, options: argparse.Namespace) -> None:
    """Print rates on a backlog."""
    show(measure_decide(events=min(options.events, MAX_DECIDE_EVENTS)))
    for spread in (False, True):
        name = "throughput-spread" if spread else "throughput-home"
        with BenchService(bootstrap_servers, name, start=False) as service:
            show(measure_throughput(service, events=options.events, spread=spread))


def steady(bootstrap_servers: str, options: argparse.Namespace) -> None:
    """Print the cost of steady streams."""
    for spread in (False, True):
        for figures in measure_steady(bootstrap_servers, seconds=options.seconds, spread=spread):
            show(figures)


def restore(bootstrap_servers: str, options: argparse.Namespace) -> None:
    """Print rates and sizes of restores."""
    for ids in options.ids:
        show(measure_restore(bootstrap_servers, ids=ids))


def table_of_ids(_: str, options: argparse.Namespace) -> None:
    """Print time and memory of each implementation."""
    for ids in options.ids:
        for figures in measure_table(ids=ids):
            show(figures)


def traces(bootstrap_servers: str, options: argparse.Namespace) -> None:
    """Print the cost of traces."""
    show(measure_traces(bootstrap_servers, events=options.events, rounds=options.rounds))


def memory(_: str, options: argparse.Namespace) -> None:
    """Print peaks of memory. It starts its own broker, because it freezes the broker at times."""
    with LocalKafka() as kafka:
        for figures in measure_memory(kafka, events=options.events):
            show(figures)


def replay(bootstrap_servers: str, options: argparse.Namespace) -> None:
    """Print the rate of a replay of `--events` records, and its effect on live latency."""
    for figures in measure_replay(bootstrap_servers, records=options.events, kills=options.kills):
        show(figures)


def recovery(bootstrap_servers: str, options: argparse.Namespace) -> None:
    """Print the table of recoveries, row by row."""
    print(HEAD, flush=True)
    for figures in measure_recovery(bootstrap_servers, rounds=options.rounds):
        print(table(figures), flush=True)


def show(figures: dict[str, object]) -> None:
    """Print one measurement."""
    sys.stdout.buffer.write(msgspec.json.encode(figures) + b"\n")
    sys.stdout.buffer.flush()


MEASUREMENTS = {
    "latency": latency,
    "throughput": throughput,
    "steady": steady,
    "table": table_of_ids,
    "restore": restore,
    "traces": traces,
    "memory": memory,
    "replay": replay,
    "recovery": recovery,
}
DEFAULT = ("latency", "throughput")


if __name__ == "__main__":
    main()
