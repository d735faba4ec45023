"""Replays and their plans as people read them, and as programs do."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer.pipeline.printable import printable_line
from consumer.pipeline.replay import ReplayCounts
from consumer.tools.replay_plan import Plan
from consumer.tools.replay_state import ReplayState
from consumer.tools.stretch import rfc3339_ms

_SECONDS_PER_MINUTE = 60


def plan_text(plan: Plan) -> str:
    """Return a plan as a table with what it comes to below."""
    table = _table("partition", "offsets", "times", "records", "events", "duplicates", "poison")
    for part in plan.partitions:
        times = (
            "-"
            if part.first_ms is None or part.last_ms is None
            else f"{rfc3339_ms(part.first_ms)} … {rfc3339_ms(part.last_ms)}"
        )
        place = f"{part.topic}/{part.partition}"
        _row(table, place, f"{part.start}…{part.end}", times, *_figures(part.counts))
    _row(table, "all", "", "", *_figures(plan.counts))
    counts = plan.counts
    made = " (it will be made)" if plan.makes_target else ""
    outcome = (
        f"{plan.published:,} events of {plan.distinct_ids:,} distinct ids to {plan.target}{made}, "
        f"as replay {plan.name}, in about {_duration(plan.estimated_seconds)}"
    )
    lines = [outcome]
    if counts.not_in_changelog:
        lines.append(
            f"{counts.not_in_changelog:,} of them are not in the changelog (never published, or "
            "out of the window) and are decided as live would decide them"
        )
    if counts.not_selected:
        lines.append(f"{counts.not_selected:,} others are not selected by the filters")
    if plan.published < counts.events:
        lines.append(f"{counts.events:,} would be without --max-events")
    if counts.too_large_for_target:
        lines.append(
            f"{counts.too_large_for_target:,} events do not fit the target's max.message.bytes and "
            "are left out: raise it first"
        )
    if counts.poison:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.poison.items())
        lines.append(f"poison, which is left where it is: {reasons}")
    if plan.gone > 0:
        lines.append(f"{plan.gone:,} published events cannot be replayed: their records are gone")
    lines.append("nothing is published yet; the same command with --execute does it")
    return "\n".join([_render(table), *lines])


def state_text(state: ReplayState) -> str:
    """Return all about a replay, a line each."""
    facts = facts_of_state(state)
    counts = facts.pop("counts")
    arguments = facts.pop("arguments")
    spans = facts.pop("spans")
    lines = {**facts, **{f"  {name}": value for name, value in counts.items()}}
    said = {f"  --{name}": value for name, value in arguments.items() if value not in (None, [])}
    places = {
        f"  {span['topic']}/{span['partition']}": f"{span['start']}…{span['end']}, "
        f"at {span['next_offset']}"
        for span in spans
    }
    every = {**lines, "options": "", **said, "range": "", **places}
    width = max(map(len, every))
    return "\n".join(f"{name:<{width}}  {_plain(value)}".rstrip() for name, value in every.items())


def describe(state: ReplayState) -> str:
    """Return in one sentence what a finished replay came to."""
    counts = state.counts
    rate = counts.records / state.busy_seconds if state.busy_seconds else 0.0
    return (
        f"replay {state.name}: {counts.events:,} events to {state.target}, of {counts.records:,} "
        f"records in {_duration(state.busy_seconds)} ({rate:,.0f} records/s)"
    )


def facts_of_state(state: ReplayState) -> dict[str, Any]:
    """Return a replay for programs: times as RFC 3339, rates, how far it is."""
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
    table = _table("replay", "state", "done", "events", "target", "started", "by", "last change")
    for state in states:
        _row(
            table,
            state.name,
            "unfinished" if state.finished_at_ms is None else "finished",
            f"{state.percent}%",
            f"{state.counts.events:,}",
            state.target,
            rfc3339_ms(state.started_at_ms),
            state.started_by,
            rfc3339_ms(state.updated_at_ms),
        )
    return _render(table)


def _figures(counts: ReplayCounts) -> Sequence[str]:
    poison = sum(counts.poison.values())
    figures = (counts.records, counts.events, counts.duplicates, poison)
    return [f"{figure:,}" for figure in figures]


def _table(*columns: str) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _row(table: Table, *cells: str) -> None:
    # Text: names are not to be taken as markup.
    table.add_row(*(Text(printable_line(cell)) for cell in cells))


def _render(table: Table) -> str:
    console = Console(color_system=None)  # plain: what is printed afterwards has no escapes
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip()


def _duration(seconds: float) -> str:
    if seconds < _SECONDS_PER_MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _SECONDS_PER_MINUTE)
    return f"{minutes} min {rest} s"


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items())
    return "" if value is None else str(value)
