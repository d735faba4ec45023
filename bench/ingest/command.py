"""The command line of the benchmark: `python -m bench ingest`."""

import argparse
import contextlib
import os
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from bench.ingest.load import LoadFigures, put_load, wrk
from bench.ingest.receiver import BARE, Measured, bare_handler, receiver
from bench.ingest.senders import SENDERS, Sender, named
from bench.peers.broker import divide_cores, started_broker
from bench.peers.command import today, write_json
from bench.peers.machine import describe
from bench.peers.report import Machine
from dev.kafka_jars import LocalKafkaError
from dev.toolchains import ToolchainError
from tests.support.child_process import ROOT
from tests.support.deployment import Deployment
from tests.support.topics import Names

PARTITIONS: Final = 6
WARM_UP_SECONDS: Final = 3
THIS: Final = "receiver"
OTHER: Final = "other receiver"


class Run(msgspec.Struct):
    """The figures of one run."""

    program: str
    sender: str
    requests_per_second: int
    checkpoints_per_second: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_us_per_request: int
    cpu_share: float
    """CPU seconds per second."""
    refused: int
    failed: int
    load_average: float


class Figures(msgspec.Struct):
    """All figures of the command."""

    machine: Machine
    measured_at: str
    connections: int
    seconds: int
    runs: list[Run]


def ingest(arguments: Sequence[str]) -> int:
    """Measure the receiver under load by wrk, beside a handler that only answers.

    The receiver has one core. wrk and the broker have the others. The programs alternate in each
    round. The table has the medians of the rounds. The exit code is 1 if a request was refused or
    failed.
    """
    parser = argparse.ArgumentParser(prog="python -m bench ingest", description=ingest.__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="duration of each run (s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each program")
    parser.add_argument("--connections", type=int, default=32, help="of single requests")
    parser.add_argument("--batch-connections", type=int, default=8, help="of batches")
    parser.add_argument(
        "--senders",
        nargs="+",
        default=list(SENDERS),
        choices=list(SENDERS),
        metavar="NAME",
        help=f"known: {', '.join(SENDERS)}",
    )
    parser.add_argument("--other", type=Path, help="measure the receiver of this checkout too")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args(arguments)
    program = wrk()
    cores = divide_cores()
    machine = describe(cores)
    runs: list[Run] = []
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(started_broker(cores))
        names = Names(f"bench-ingest-{uuid.uuid4().hex[:6]}")
        deployment = stack.enter_context(
            Deployment(broker.cluster, names, input_partitions=PARTITIONS, create_topics=False)
        )
        measured = [stack.enter_context(bare_handler(broker))]
        measured.append(stack.enter_context(receiver(broker, deployment, THIS, ROOT)))
        if options.other:
            folder = options.other.resolve()
            measured.append(stack.enter_context(receiver(broker, deployment, OTHER, folder)))
        for number in range(options.rounds):
            for sender in named(options.senders):
                ordered = measured if number % 2 == 0 else measured[::-1]
                runs += [_show(_run(program, one, sender, options, number)) for one in ordered]
    figures = Figures(machine, today(), options.connections, options.seconds, runs)
    if options.json:
        write_json(figures, options.json)
    print(table(figures), end="")
    return int(any(run.refused or run.failed for run in runs))


def main(arguments: Sequence[str]) -> None:
    """Run the command, and print an error without a traceback."""
    try:
        sys.exit(ingest(arguments))
    except (LocalKafkaError, ToolchainError) as error:
        sys.exit(f"ingest: {error}")


def table(figures: Figures) -> str:
    """Return the medians of all rounds as a table in Markdown. The CPU time is for one request."""
    lines = [
        "| Requests | Program | requests/s | checkpoints/s | p50 ms | p99 ms | CPU µs | cores |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in figures.runs:
        groups.setdefault((run.sender, run.program), []).append(run)
    for (sender, program), runs in groups.items():
        rate = median(run.requests_per_second for run in runs)
        checkpoints = median(run.checkpoints_per_second for run in runs)
        p50 = median(run.p50_ms for run in runs)
        p99 = median(run.p99_ms for run in runs)
        cpu = median(run.cpu_us_per_request for run in runs)
        share = median(run.cpu_share for run in runs)
        shown = f"{checkpoints:,.0f}" if checkpoints else ""
        lines.append(
            f"| {sender} | {program} | {rate:,.0f} | {shown} | {p50:.1f} | {p99:.1f} "
            f"| {cpu:,.0f} | {share:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _run(
    program: str, measured: Measured, sender: Sender, options: argparse.Namespace, number: int
) -> Run:
    connections = options.connections if sender.checkpoints == 1 else options.batch_connections
    requests = sender.requests()
    if number == 0:
        put_load(program, measured.port, requests, connections=connections, seconds=WARM_UP_SECONDS)
    before = measured.process.cpu_seconds
    load = put_load(
        program, measured.port, requests, connections=connections, seconds=options.seconds
    )
    return _figures(measured, sender, load, measured.process.cpu_seconds - before)


def _figures(measured: Measured, sender: Sender, load: LoadFigures, cpu_seconds: float) -> Run:
    accepted = load.answers - load.refused
    is_bare = measured.name == BARE
    return Run(
        program=measured.name,
        sender=sender.name,
        requests_per_second=round(accepted / load.seconds),
        checkpoints_per_second=0
        if is_bare
        else round(accepted * sender.checkpoints / load.seconds),
        p50_ms=load.p50_us / 1000,
        p99_ms=load.p99_us / 1000,
        max_ms=load.max_us / 1000,
        cpu_us_per_request=round(cpu_seconds / max(load.answers, 1) * 1e6),
        cpu_share=round(cpu_seconds / load.seconds, 2),
        refused=load.refused,
        failed=load.failed,
        load_average=round(os.getloadavg()[0], 2),
    )


def _show(run: Run) -> Run:
    sys.stdout.buffer.write(msgspec.json.encode(run) + b"\n")
    sys.stdout.buffer.flush()
    return run
