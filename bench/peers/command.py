"""The command line of the comparisons: `python -m bench peers`, `peer-latency` and `growth`."""

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from bench.peers.backlog import fill
from bench.peers.broker import Cores, all_cores, divide_cores, running_on, started_broker
from bench.peers.contenders.catalogue import (
    CONTENDERS,
    DEFAULT,
    DEFAULT_LATENCY,
    NO_CONTENDER,
    PIPELINE,
    SERVICE,
)
from bench.peers.contenders.contender import Contender
from bench.peers.contenders.python_peer import PYTHON_PEERS
from bench.peers.growth import measure_growth
from bench.peers.latency import LatencyFigures, loads, measure_latency
from bench.peers.machine import describe
from bench.peers.report import (
    Comparison,
    Latencies,
    latency_table,
    rows,
    table,
    write_document,
)
from bench.peers.sampling import ContenderFailed
from bench.peers.throughput import FAILURES, RunFigures, run_rounds
from dev.kafka_jars import LocalKafkaError
from dev.toolchains import ToolchainError, python_environment
from tests.support.child_process import ROOT

PIPELINE_EVENTS: Final = 50_000
SHORT_SECONDS: Final = 300


def main(name: str, arguments: Sequence[str]) -> None:
    """Run one of the commands. The exit code is 1 if a contender breaks what it guarantees."""
    try:
        sys.exit(COMMANDS[name](arguments))
    except (ContenderFailed, LocalKafkaError, ToolchainError) as error:
        sys.exit(f"{name}: {error}")


def peers(arguments: Sequence[str]) -> int:
    """Compare the throughput of the contenders on a backlog."""
    parser = argparse.ArgumentParser(prog="python -m bench peers", description=peers.__doc__)
    parser.add_argument("--events", type=int, default=2_000_000, help="records of the backlog")
    parser.add_argument("--rounds", type=int, default=2, help="the order alternates")
    add_contenders(parser, [*names(CONTENDERS), PIPELINE], DEFAULT)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--plot", type=Path, help="write a plot (PNG) to this file")
    parser.add_argument("--document", type=Path, help="write the table into this document")
    options = parser.parse_args(arguments)
    chosen = chosen_contenders(parser, options, CONTENDERS)
    for contender in chosen:
        contender.prepare()
    python = python_environment(PYTHON_PEERS) if options.plot else None
    cores = divide_cores()
    machine = describe(cores)
    runs: list[RunFigures] = []
    failures: list[str] = []
    with started_broker(cores) as broker:
        placements = {contender.placement for contender in chosen}
        backlogs = {one: fill(broker.cluster, options.events, one) for one in placements}
        for figures in run_rounds(broker, chosen, backlogs, options.rounds, failures):
            show(figures)
            runs.append(figures)
        pipeline = _pipeline(broker.cores, options.events) if PIPELINE in options.contenders else {}
    comparison = Comparison(
        machine=machine,
        measured_at=today(),
        events=options.events,
        distinct_ids=max(backlog.distinct for backlog in backlogs.values()),
        rounds=options.rounds,
        rows=rows(chosen, runs),
        pipeline=pipeline,
        failures=failures,
        runs=runs,
    )
    if not runs:
        raise ContenderFailed("no run has given figures")
    if options.json:
        write_json(comparison, options.json)
    if python is not None:
        _draw(python, comparison, options.plot)
    if options.document:
        write_document(table(comparison), options.document)
    print(table(comparison).text, end="")
    return int(bool(failures) or any(row.problems for row in comparison.rows))


def peer_latency(arguments: Sequence[str]) -> int:
    """Compare the latency of the contenders that have transactions, end to end."""
    parser = argparse.ArgumentParser(
        prog="python -m bench peer-latency", description=peer_latency.__doc__
    )
    known = (NO_CONTENDER, *CONTENDERS)
    add_contenders(parser, names(known), DEFAULT_LATENCY)
    parser.add_argument("--rounds", type=int, default=1, help="the order alternates")
    parser.add_argument(
        "--rates", type=int, nargs="+", default=[0, 10, 1_000, 10_000], help="0: single events"
    )
    parser.add_argument("--seconds", type=float, default=20, help="duration of each stream (s)")
    parser.add_argument("--single-events", type=int, default=100, help="events of the rate 0")
    parser.add_argument("--warm-up", type=float, default=20, help="duration of the warm-up (s)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--document", type=Path, help="write the table into this document")
    options = parser.parse_args(arguments)
    chosen = chosen_contenders(parser, options, known)
    for contender in chosen:
        contender.prepare()
    cores = all_cores()
    machine = describe(cores)
    streams = loads(options.rates, options.seconds, options.single_events)
    figures: list[LatencyFigures] = []
    failures: list[str] = []
    with started_broker(cores) as broker:
        for number in range(options.rounds):
            for contender in chosen if number % 2 == 0 else reversed(chosen):
                print(f"round {number + 1}: {contender.name} …", file=sys.stderr, flush=True)
                try:
                    for found in measure_latency(
                        broker, contender, streams, warm_up_seconds=options.warm_up
                    ):
                        show(found)
                        figures.append(found)
                except FAILURES as error:
                    print(f"{contender.name} failed: {error}", file=sys.stderr, flush=True)
                    failures.append(f"{contender.name}, round {number + 1}: {error}")
    latencies = Latencies(
        machine=machine,
        measured_at=today(),
        rounds=options.rounds,
        titles={contender.name: contender.title for contender in chosen},
        failures=failures,
        figures=figures,
    )
    if options.json:
        write_json(latencies, options.json)
    if options.document:
        write_document(latency_table(latencies), options.document)
    print(latency_table(latencies).text, end="")
    return int(bool(failures) or any(found.missing or found.repeated for found in figures))


def growth(arguments: Sequence[str]) -> int:
    """Measure this service with ids in memory before the first event."""
    parser = argparse.ArgumentParser(prog="python -m bench growth", description=growth.__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="records of the backlog")
    parser.add_argument(
        "--ids", type=int, nargs="+", default=[0, 1_000_000, 10_000_000], help="ids in memory"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args(arguments)
    figures = []
    with started_broker(divide_cores()) as broker:
        for found in measure_growth(broker, options.ids, options.events):
            show(found)
            figures.append(found)
    if options.json:
        write_json(figures, options.json)
    return int(any(found.run.problem for found in figures))


def names(contenders: Iterable[Contender]) -> list[str]:
    """Return the names of contenders."""
    return [contender.name for contender in contenders]


def add_contenders(
    parser: argparse.ArgumentParser, known: Sequence[str], default: Sequence[str]
) -> None:
    """Add the options that choose contenders."""
    parser.add_argument(
        "--contenders",
        nargs="+",
        default=list(default),
        choices=known,
        metavar="NAME",
        help=f"known: {', '.join(known)}; default: {' '.join(default)}",
    )
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="NAME:SETTING=VALUE,…",
        help="one more contender: this service with other settings, named service-NAME",
    )


def chosen_contenders(
    parser: argparse.ArgumentParser, options: argparse.Namespace, known: Iterable[Contender]
) -> list[Contender]:
    """Return the contenders that the options name."""
    chosen = [one for one in known if one.name in options.contenders]
    for text in options.variant:
        name, colon, listed = text.partition(":")
        pairs = [setting.partition("=") for setting in listed.split(",")]
        if not (name and colon and all(setting and equals for setting, equals, _ in pairs)):
            parser.error(f"--variant {text}: expected NAME:SETTING=VALUE,…")
        settings = {setting: value for setting, _, value in pairs}
        title = f"{SERVICE.title}, {listed.replace(',', ', ')}"
        chosen.append(replace(SERVICE, name=f"service-{name}", title=title, settings=settings))
    return chosen


def today() -> str:
    """Return the date in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


def write_json(figures: object, file: Path) -> None:
    """Write all figures to a file."""
    file.write_bytes(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")


def show(figures: msgspec.Struct) -> None:
    """Print one measurement as a JSON line."""
    sys.stdout.buffer.write(msgspec.json.encode(figures) + b"\n")
    sys.stdout.buffer.flush()


def _pipeline(cores: Cores, events: int) -> dict[str, str | float]:
    """Measure the pipeline without Kafka, on the core of the contenders."""
    command = [sys.executable, "-m", "bench.peers.programs.pipeline"]
    with running_on(cores.contender):
        done = subprocess.run(
            [*command, str(min(events, PIPELINE_EVENTS))],
            cwd=ROOT,
            capture_output=True,
            timeout=SHORT_SECONDS,
            check=True,
        )
    return msgspec.json.decode(done.stdout, type=dict[str, str | float])


def _draw(python: Path, comparison: Comparison, image: Path) -> None:
    """Draw the plot by the environment that has matplotlib."""
    with contextlib.ExitStack() as stack:
        figures = image.with_suffix(".figures.json")
        stack.callback(figures.unlink, missing_ok=True)
        figures.write_bytes(msgspec.json.encode(comparison))
        done = subprocess.run(
            [str(python), "-m", "bench.peers.plot", str(figures.resolve()), str(image.resolve())],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=SHORT_SECONDS,
            check=False,
        )
    if done.returncode != 0:
        raise ToolchainError(f"the plot could not be drawn:\n{done.stderr[-2000:]}")


COMMANDS: Final[dict[str, Callable[[Sequence[str]], int]]] = {
    "peers": peers,
    "peer-latency": peer_latency,
    "growth": growth,
}
