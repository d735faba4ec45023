"""Samples a running contender: its CPU time, its progress, and the CPU time of the broker."""

import os
import time
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.peers.broker import Broker, WrittenBytes
from bench.peers.contenders.contender import Run
from tests.support.child_process import ChildProcess

CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")
INTERVAL_SECONDS: Final = 0.2
LOGS_EVERY: Final = 5
"""The sizes of the logs are read with every fifth sample."""
QUIET_SECONDS: Final = 2.0
"""The output is complete if it has enough records and has not grown for this time."""
START_SECONDS: Final = 90.0
STALL_SECONDS: Final = 60.0
RUN_SECONDS: Final = 3600.0


class ContenderFailed(Exception):
    """A contender has ended, or it does not publish any more. The message has its log's end."""


class Sample(NamedTuple):
    """What was seen at one time."""

    at: float
    """The wall clock (s), because the broker stamps events by it too."""
    output_records: int
    cpu_seconds: float
    broker_cpu_seconds: float


class Samples(NamedTuple):
    """The samples of one run in order, and the bytes that were written to each topic."""

    started_at: float
    samples: Sequence[Sample]
    written: dict[str, int]
    peak_memory_bytes: int

    def cpu_seconds(self, begin: float, end: float) -> float:
        """Return the CPU seconds of the contender between two times."""
        times = [sample.at for sample in self.samples]
        used = [sample.cpu_seconds for sample in self.samples]
        return interpolated(times, used, end) - interpolated(times, used, begin)

    def broker_cpu_seconds(self, begin: float, end: float) -> float:
        """Return the CPU seconds of the broker between two times."""
        times = [sample.at for sample in self.samples]
        used = [sample.broker_cpu_seconds for sample in self.samples]
        return interpolated(times, used, end) - interpolated(times, used, begin)


def sample_until_complete(
    broker: Broker, run: Run, processes: Sequence[ChildProcess], expected_records: int
) -> Samples:
    """Sample until the output has the expected number of records and does not grow any more.

    The end offsets also count the commit markers of transactions. So a contender that has stopped
    just before the end may look complete: the verification waits for its last records.

    Raises:
        ContenderFailed: it ended, did not begin in time, or stopped before the end.
    """
    started_at = time.time()
    logs = WrittenBytes(broker.data, run.backlog.topic)
    pids = [process.pid for process in processes]
    samples: list[Sample] = []
    grown_at, number = started_at, 0
    while True:
        for process in processes:
            if process.has_ended:
                raise ContenderFailed(f"a process ended ({process.exit_code}):\n{process.tail()}")
        now = time.time()
        records = sum(broker.cluster.end_offsets(run.output_topic).values())
        samples.append(
            Sample(
                now,
                records,
                sum(tree_cpu_seconds(pid) for pid in pids),
                tree_cpu_seconds(broker.pid),
            )
        )
        if records > (samples[-2].output_records if len(samples) > 1 else 0):
            grown_at = now
        if records >= expected_records and now - grown_at > QUIET_SECONDS:
            break
        patience = STALL_SECONDS if records else START_SECONDS
        if now - grown_at > patience:
            tails = "\n".join(process.tail() for process in processes)
            raise ContenderFailed(
                f"{records} of {expected_records} records, and none for {patience} s:\n{tails}"
            )
        if now - started_at > RUN_SECONDS:
            raise ContenderFailed(f"{records} of {expected_records} records in {RUN_SECONDS} s")
        number += 1
        if number % LOGS_EVERY == 0:
            logs.update()
        time.sleep(max(0.0, INTERVAL_SECONDS - (time.time() - now)))
    logs.update()
    peak = sum(process.peak_memory_bytes for process in processes)
    return Samples(started_at, samples, logs.by_topic(), peak)


def tree_cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process, all its threads, and its children."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = [
            int(child)
            for listed in Path(f"/proc/{pid}/task").glob("*/children")
            for child in listed.read_text().split()
        ]
    except FileNotFoundError:
        return 0.0
    # utime, stime, and both of the children that have ended
    own = sum(map(int, stat[11:15])) / CLOCK_TICKS
    return own + sum(tree_cpu_seconds(child) for child in children)


def interpolated(times: Sequence[float], values: Sequence[float], at: float) -> float:
    """Return the value at a time, linearly between the two samples around it."""
    index = bisect_left(times, at)
    if index == 0:
        return values[0]
    if index == len(times):
        return values[-1]
    share = (at - times[index - 1]) / (times[index] - times[index - 1])
    return values[index - 1] + share * (values[index] - values[index - 1])
