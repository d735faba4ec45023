"""Dead letters as people read them: whatever a producer sent cannot move their terminal."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer.jobs.ranges import rfc3339_ms
from consumer.jobs.redrive.plan import LeftOut, RedriveCounts
from consumer.jobs.redrive.selection import Counted, Found, place, summary
from consumer.jobs.replay.plan import Plan
from consumer.jobs.replay.state import ReplayState
from consumer.pipeline.printable import printable, printable_line
from consumer.pipeline.records import Headers
from consumer.pipeline.replay_decider import ReplayCounts

# rich measures a cell character by character, and a forged dead letter may hold a megabyte.
MAX_CELL_CHARS: Final = 600
COLUMNS: Final = (  # name, least width, share of what is left
    ("address", 9, 0),
    ("time", 24, 0),
    ("reason", 21, 0),
    ("origin", 16, 2),
    ("attempts", 8, 0),
    ("redriven", 8, 0),
    ("message", 16, 3),
)
CAUSES: Final = {
    LeftOut.FOREIGN: "not written by this service",
    LeftOut.ALREADY_REDRIVEN: "put back before",
    LeftOut.ORIGIN_IS_NO_INPUT: "their origin is no input of this group",
    LeftOut.PACKED_BATCH: "they stand for a whole compressed batch",
    LeftOut.CUT: "cut to fit: the original bytes are not all there",
    LeftOut.TOMBSTONE: "tombstones: there is no checkpoint in them",
    LeftOut.CONFLICTING_DUPLICATE: "conflicting duplicates, not asked for",
    LeftOut.TOO_MANY_ATTEMPTS: "failed again --max-attempts times",
    LeftOut.TOO_LARGE_FOR_INPUT: "too large for the input with the audit header",
}


def letters_table(rows: list[dict[str, Any]], *, is_more: bool) -> Table:
    """Return the list as a table, oldest first."""
    title = f"the first {len(rows)} dead letters: --max for more" if is_more else None
    table = Table(title=title or f"{len(rows)} dead letters", expand=True)
    for name, least_width, share in COLUMNS:
        table.add_column(
            name, min_width=least_width, ratio=share or None, overflow="ellipsis", no_wrap=True
        )
    for row in sorted(rows, key=lambda row: str(row["time"])):
        shown = {**row, "redriven": "yes" if row["redriven"] else ""}
        if row["foreign"]:
            shown["reason"] = "(foreign)"
        cells = ("" if shown[name] is None else str(shown[name]) for name, *_ in COLUMNS)
        cells = (printable_line(cell[:MAX_CELL_CHARS]) for cell in cells)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def details(found: Found, topic: str, *, as_hex: bool) -> dict[str, Any]:
    """Return all that is known of a dead letter."""
    record, letter = found.record, found.letter
    key, value = _shown(record.key, as_hex=as_hex), _shown(record.value, as_hex=as_hex)
    all_headers = _header_texts(record.headers)
    if letter is None:
        return {
            **summary(found),
            "topic": topic,
            "headers": all_headers,
            "key": key,
            "value": value,
        }
    return {
        **summary(found),
        "topic": topic,
        "stage": letter.stage,
        "class": letter.cause,
        "source_time": _time(letter.origin.timestamp_ms),
        "origin": place(letter.origin),
        "redrive": letter.audit and msgspec.to_builtins(letter.audit),
        "whole_value": letter.whole_value and msgspec.to_builtins(letter.whole_value),
        "headers": all_headers,
        "key": key,
        "value": value,
    }


def details_text(shown: dict[str, Any]) -> str:
    """Return the same for a person."""
    lines = [
        f"{name:<12} {printable(_plain(value))}"
        for name, value in shown.items()
        if name not in {"headers", "key", "value", "whole_value", "redrive"}
    ]
    whole = shown.get("whole_value")
    if whole:
        lines.append(
            f"{'cut':<12} the whole value had {whole['size_bytes']} bytes, sha256 {whole['sha256']}"
        )
    if shown.get("redrive"):
        lines.append(f"{'redrive':<12} {printable(_plain(shown['redrive']))}")
    lines += [
        "headers",
        *(f"  {printable(n)}: {printable(_plain(v))}" for n, v in shown["headers"]),
    ]
    lines += ["key", printable(_plain(shown["key"])), "value", printable(_plain(shown["value"]))]
    return "\n".join(lines)


def counts_text(counted: Counted) -> str:
    """Return counts by reason and topic, a line each."""
    lines = [
        f"{line['count']:>9}  {line['reason']:<22} {printable(line['origin_topic'])}"
        for line in counted.facts()
    ]
    if counted.foreign:
        lines.append(f"{counted.foreign:>9}  (foreign)")
    return "\n".join(lines)


def left_out_text(counts: RedriveCounts) -> str:
    """Return what is left out and why, a line for each cause."""
    lines = [f"{count:>9}  {CAUSES[cause]}" for cause, count in counts.left_out.most_common()]
    return "\n".join(["left out:", *lines]) if lines else ""


def _shown(content: bytes | None, *, as_hex: bool) -> str | None:
    if content is None:
        return None
    return content.hex() if as_hex else content.decode("utf-8", "backslashreplace")


def _header_texts(headers: Headers) -> list[tuple[str, str | None]]:
    # A name that is no UTF-8 encodes to its own bytes (kafka/client/record_format).
    return [
        (name.encode().decode("utf-8", "backslashreplace"), _shown(value, as_hex=False))
        for name, value in headers
    ]


def _time(timestamp_ms: int) -> str | None:
    return None if timestamp_ms < 0 else rfc3339_ms(timestamp_ms)


def _plain(value: object) -> str:
    if value is None:
        return "(null)"
    if isinstance(value, dict):
        return ", ".join(f"{name}={content}" for name, content in value.items())
    return str(value)


# Replays and their plans as people read them, and as programs do.

_SECONDS_PER_MINUTE = 60


def plan_text(plan: Plan) -> str:
    """Return a plan as a table with what it comes to below."""
    table = _table("partition", "offsets", "times", "records", "events", "duplicates", "invalid")
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
    if counts.invalid:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.invalid.items())
        lines.append(f"invalid records, skipped: {reasons}")
    if plan.gone > 0:
        lines.append(f"{plan.gone:,} published events cannot be replayed: their records are gone")
    lines.append("nothing is published yet; the same command with --execute does it")
    return "\n".join([_render(table), *lines])


def state_text(state: ReplayState) -> str:
    """Return all about a replay, a line each."""
    facts = facts_of_state(state)
    counts = facts.pop("counts")
    arguments = facts.pop("arguments")
    ranges = facts.pop("ranges")
    lines = {**facts, **{f"  {name}": value for name, value in counts.items()}}
    said = {f"  --{name}": value for name, value in arguments.items() if value not in (None, [])}
    places = {
        f"  {part['topic']}/{part['partition']}": f"{part['start']}…{part['end']}, "
        f"at {part['next_offset']}"
        for part in ranges
    }
    every = {**lines, "options": "", **said, "range": "", **places}
    width = max(map(len, every))
    return "\n".join(
        f"{name:<{width}}  {_plain_cell(value)}".rstrip() for name, value in every.items()
    )


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
    poison = sum(counts.invalid.values())
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


def _plain_cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items())
    return "" if value is None else str(value)
