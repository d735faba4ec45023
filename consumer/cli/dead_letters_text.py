"""Text of dead letters for a terminal; control characters of producers are escaped."""

from typing import Any, Final

import msgspec
from rich.table import Table

from consumer.cli.tables import Columns, add_row, one_line_table
from consumer.jobs.ranges import rfc3339_ms
from consumer.jobs.redrive.dead_letters import DeadLetterCounts, list_entry, origin_text
from consumer.jobs.redrive.decider import Exclusion, RedriveCounts
from consumer.jobs.redrive.redriven_set import StoredRecord
from consumer.pipeline.printable import printable
from consumer.pipeline.records import Headers

MAX_CELL_CHARS: Final = 600
COLUMNS: Final[Columns] = (
    ("address", 9, 0),
    ("time", 24, 0),
    ("reason", 21, 0),
    ("origin", 16, 2),
    ("attempts", 8, 0),
    ("redriven", 8, 0),
    ("message", 16, 3),
)
EXCLUSION_TEXTS: Final = {
    Exclusion.FOREIGN: "not written by this service",
    Exclusion.ALREADY_REDRIVEN: "already redriven",
    Exclusion.ORIGIN_IS_NO_INPUT: "their origin is not an input topic of this group",
    Exclusion.PACKED_BATCH: "each holds a whole record batch",
    Exclusion.CUT: "truncated to fit: some original bytes are missing",
    Exclusion.TOMBSTONE: "tombstones: they have no checkpoint",
    Exclusion.CONFLICTING_DUPLICATE: "conflicting duplicates, not selected by --reason",
    Exclusion.TOO_MANY_ATTEMPTS: "failed again after --max-attempts redrives",
    Exclusion.TOO_LARGE_FOR_INPUT: "too large for the input topic with the redrive header",
}


def dead_letters_table(rows: list[dict[str, Any]], *, is_more: bool) -> Table:
    """Return the list as a table, the oldest dead letter first."""
    title = f"the first {len(rows)} dead letters: --max for more" if is_more else None
    table = one_line_table(title or f"{len(rows)} dead letters", COLUMNS)
    for row in sorted(rows, key=lambda row: str(row["time"])):
        shown = {**row, "redriven": "yes" if row["redriven"] else ""}
        if row["foreign"]:
            shown["reason"] = "(foreign)"
        cells = ("" if shown[name] is None else str(shown[name]) for name, *_ in COLUMNS)
        add_row(table, cells, MAX_CELL_CHARS)
    return table


def details(stored: StoredRecord, topic: str, *, as_hex: bool) -> dict[str, Any]:
    """Return all JSON values of a dead letter."""
    record, dead_letter = stored.record, stored.dead_letter
    key, value = _shown(record.key, as_hex=as_hex), _shown(record.value, as_hex=as_hex)
    all_headers = _header_texts(record.headers)
    if dead_letter is None:
        return {
            **list_entry(stored),
            "topic": topic,
            "headers": all_headers,
            "key": key,
            "value": value,
        }
    return {
        **list_entry(stored),
        "topic": topic,
        "stage": dead_letter.stage,
        "class": dead_letter.cause,
        "source_time": _time(dead_letter.origin.timestamp_ms),
        "origin": origin_text(dead_letter.origin),
        "redrive": dead_letter.audit and msgspec.to_builtins(dead_letter.audit),
        "whole_value": dead_letter.whole_value and msgspec.to_builtins(dead_letter.whole_value),
        "headers": all_headers,
        "key": key,
        "value": value,
    }


def details_text(shown: dict[str, Any]) -> str:
    """Return the result of `details` as text."""
    lines = [
        f"{name:<12} {printable(_plain(value))}"
        for name, value in shown.items()
        if name not in {"headers", "key", "value", "whole_value", "redrive"}
    ]
    whole = shown.get("whole_value")
    if whole:
        lines.append(
            f"{'truncated':<12} the original value had {whole['size_bytes']} bytes, "
            f"sha256 {whole['sha256']}"
        )
    if shown.get("redrive"):
        lines.append(f"{'redrive':<12} {printable(_plain(shown['redrive']))}")
    lines += [
        "headers",
        *(f"  {printable(n)}: {printable(_plain(v))}" for n, v in shown["headers"]),
    ]
    lines += ["key", printable(_plain(shown["key"])), "value", printable(_plain(shown["value"]))]
    return "\n".join(lines)


def counts_text(counted: DeadLetterCounts) -> str:
    """Return the counts as lines: number, reason, topic of origin."""
    lines = [
        f"{line['count']:>9}  {line['reason']:<22} {printable(line['origin_topic'])}"
        for line in counted.facts()
    ]
    if counted.foreign:
        lines.append(f"{counted.foreign:>9}  (foreign)")
    return "\n".join(lines)


def left_out_text(counts: RedriveCounts) -> str:
    """Return how many dead letters are left out, one line for each reason."""
    lines = [
        f"{count:>9}  {EXCLUSION_TEXTS[reason]}" for reason, count in counts.left_out.most_common()
    ]
    return "\n".join(["left out:", *lines]) if lines else ""


def _shown(content: bytes | None, *, as_hex: bool) -> str | None:
    if content is None:
        return None
    return content.hex() if as_hex else content.decode("utf-8", "backslashreplace")


def _header_texts(headers: Headers) -> list[tuple[str, str | None]]:
    # Even a name that is not UTF-8 encodes to its original bytes (kafka/client/record_format).
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
