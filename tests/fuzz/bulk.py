"""Poison in bulk: so many mutants through the pipeline, each outcome compared with the oracle's."""

import time
from collections import Counter
from typing import Final, NamedTuple

from tests.builders import shard_settings
from tests.fuzz.budget import Slowest, as_in_the_service
from tests.fuzz.judge import Shard
from tests.fuzz.mutate import Mutator

_ROUND: Final = 256
"""Records that share a memory; more would make nearly all of them duplicates or conflicts."""
_BATCH: Final = 64
_TIGHT: Final = shard_settings(max_bytes=1600, dead_letter_max_bytes=6000)
_SHARDS: Final = 3


class Outcome(NamedTuple):
    """How the records of a run ended."""

    counts: Counter[str]
    seconds: float
    slowest: Slowest

    @property
    def payloads(self) -> int:
        """How many records there were; a forwarded one counts where it arrives."""
        return self.counts.total() - self.counts["forwarded"]

    def describe(self) -> str:
        """Return a table of outcomes and the pace."""
        rows = [f"{name:24}{count:>12,}" for name, count in self.counts.most_common()]
        pace = self.payloads / self.seconds
        rows.append(f"{self.payloads:,} payloads in {self.seconds:.1f} s, {pace:,.0f} payloads/s")
        rows.append(self.slowest.describe())
        return "\n".join(rows)


def run(payloads: int, seed: int) -> Outcome:
    """Judge this number of mutants.

    Raises:
        Disagreement: the first one that is decided wrongly.
        TooSlow: the first one over its budget of processor time.
    """
    mutator = Mutator(seed)
    counts: Counter[str] = Counter()
    began = time.perf_counter()
    offset, slowest = 0, Slowest()
    with as_in_the_service():
        while offset < payloads:
            size = min(_ROUND, payloads - offset)
            outcomes, slowest_of_round = _round(mutator, offset, size)
            counts += outcomes
            slowest = max(slowest, slowest_of_round)
            offset += size
    return Outcome(counts, time.perf_counter() - began, slowest)


def _round(mutator: Mutator, first: int, size: int) -> tuple[Counter[str], Slowest]:
    """Judge records that share one memory: as one shard, with tight topics, or as three shards."""
    kind = first // _ROUND % 8
    if kind == 0:
        shards = [Shard(shard_settings(shard=n, shards=_SHARDS)) for n in range(_SHARDS)]
    elif kind == 1:
        shards = [Shard(_TIGHT)]
    else:
        shards = [Shard()]
    counts: Counter[str] = Counter()
    for start in range(first, first + size, _BATCH):
        records = [mutator.record(at) for at in range(start, min(start + _BATCH, first + size))]
        reader = shards[start // _BATCH % len(shards)]
        outcomes, forwards = reader.judge(records)
        counts += outcomes
        for shard in shards:
            arrived = [sent.record for sent in forwards if sent.shard == shard.settings.shard]
            counts += shard.judge(arrived, forwarded=True)[0]
    return counts, max(shard.slowest for shard in shards)
