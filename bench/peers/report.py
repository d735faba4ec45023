"""Reports a comparison: medians, spread and ratios, as JSON and as tables of a document.

`python -m bench.peers.report docs/peers.json docs/peer-latency.json docs/performance.md` writes the
tables again.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from bench.peers.backlog import Placement
from bench.peers.contenders.catalogue import REFERENCES
from bench.peers.contenders.contender import Contender
from bench.peers.latency import LatencyFigures
from bench.peers.throughput import RunFigures
from dev.marked_table import MarkedTable, markdown

COMMAND: Final = (
    "python -m bench.peers.report docs/peers.json docs/peer-latency.json docs/performance.md"
)
THOUSAND: Final = 1000
MILLION: Final = 1_000_000
METRICS: Final[dict[str, Callable[[RunFigures], float]]] = {
    "second_half_events_per_second": lambda run: run.second_half.events_per_second,
    "second_half_events_per_cpu_second": lambda run: run.second_half.events_per_cpu_second,
    "whole_events_per_second": lambda run: run.whole.events_per_second,
    "whole_events_per_cpu_second": lambda run: run.whole.events_per_cpu_second,
    "cpu_seconds_per_million_events": lambda run: MILLION / run.whole.events_per_cpu_second,
    "broker_cpu_seconds_per_million_events": lambda run: (
        run.whole.broker_cpu_seconds / run.events * MILLION
    ),
    "start_seconds": lambda run: run.start_seconds,
    "peak_memory_mib": lambda run: run.peak_memory_mib,
    "written_bytes_per_event": lambda run: run.written_bytes_per_event,
}


class Spread(msgspec.Struct, frozen=True):
    """A figure over all rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(*(round(one, 2) for one in (median(values), min(values), max(values))))


class Row(msgspec.Struct, frozen=True):
    """The figures of one contender over all rounds, and what it guarantees."""

    contender: str
    title: str
    guarantees: str
    placement: str
    figures: dict[str, Spread]
    ratio_wall: float | None
    """The second half by the clock, as a multiple of the better Kafka Streams of this placement."""
    ratio_cpu: float | None
    """The same for events per CPU second."""
    problems: list[str]


class Machine(msgspec.Struct, frozen=True):
    """Where and with what it was measured."""

    processor: str
    cores: int
    pinned: str
    system: str
    python: str
    java: str
    kafka: str
    commit: str
    load_average: float
    """Before the first run. More than about 0.5 means that other programs were running."""


class Comparison(msgspec.Struct, frozen=True):
    """Everything that a comparison has measured."""

    machine: Machine
    measured_at: str
    events: int
    distinct_ids: int
    rounds: int
    rows: list[Row]
    pipeline: dict[str, str | float]
    """The limit without Kafka; empty if it was not measured."""
    failures: list[str]
    """Runs that gave no figures, each with the reason."""
    runs: list[RunFigures]


class Latencies(msgspec.Struct, frozen=True):
    """All latencies of the contenders."""

    machine: Machine
    measured_at: str
    rounds: int
    titles: dict[str, str]
    failures: list[str]
    figures: list[LatencyFigures]


def rows(contenders: Iterable[Contender], runs: Sequence[RunFigures]) -> list[Row]:
    """Return the row of each contender that has run."""
    measured = [one for one in contenders if any(run.contender == one.name for run in runs)]
    figures = {
        one.name: {
            metric: Spread.of([of(run) for run in runs if run.contender == one.name])
            for metric, of in METRICS.items()
        }
        for one in measured
    }
    wall, cpu = (
        {name: found[metric].median for name, found in figures.items()}
        for metric in ("second_half_events_per_second", "second_half_events_per_cpu_second")
    )
    return [
        Row(
            contender=one.name,
            title=one.title,
            guarantees=one.guarantees,
            placement=one.placement.value,
            figures=figures[one.name],
            ratio_wall=_ratio(wall, one.name, one.placement),
            ratio_cpu=_ratio(cpu, one.name, one.placement),
            problems=[run.problem for run in runs if run.contender == one.name and run.problem],
        )
        for one in measured
    ]


def _ratio(figures: dict[str, float], name: str, placement: Placement) -> float | None:
    """Return the figure as a multiple of the better one of the two Kafka Streams contenders."""
    references = [figures[one] for one in REFERENCES[placement] if one in figures]
    return round(figures[name] / max(references), 2) if references else None


def table(comparison: Comparison) -> MarkedTable:
    """Return the table of a document."""
    head = (
        "Contender",
        "Guarantees",
        "Second half, thousand events/s",
        "…per CPU second",
        "Times Kafka Streams: clock, CPU",
        "Whole run, thousand events/s",
        "CPU s per million events, of the broker",
        "Peak memory, MiB",
        "Bytes written per event",
    )
    body = [
        (
            row.title,
            row.guarantees + "".join(f"; **{problem}**" for problem in row.problems),
            _thousands(row.figures["second_half_events_per_second"]),
            _thousands(row.figures["second_half_events_per_cpu_second"]),
            ", ".join(f"{one:.2f}" for one in (row.ratio_wall, row.ratio_cpu) if one is not None),
            _thousands(row.figures["whole_events_per_second"]),
            (
                f"{row.figures['cpu_seconds_per_million_events'].median:.1f}, "
                f"{row.figures['broker_cpu_seconds_per_million_events'].median:.1f}"
            ),
            f"{row.figures['peak_memory_mib'].median:,.0f}",
            f"{row.figures['written_bytes_per_event'].median:,.0f}",
        )
        for row in comparison.rows
    ]
    if comparison.pipeline:
        rate = f"{float(comparison.pipeline['events_per_second']) / THOUSAND:.1f}"
        body.append(
            ("limit: the pipeline in memory", "nothing: no Kafka", "", rate, "", "", "", "", "")
        )
    return MarkedTable(
        "figures of the peers", COMMAND, f"{_line(comparison)}\n\n{markdown(head, body)}"
    )


def _line(comparison: Comparison) -> str:
    return (
        f"Measured {comparison.measured_at} with "
        f"{comparison.events:,} records of {comparison.distinct_ids:,} ids, "
        f"{comparison.rounds} rounds: the median, and the lowest and highest of the rounds. "
        f"{_place(comparison.machine)}"
    )


def _place(machine: Machine) -> str:
    return (
        f"{machine.processor}, {machine.cores} cores, {machine.pinned}. {machine.system}, "
        f"Python {machine.python}, Java {machine.java}, Kafka {machine.kafka}, "
        f"commit `{machine.commit}`. Load average before the first run: {machine.load_average:.1f}."
    )


def _thousands(spread: Spread) -> str:
    middle, least, most = (
        f"{one / THOUSAND:.1f}" for one in (spread.median, spread.least, spread.most)
    )
    return middle if least == most else f"{middle} ({least} to {most})"


def latency_table(latencies: Latencies) -> MarkedTable:
    """Return the table of latencies: a row for each contender, a column for each rate."""
    rates = sorted({found.rate for found in latencies.figures})
    head = ("Contender", *(f"{rate:,} events/s" if rate else "single events" for rate in rates))
    body = [
        (
            title,
            *(
                _percentiles(
                    [
                        found
                        for found in latencies.figures
                        if (found.contender, found.rate) == (name, rate)
                    ]
                )
                for rate in rates
            ),
        )
        for name, title in latencies.titles.items()
    ]
    rounds = f"{latencies.rounds} rounds, the median" if latencies.rounds > 1 else "one round"
    text = (
        "Milliseconds from the producer's call to a read_committed subscriber: p50, p99, p99.9. "
        f"Measured {latencies.measured_at}, {rounds}. {_place(latencies.machine)}\n\n"
        f"{markdown(head, body)}"
    )
    return MarkedTable("latencies of the peers", COMMAND, text)


def _percentiles(rounds: Sequence[LatencyFigures]) -> str:
    if not rounds:
        return ""
    shown = ", ".join(
        f"{median(values):,.1f}"
        for values in zip(*((one.p50_ms, one.p99_ms, one.p999_ms) for one in rounds), strict=True)
    )
    missing, events = sum(one.missing for one in rounds), sum(one.events for one in rounds)
    return f"{shown}; **{missing} of {events} missing**" if missing else shown


def write_document(marked: MarkedTable, document: Path) -> None:
    """Write a table into a document, between its two comment lines."""
    document.write_text(marked.within(document.read_text()))


def main() -> None:
    """Write the tables of the stored figures into a document."""
    figures, latencies, document = map(Path, sys.argv[1:])
    write_document(table(msgspec.json.decode(figures.read_bytes(), type=Comparison)), document)
    write_document(
        latency_table(msgspec.json.decode(latencies.read_bytes(), type=Latencies)), document
    )


if __name__ == "__main__":
    main()
