"""Dead letters as people read them: whatever a producer sent cannot move their terminal."""

from typing import Any, Final

import msgspec
from rich.table import Table
from rich.text import Text

from consumer.pipeline.printable import printable, printable_line
from consumer.pipeline.records import Headers
from consumer.tools.dead_letters import Counted, Found, place, summary
from consumer.tools.redrive_plan import LeftOut, Tally
from consumer.tools.stretch import rfc3339_ms

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


def left_out_text(tally: Tally) -> str:
    """Return what is left out and why, a line for each cause."""
    lines = [f"{count:>9}  {CAUSES[cause]}" for cause, count in tally.left_out.most_common()]
    return "\n".join(["left out:", *lines]) if lines else ""


def _shown(content: bytes | None, *, as_hex: bool) -> str | None:
    if content is None:
        return None
    return content.hex() if as_hex else content.decode("utf-8", "backslashreplace")


def _header_texts(headers: Headers) -> list[tuple[str, str | None]]:
    # A name that is no UTF-8 encodes to its own bytes (engine/kafka/raw_headers).
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
