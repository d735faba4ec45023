"""Runs contenders on a backlog, one after the other, in rounds of alternating order.

The second round runs in the opposite order (ABBA), so a slow change of the machine meets each
contender alike. Nothing reads the output while a contender runs.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from confluent_kafka import KafkaException

from bench.peers.backlog import Backlog, Placement
from bench.peers.broker import Broker, running_on
from bench.peers.contenders.contender import Contender, Delivery, Run
from bench.peers.sampling import ContenderFailed, Samples, sample_until_complete
from bench.peers.verification import Output, Verdict, read_output
from tests.support.child_process import ChildProcess
from tests.support.waiting import DeadlineExceeded

END_SECONDS: Final = 30.0
MIB: Final = 2**20
FAILURES: Final = (ContenderFailed, DeadlineExceeded, KafkaException)
"""What ends one run. The other runs go on."""


class Part(msgspec.Struct, frozen=True):
    """The figures of a part of a run. Events are input records, duplicates included."""

    events: int
    seconds: float
    cpu_seconds: float
    broker_cpu_seconds: float

    @property
    def events_per_second(self) -> float:
        """Events per second by the clock."""
        return self.events / self.seconds

    @property
    def events_per_cpu_second(self) -> float:
        """Events per second of CPU time of the contender."""
        return self.events / self.cpu_seconds


class RunFigures(msgspec.Struct, frozen=True):
    """One run of a contender."""

    contender: str
    round: int
    events: int
    distinct_ids: int
    whole: Part
    """From the first to the last event that was published."""
    second_half: Part
    """From half of the events to the last one."""
    start_seconds: float
    """From the start of the process to the first event that was published."""
    cpu_seconds_from_start: float
    peak_memory_mib: float
    written_bytes_per_event: float
    written_bytes: dict[str, int]
    """The bytes of each topic. Names begin with `*` in place of the prefix of the run."""
    verdict: Verdict
    problem: str
    load_average: float
    """Of the machine at the start. More than about 1 means that other programs were running."""


def run_rounds(
    broker: Broker,
    contenders: Sequence[Contender],
    backlogs: Mapping[Placement, Backlog],
    rounds: int,
    failures: list[str],
) -> Iterator[RunFigures]:
    """Yield the figures of each run. A run that fails is added to `failures`."""
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            print(f"round {number + 1}: {contender.name} …", file=sys.stderr, flush=True)
            try:
                yield measure(broker, contender, backlogs[contender.placement], number + 1)
            except FAILURES as error:
                print(f"{contender.name} failed: {error}", file=sys.stderr, flush=True)
                failures.append(f"{contender.name}, round {number + 1}: {error}")


def measure(broker: Broker, contender: Contender, backlog: Backlog, number: int) -> RunFigures:
    """Run a contender once, on the whole backlog."""
    every_record = contender.delivery is Delivery.EVERY_RECORD
    expected = backlog.events if every_record else backlog.distinct
    load_average = os.getloadavg()[0]
    with started_contender(broker, contender, backlog) as (run, processes):
        samples = sample_until_complete(broker, run, processes, expected)
        output = read_output(run)
    return _figures(contender, backlog, number, load_average, run, samples, output)


@contextmanager
def started_contender(
    broker: Broker, contender: Contender, backlog: Backlog
) -> Iterator[tuple[Run, list[ChildProcess]]]:
    """Start a contender on its core. At the end, stop it and delete its topics."""
    with tempfile.TemporaryDirectory(prefix="checkpoint-ready-peers-") as folder:
        run = Run(broker.cluster, backlog, Path(folder), contender.name)
        processes: list[ChildProcess] = []
        try:
            with running_on(broker.cores.contender if contender.is_pinned else broker.cores.all):
                processes += contender.start(run)
            yield run, processes
        finally:
            for process in processes:
                process.signal(signal.SIGTERM)
            for process in processes:
                process.stop(END_SECONDS)
                process.close()
            run.delete_topics()


def _figures(  # noqa: PLR0913, PLR0917 - what one run has shown
    contender: Contender,
    backlog: Backlog,
    number: int,
    load_average: float,
    run: Run,
    samples: Samples,
    output: Output,
) -> RunFigures:
    first, half, last = (output.appended_at(share) for share in (0, 0.5, 1))
    written = {name.replace(run.prefix, "*"): count for name, count in samples.written.items()}
    return RunFigures(
        contender=contender.name,
        round=number,
        events=backlog.events,
        distinct_ids=backlog.distinct,
        whole=_part(samples, output.share_after(first) * backlog.events, first, last),
        second_half=_part(samples, output.share_after(half) * backlog.events, half, last),
        start_seconds=round(first - samples.started_at, 3),
        cpu_seconds_from_start=round(samples.cpu_seconds(0, last), 2),
        peak_memory_mib=round(samples.peak_memory_bytes / MIB, 1),
        written_bytes_per_event=round(sum(written.values()) / backlog.events, 1),
        written_bytes=written,
        verdict=output.verdict,
        problem=output.verdict.problem(contender.delivery),
        load_average=round(load_average, 2),
    )


def _part(samples: Samples, events: float, begin: float, end: float) -> Part:
    return Part(
        events=round(events),
        seconds=round(max(end - begin, 0.001), 3),
        cpu_seconds=round(max(samples.cpu_seconds(begin, end), 0.001), 3),
        broker_cpu_seconds=round(samples.broker_cpu_seconds(begin, end), 3),
    )
