"""Shows the demo: a live table on a terminal, otherwise a limited number of lines."""

from __future__ import annotations

import json
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from consumer.pipeline.printable import printable_line

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_ROWS = 12
MAX_EVENT_LINES = 20
EVENT_LINE_SECONDS = 0.3
PROGRESS_LINE_SECONDS = 1.0
# Name, minimum width, and share of the remaining width.
COLUMNS = (
    ("created", 20, None),
    ("job", 8, 2),
    ("step", 6, None),
    ("model", 12, 4),
    ("loss", 7, None),
    ("id", 8, 2),
)


class Progress(NamedTuple):
    """The progress of the run."""

    produced: int
    planned: int
    ready: int
    ready_expected: int
    dead_letters: int
    dead_letters_expected: int
    requests: int
    requests_planned: int
    listed: int
    processes: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """Return the progress as one line."""
        processes = ", ".join(f"{name} {state}" for name, state in self.processes)
        return (
            f"produced {self.produced:,}/{self.planned:,} · "
            f"requests {self.requests}/{self.requests_planned} · listed {self.listed} · "
            f"ready {self.ready:,}/{self.ready_expected:,} · "
            f"dead letters {self.dead_letters:,}/{self.dead_letters_expected:,} · {processes}"
        )


class Display:
    """Shows notes, ready events and progress on standard output."""

    def __init__(self) -> None:
        """Detect whether standard output is a terminal."""
        self._console = Console(highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._rows: deque[tuple[str, ...]] = deque(maxlen=MAX_ROWS)
        self._progress: Progress | None = None
        self._began = time.monotonic()
        self._lines_left = MAX_EVENT_LINES
        self._next_event_line = self._next_progress_line = 0.0

    def __enter__(self) -> Self:
        """Start the live table on a terminal."""
        if self._console.is_terminal:
            self._live = Live(Text(), console=self._console, refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop updating the live table. Its last content stays on the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def note(self, line: str) -> None:
        """Print a line."""
        self._console.print(f"{self._seconds():5.1f} s  {line}", markup=False)

    def show(self, values: Iterable[bytes | None], progress: Progress) -> None:
        """Show new ready events and the progress of the run."""
        before = self._progress
        self._progress = progress
        for value in values:
            if self._live is not None:
                self._rows.append(_row(value))
            else:
                self._print_event(value)
        if self._live is not None:
            self._live.update(Group(self._table(), Text(f"  {progress}")))
        elif progress != before and self._seconds() >= self._next_progress_line:
            self._next_progress_line = self._seconds() + PROGRESS_LINE_SECONDS
            self.note(str(progress))

    def _print_event(self, value: bytes | None) -> None:
        """Print a few of the thousands of events, spread over the run."""
        if not self._lines_left or self._seconds() < self._next_event_line:
            return
        self._lines_left -= 1
        self._next_event_line = self._seconds() + EVENT_LINE_SECONDS
        created, job, step, model, loss, checkpoint_id = _row(value)
        facts = f"{checkpoint_id}  step {step} of {job}  {model}  loss {loss or '-'}  {created}"
        self.note(f"ready: {facts}")

    def _table(self) -> Table:
        shown = self._progress.ready if self._progress else 0
        table = Table(title=f"{shown:,} checkpoints are ready (the latest)", expand=True)
        for name, least, share in COLUMNS:
            table.add_column(name, min_width=least, ratio=share, overflow="ellipsis", no_wrap=True)
        for row in self._rows:
            table.add_row(*map(Text, row))
        return table

    def _seconds(self) -> float:
        return time.monotonic() - self._began


def _row(value: bytes | None) -> tuple[str, ...]:
    event: dict[str, Any] = json.loads(value or b"")
    checkpoint = event["data"]["checkpoint"]
    loss = event["data"]["evaluation"].get("loss")
    cells = (
        event["time"],
        checkpoint["fine_tuning_job_id"],
        checkpoint["step_number"],
        checkpoint["fine_tuned_model_checkpoint"],
        "" if loss is None else f"{loss:.4f}",
        event["id"],
    )
    return tuple(printable_line(str(cell)) for cell in cells)
