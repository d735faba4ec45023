"""Progress of a job: a bar on a terminal, JSON lines elsewhere."""

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

LINE_SECONDS: Final = 1.0


class Goal(NamedTuple):
    """The total work, and the part of it that earlier runs have done.

    The unit is an offset of a topic, or an element of a backfill's file.
    """

    total: int
    done_before: int
    max_written: int | None = None
    """The job ends early when it has written this many records. None: it does not."""

    def completed(self, done: int, written: int) -> float:
        """Return how much of `total` is completed, in the unit of `total`.

        With `max_written`, the job may end before all of `total` is done. So the written share of
        `max_written` counts if it is larger than the done share of `total`.
        """
        if self.max_written is None:
            return done
        return max(done, self.total * min(written, self.max_written) / self.max_written)


class Display(Protocol):
    """Shows progress; a context manager."""

    def __enter__(self) -> Self:
        """Start the display."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the display."""

    def show(self, done: int, written: int) -> None:
        """Show how much of the total is done, and how many records were written."""


class ProgressReport:
    """Shows the progress of one run. The first call of `show` starts the display.

    Outside of the ``with`` block of this object, `show` does nothing.
    """

    def __init__(self, name: str, unit: str, write: Callable[[bytes], None]) -> None:
        """`write` receives the JSON lines."""
        self._name = name
        self._unit = unit
        self._write = write
        self._stack: ExitStack | None = None
        self._display: Display | None = None

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        return self

    def __exit__(self, *_: object) -> None:
        if self._stack is not None:
            self._stack.close()
        self._stack = self._display = None

    def show(self, goal: Goal, done: int, written: int) -> None:
        """Show how much is done. Only the `goal` of the first call is used."""
        if self._stack is None:
            return
        if self._display is None:
            self._display = self._stack.enter_context(
                display(self._name, goal, unit=self._unit, write=self._write)
            )
        self._display.show(done, written)


class ProgressBar:
    """A progress bar on standard error, with the write rate and the remaining time."""

    def __init__(self, name: str, goal: Goal, unit: str) -> None:
        self._goal = goal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{{task.fields[rate]}} {unit}/s"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task(
            name, total=goal.total, completed=goal.done_before, rate="-"
        )
        self._began: tuple[float, int] | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, done: int, written: int) -> None:
        """Move the bar."""
        rate, self._began = _rate(self._began, written)
        completed = self._goal.completed(done, written)
        self._progress.update(self._task, completed=completed, rate=f"{rate:,.0f}")


class ProgressLines:
    """Progress as JSON lines, at most one per second."""

    def __init__(self, write: Callable[[bytes], None], name: str, goal: Goal, unit: str) -> None:
        self._write = write
        self._name = name
        self._goal = goal
        self._first: float | None = None if goal.max_written else goal.done_before
        self._unit = unit
        self._began: tuple[float, int] | None = None
        self._began_at = self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: there is nothing to close."""

    def show(self, done: int, written: int) -> None:
        """Write a line if at least a second has passed since the start or the previous line."""
        rate, self._began = _rate(self._began, written)
        now = time.monotonic()
        total, completed = self._goal.total, self._goal.completed(done, written)
        if self._first is None:  # the first call: this part was completed by earlier runs
            self._first = completed
        if now - self._last < LINE_SECONDS:
            return
        self._last = now
        speed = (completed - self._first) / (now - self._began_at)
        left = None if speed <= 0 else round(max(0, total - completed) / speed, 1)
        line = {
            "event": "progress",
            "what": self._name,
            "done": done,
            "total": total,
            "written": written,
            f"{self._unit}_per_second": round(rate),
            "seconds_left": left,
        }
        self._write(msgspec.json.encode(line))


def display(name: str, goal: Goal, *, unit: str, write: Callable[[bytes], None]) -> Display:
    """Return a bar if standard output and standard error are terminals, else JSON lines."""
    if sys.stdout.isatty() and sys.stderr.isatty():
        return ProgressBar(name, goal, unit)
    return ProgressLines(write, name, goal, unit)


def _rate(began: tuple[float, int] | None, written: int) -> tuple[float, tuple[float, int]]:
    """Return the records per second since the first call, and the time and count of that call."""
    now = time.monotonic()
    if began is None:
        return 0.0, (now, written)
    seconds = now - began[0]
    return (written - began[1]) / seconds if seconds > 0 else 0.0, began
