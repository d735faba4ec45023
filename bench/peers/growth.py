"""Measures this service on a backlog with many ids in its memory already."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.peers.backlog import PARTITIONS, Placement, fill
from bench.peers.broker import Broker
from bench.peers.contenders.catalogue import SERVICE
from bench.peers.contenders.contender import Run
from bench.peers.contenders.service import Service, variables
from bench.peers.sampling import ContenderFailed
from bench.peers.throughput import MIB, RunFigures, measure
from bench.restore import fill_changelog
from tests.support.child_process import ChildProcess
from tests.support.command_line import run_command


class GrowthFigures(msgspec.Struct, frozen=True):
    """A run that began with this number of ids in memory."""

    ids: int
    memory_bytes_per_id: float | None
    """The peak beyond that of the run without ids, for each id; None without such a run."""
    run: RunFigures


@dataclass(frozen=True, kw_only=True)
class FilledService(Service):
    """The service on a changelog that has ids already. It restores them at its start."""

    ids: int

    def start(self, run: Run) -> list[ChildProcess]:
        """Fill the changelog, and start the process."""
        settings: dict[str, Any] = variables(run)
        done = run_command("topics", "create", **settings)
        if done.exit_code:
            raise ContenderFailed(f"the topics could not be created:\n{done.stderr}")
        fill_changelog(run.cluster, run.group, run.backlog.topic, ids=self.ids, shards=PARTITIONS)
        return super().start(run)


def measure_growth(broker: Broker, ids: Sequence[int], events: int) -> Iterator[GrowthFigures]:
    """Yield the figures for each number of ids. The backlog has none of these ids."""
    bare_mib: float | None = None
    backlog = fill(broker.cluster, events, Placement.KEYED, first_number=max(ids))
    for count in ids:
        contender = FilledService(
            name=f"service-{count}-ids",
            title=f"checkpoint-ready with {count:,} ids in memory",
            guarantees=SERVICE.guarantees,
            ids=count,
        )
        found = measure(broker, contender, backlog, 1)
        if not count:
            bare_mib = found.peak_memory_mib
        per_id = None
        if count and bare_mib is not None:
            per_id = round((found.peak_memory_mib - bare_mib) * MIB / count, 1)
        yield GrowthFigures(count, per_id, found)
