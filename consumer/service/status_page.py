"""The status page: one HTML document without scripts and without external resources. Pure.

Producers choose ids and model names, so each text in the page is escaped by ``_text``.
"""

from collections.abc import Iterable
from html import escape
from typing import Final, NamedTuple

from consumer.kafka.held_back import HeldBack
from consumer.service.health import ProbeAnswer
from consumer.service.recent_activity import RecentActivity
from consumer.shard.status import ShardStatus, TaskState
from consumer.worker.engine import EngineStatus

REFRESH_SECONDS: Final = 5
MAX_CHARS: Final = 120
# A shorter time is normal: each transaction of a producer holds back later records for a moment.
HELD_BACK_SHOWN_SECONDS: Final = 10
MINUTE_SECONDS: Final = 60
HOUR_SECONDS: Final = 3600
DAY_SECONDS: Final = 86_400

STYLE: Final = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --text: #1b1f24; --soft: #5c6570;
  --line: #dde1e6; --good: #1a7f4b; --bad: #b3261e; --wait: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --card: #1d2127; --text: #e8eaed;
  --soft: #9aa3ad; --line: #343a42; --good: #5fd39a; --bad: #ff8a80; --wait: #f0c05a; } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem; background: var(--page);
  color: var(--text); font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.4rem; margin: 0 }
h2 { font-size: 1rem; margin: 0 0 .5rem }
.soft, th { color: var(--soft) }
.figures { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0 }
.figures div, section { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .75rem 1rem }
.figures div { flex: 1 1 8rem }
.figures b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums }
section { margin: 0 0 1rem; overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .75rem .3rem 0; border-top: 1px solid var(--line);
  overflow-wrap: anywhere; vertical-align: top }
thead th { border-top: 0; font-weight: 500; white-space: nowrap }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.good { color: var(--good) } .bad { color: var(--bad) } .wait { color: var(--wait) }
p { margin: .25rem 0 }
"""


class PageData(NamedTuple):
    """The data that the page shows."""

    group_id: str
    version: str
    engine: EngineStatus
    readiness: ProbeAnswer
    recent: RecentActivity


class Column(NamedTuple):
    """A column of a table; numbers are aligned right."""

    title: str
    is_number: bool = False


def render_status(status: PageData) -> str:
    """Return the page as HTML."""
    shards, recent = status.engine.shards, status.recent
    ready = status.readiness
    reasons = "" if ready.is_ok else "".join(f"<p>{_text(line)}</p>" for line in ready.lines)
    return "".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(status.group_id)} - checkpoint-ready</title>",
            f"<style>{STYLE}</style></head><body>",
            f'<h1>checkpoint-ready <span class="soft">{_text(status.version)}</span></h1>',
            f'<p class="soft">group {_text(status.group_id)}, ',
            f"up {_duration(recent.uptime_seconds)}</p>",
            f'<p class="{"good" if ready.is_ok else "bad"}">',
            f"{'ready' if ready.is_ok else 'not ready'}</p>{reasons}",
            _figures(status),
            _section("Shards", _shards(shards, recent), "This process has no shard now."),
            _section(
                "Dead letters since the process started",
                _dead_letters(recent),
                "None since this process started.",
            ),
            _section("Last ready events", _events(recent), "None since this process started."),
            "</body></html>\n",
        )
    )


def _figures(status: PageData) -> str:
    shards, recent = status.engine.shards, status.recent
    rates = [recent.rate(view.shard) for view in shards]
    lags = [view.lag for view in shards]
    lag = None if None in lags else sum(found for found in lags if found is not None)
    running = sum(view.state == TaskState.RUNNING.value for view in shards)
    figures = (
        ("shards running", f"{running} of {len(shards)}"),
        ("records per second", _decimal(sum(rate[0] for rate in rates))),
        ("events per second", _decimal(sum(rate[1] for rate in rates))),
        ("lag (records)", _integer(lag)),
        ("ids in memory", _integer(sum(view.entries for view in shards))),
    )
    cards = "".join(f"<div><b>{_text(figure)}</b>{_text(name)}</div>" for name, figure in figures)
    return f'<div class="figures">{cards}</div>'


def _shards(shards: Iterable[ShardStatus], recent: RecentActivity) -> str:
    columns = (
        Column("shard"),
        Column("state"),
        Column("lag", is_number=True),
        Column("held back", is_number=True),
        Column("ids", is_number=True),
        Column("records/s", is_number=True),
        Column("events/s", is_number=True),
    )
    rows = []
    for view in shards:
        consumed, published = recent.rate(view.shard)
        figures = (
            _integer(view.lag),
            _held_back(view.held_back),
            _integer(view.entries),
            _decimal(consumed),
            _decimal(published),
        )
        rows.append((_text(str(view.shard)), _state(view), *map(_text, figures)))
    return _table(columns, rows)


def _events(recent: RecentActivity) -> str:
    columns = (Column("id"), Column("model"), Column("shard"), Column("ago", is_number=True))
    return _table(
        columns,
        [
            (_text(event.id), _text(event.model), str(event.shard), _duration(event.seconds_ago))
            for event in recent.events
        ],
    )


def _dead_letters(recent: RecentActivity) -> str:
    columns = (Column("reason"), Column("records", is_number=True))
    return _table(
        columns,
        [(_text(reason), _integer(count)) for reason, count in recent.dead_letters.most_common()],
    )


def _held_back(held: HeldBack) -> str:
    """Return how many records open transactions hold back, and for how long.

    Return 0 if they hold the records back for less than 10 seconds.
    """
    if not held.records or held.seconds < HELD_BACK_SHOWN_SECONDS:
        return "0"
    return f"{_integer(held.records)} for {_duration(held.seconds)}"


def _state(view: ShardStatus) -> str:
    if view.state == TaskState.RUNNING.value:
        return f'<span class="good">{_text(view.state)}</span>'
    if view.hangs:
        return f'<span class="bad">{_text(view.state)}</span>: {_text(view.hangs, 1000)}'
    if view.leaderless:
        return f'<span class="bad">{_text(view.state)}</span>: {_text(view.leaderless, 1000)}'
    if view.refusal:
        return f'<span class="bad">{_text(view.state)}</span>: {_text(view.refusal, 1000)}'
    word = view.state
    if view.restore_ratio is not None and word == TaskState.RESTORING.value:
        word = f"{word} {view.restore_ratio:.0%}"
    return f'<span class="wait">{_text(word)}</span>'


def _section(title: str, table: str, if_empty: str) -> str:
    body = table or f'<p class="soft">{_text(if_empty)}</p>'
    return f"<section><h2>{_text(title)}</h2>{body}</section>"


def _table(columns: Iterable[Column], rows: list[tuple[str, ...]]) -> str:
    """Return a table as HTML, empty if there are no rows. The cells must be HTML already."""
    if not rows:
        return ""
    columns = tuple(columns)
    classes = [' class="number"' if column.is_number else "" for column in columns]
    head = "".join(
        f'<th scope="col"{kind}>{_text(column.title)}</th>'
        for column, kind in zip(columns, classes, strict=True)
    )
    lines = []
    for row in rows:
        cells = "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, classes, strict=True))
        lines.append(f"<tr>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _text(text: str, max_chars: int = MAX_CHARS) -> str:
    """Return a text as escaped HTML, cut to `max_chars`."""
    shown = text if len(text) <= max_chars else f"{text[:max_chars]}…"
    # "replace", because a lone surrogate cannot be encoded. The element bdi keeps right-to-left
    # text from moving the text around it.
    return f"<bdi>{escape(shown.encode('utf-8', 'replace').decode())}</bdi>"


def _integer(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"


def _decimal(number: float) -> str:
    return f"{number:,.1f}"


def _duration(seconds: float) -> str:
    """Return a duration in the largest unit of which it has at least one."""
    if seconds < MINUTE_SECONDS:
        return f"{seconds:.0f} s"
    if seconds < HOUR_SECONDS:
        return f"{seconds / MINUTE_SECONDS:.0f} min"
    if seconds < DAY_SECONDS:
        return f"{seconds / HOUR_SECONDS:.1f} h"
    return f"{seconds / DAY_SECONDS:.1f} d"
