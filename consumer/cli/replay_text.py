"""Text of replays and their plans for a terminal, and their JSON values for programs."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from consumer.cli.tables import add_row, folded_table
from consumer.jobs.ranges import rfc3339_ms
from consumer.jobs.replay.plan import Plan
from consumer.jobs.replay.state import ReplayState
from consumer.pipeline.replay_decider import ReplayCounts

_SECONDS_PER_MINUTE = 60


def plan_text(plan: Plan) -> str:
    """Return a plan as a table, and its totals as lines after it."""
    table = folded_table(
        "partition", "offsets", "times", "records", "events", "duplicates", "invalid"
    )
    for part in plan.partitions:
        times = (
            "-"
            if part.first_ms is None or part.last_ms is None
            else f"{rfc3339_ms(part.first_ms)} … {rfc3339_ms(part.last_ms)}"
        )
        name = f"{part.topic}/{part.partition}"
        add_row(table, (name, f"{part.start}…{part.end}", times, *_figures(part.counts)))
    add_row(table, ("all", "", "", *_figures(plan.counts)))
    counts = plan.counts
    made = " (it will be created)" if plan.makes_target else ""
    outcome = (
        f"{plan.published:,} events of {plan.distinct_ids:,} distinct ids to {plan.target}{made}, "
        f"as replay {plan.name}, in about {_duration(plan.estimated_seconds)}"
    )
    lines = [outcome]
    if counts.not_in_changelog:
        lines.append(
            f"{counts.not_in_changelog:,} of them are not in the changelog (never published, or "
            "outside of the dedup window); the first valid record of each id is published"
        )
    if counts.not_selected:
        lines.append(f"the filters exclude {counts.not_selected:,} other events")
    if plan.published < counts.events:
        lines.append(f"without --max-events there would be {counts.events:,} events")
    if counts.too_large_for_target:
        lines.append(
            f"{counts.too_large_for_target:,} events exceed the target's max.message.bytes and are "
            "left out: raise this limit first"
        )
    if counts.invalid:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.invalid.items())
        lines.append(f"invalid records, which are not replayed: {reasons}")
    if plan.gone > 0:
        lines.append(
            f"{plan.gone:,} published events cannot be replayed: their source records are deleted"
        )
    lines.append("nothing was published; add --execute to publish")
    return "\n".join([_render(table), *lines])


def state_text(state: ReplayState) -> str:
    """Return the state of a replay as lines."""
    facts = facts_of_state(state)
    counts = facts.pop("counts")
    arguments = facts.pop("arguments")
    ranges = facts.pop("ranges")
    lines = {**facts, **{f"  {name}": value for name, value in counts.items()}}
    options = {f"  --{name}": value for name, value in arguments.items() if value not in (None, [])}
    offsets = {
        f"  {part['topic']}/{part['partition']}": f"{part['start']}…{part['end']}, "
        f"next {part['next_offset']}"
        for part in ranges
    }
    every = {**lines, "options": "", **options, "range": "", **offsets}
    width = max(map(len, every))
    return "\n".join(
        f"{name:<{width}}  {_plain_cell(value)}".rstrip() for name, value in every.items()
    )


def result_text(state: ReplayState) -> str:
    """Return the result of a finished replay in one sentence."""
    counts = state.counts
    rate = counts.records / state.busy_seconds if state.busy_seconds else 0.0
    return (
        f"replay {state.name}: {counts.events:,} events to {state.target}, of {counts.records:,} "
        f"records in {_duration(state.busy_seconds)} ({rate:,.0f} records/s)"
    )


def facts_of_state(state: ReplayState) -> dict[str, Any]:
    """Return the JSON values of a replay: times in RFC 3339, rates, percent."""
    facts: dict[str, Any] = msgspec.to_builtins(state)
    for name in ("started_at", "updated_at", "finished_at", "from", "to"):
        time_ms = facts.pop(f"{name}_ms")
        facts[name] = None if time_ms is None else rfc3339_ms(time_ms)
    del facts["version"], facts["changelog_ends"]
    busy = state.busy_seconds
    facts["busy_seconds"] = round(busy, 3)
    facts["state"] = "unfinished" if state.finished_at_ms is None else "finished"
    facts["percent"] = state.percent
    facts["events_per_second"] = round(state.counts.events / busy) if busy else None
    facts["records_per_second"] = round(state.counts.records / busy) if busy else None
    return facts


def states_table(states: Iterable[ReplayState]) -> str:
    """Return the replays as a table."""
    table = folded_table(
        "replay", "state", "done", "events", "target", "started", "by", "last change"
    )
    for state in states:
        cells = (
            state.name,
            "unfinished" if state.finished_at_ms is None else "finished",
            f"{state.percent}%",
            f"{state.counts.events:,}",
            state.target,
            rfc3339_ms(state.started_at_ms),
            state.started_by,
            rfc3339_ms(state.updated_at_ms),
        )
        add_row(table, cells)
    return _render(table)


def _figures(counts: ReplayCounts) -> Sequence[str]:
    invalid = sum(counts.invalid.values())
    figures = (counts.records, counts.events, counts.duplicates, invalid)
    return [f"{figure:,}" for figure in figures]


def _render(table: Table) -> str:
    console = Console(color_system=None)  # plain: the captured text has no escape sequences
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip()


def _duration(seconds: float) -> str:
    if seconds < _SECONDS_PER_MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _SECONDS_PER_MINUTE)
    return f"{minutes} min {rest} s"


def _plain_cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items())
    return "" if value is None else str(value)
