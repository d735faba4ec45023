"""The report of a run: a table by kind of fault, the figures, and what is wrong."""

from __future__ import annotations

import statistics
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tests.chaos.sasl import LoginOrder
from tests.chaos.schedule import PLANS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.fleet import Published
    from tests.chaos.run import Result
    from tests.chaos.run_history import Outcome

HEAD = ("Fault", "Times", "Failed", "Median s", "Longest pause of a shard s")
MAX_SHOWN = 20


def summary(result: Result) -> str:
    """Return the line that says it all."""
    facts = result.facts
    return (
        f"{facts['produced']:,} records, {facts['distinct_ids']:,} ids, "
        f"{len(result.outcomes)} faults in {result.fault_seconds / 60:.1f} minutes: "
        f"{facts['lost']} lost, {facts['published_twice']} published twice, "
        f"{len(result.violations)} violations"
    )


def text(result: Result) -> str:
    """Return the report for a terminal."""
    rows = [HEAD, *_rows(result)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    table = "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )
    lines = [table, ""]
    lines += [f"{name}: {value}" for name, value in _figures(result)]
    lines += _listed("ended unexpectedly and started again", result.unexpected_exits)
    lines += _listed("could not be carried out", _failures(result))
    lines += _listed("VIOLATION", result.violations)
    return "\n".join([*lines, "", summary(result)])


def markdown(result: Result) -> str:
    """Return the report for docs/reliability.md."""
    order = result.order
    options = f"--records-per-second {order.records_per_second:g}"
    if order.login != LoginOrder():
        login = order.login
        options += f" --login {login.mechanism} --reauth-seconds {login.reauth_seconds:g}"
        options += f" --token-seconds {login.token_seconds:g}" * login.has_tokens
    command = f'make chaos MINUTES={order.minutes:g} SEED={order.seed} ARGS="{options}"'
    rows = [HEAD, ("---", *["---:"] * (len(HEAD) - 1)), *_rows(result)]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    facts = "".join(f"| {name} | {value} |\n" for name, value in _figures(result))
    return (
        f"`{command}`: **{summary(result)}**\n\n{table}\n"
        f"| Figure | |\n| --- | ---: |\n{facts}"
        f"| processes that ended unexpectedly | {len(result.unexpected_exits)} |\n"
    )


def longest_pause_seconds(outcome: Outcome, published: dict[int, list[float]]) -> float:
    """Return the longest time without a ready event of some shard, that began or ended in a fault.

    Faults overlap: the pause of one is seen in the other as well.
    """
    return max(
        (
            later - sooner
            for times in published.values()
            for sooner, later in pairwise(times)
            if sooner < outcome.ended and later > outcome.began
        ),
        default=0.0,
    )


def times_by_shard(published: list[Published]) -> dict[int, list[float]]:
    """Return when each shard published, in order."""
    times: dict[int, list[float]] = {}
    for one in published:
        times.setdefault(one.shard, []).append(one.time)
    return {shard: sorted(stamps) for shard, stamps in times.items()}


def as_json(result: Result) -> dict[str, Any]:
    """Return what a program wants to know."""
    return {
        "seed": result.order.seed,
        "minutes": result.order.minutes,
        "faults": len(result.outcomes),
        "violations": len(result.violations),
        **result.facts,
    }


def _figures(result: Result) -> Iterator[tuple[str, str]]:
    for name, value in result.facts.items():
        yield name.replace("_", " "), f"{value:,}"
    times = times_by_shard(result.published).values()
    pauses = [later - sooner for stamps in times for sooner, later in pairwise(stamps)]
    yield "longest pause of a shard s", f"{max(pauses, default=0.0):.1f}"


def _rows(result: Result) -> Iterator[tuple[str, ...]]:
    times = times_by_shard(result.published)
    for kind in PLANS:
        outcomes = [one for one in result.outcomes if one.fault.kind is kind]
        if not outcomes and PLANS[kind].needs_tokens and not result.order.login.has_tokens:
            continue
        if not outcomes:
            yield (kind, "0", "0", "", "")
            continue
        failed = sum(one.error is not None for one in outcomes)
        took = statistics.median(one.ended - one.began for one in outcomes)
        pause = max(longest_pause_seconds(one, times) for one in outcomes)
        yield (kind, str(len(outcomes)), str(failed), f"{took:.1f}", f"{pause:.1f}")


def _failures(result: Result) -> list[str]:
    return [f"{one.fault.kind}: {one.error}" for one in result.outcomes if one.error is not None]


def _listed(title: str, lines: list[str]) -> list[str]:
    shown = [f"{title}: {line}" for line in lines[:MAX_SHOWN]]
    hidden = len(lines) - len(shown)
    return shown + ([f"… and {hidden} more"] if hidden > 0 else [])
