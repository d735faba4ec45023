"""How far a tool is: a bar on a terminal, now and then a JSON line elsewhere."""

import sys
import time
from collections.abc import Callable
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
    """What there is to do, in offsets or elements, and how much of it was done before."""

    total: int
    already: int
    most: int | None = None
    """The tool also ends when it has written that many records."""

    def reached(self, done: int, written: int) -> float:
        """Return how much of the total is done, by whichever limit ends the tool first."""
        if self.most is None:
            return done
        return max(done, self.total * min(written, self.most) / self.most)


class Display(Protocol):
    """Who is told how far a tool is; a context manager."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, whatever happened."""

    def show(self, done: int, written: int) -> None:
        """Tell how much of the total is done and how many records were written for it."""


class Bar:
    """A progress bar with the rate of writing and the time that is left, on standard error."""

    def __init__(self, what: str, goal: Goal, unit: str) -> None:
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
            what, total=goal.total, completed=goal.already, rate="-"
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
        reached = self._goal.reached(done, written)
        self._progress.update(self._task, completed=reached, rate=f"{rate:,.0f}")


class Lines:
    """A JSON line a second at most."""

    def __init__(self, write: Callable[[bytes], None], what: str, goal: Goal, unit: str) -> None:
        self._write = write
        self._what = what
        self._goal = goal
        self._first: float | None = None if goal.most else goal.already
        self._unit = unit
        self._began: tuple[float, int] | None = None
        self._began_at = self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left open."""

    def show(self, done: int, written: int) -> None:
        """Write a line, unless the last one is younger than a second."""
        rate, self._began = _rate(self._began, written)
        now = time.monotonic()
        total, reached = self._goal.total, self._goal.reached(done, written)
        if self._first is None:  # how much was written before is known only now
            self._first = reached
        if now - self._last < LINE_SECONDS:
            return
        self._last = now
        speed = (reached - self._first) / (now - self._began_at)
        left = None if speed <= 0 else round(max(0, total - reached) / speed, 1)
        line = {
            "event": "progress",
            "what": self._what,
            "done": done,
            "total": total,
            "written": written,
            f"{self._unit}_per_second": round(rate),
            "seconds_left": left,
        }
        self._write(msgspec.json.encode(line))


def display(what: str, goal: Goal, *, unit: str, write: Callable[[bytes], None]) -> Display:
    """Return what suits where we are: a bar if somebody looks, lines if a program reads."""
    if sys.stdout.isatty() and sys.stderr.isatty():
        return Bar(what, goal, unit)
    return Lines(write, what, goal, unit)


def _rate(began: tuple[float, int] | None, written: int) -> tuple[float, tuple[float, int]]:
    """Return how fast records were written since the first call."""
    now = time.monotonic()
    if began is None:
        return 0.0, (now, written)
    seconds = now - began[0]
    return (written - began[1]) / seconds if seconds > 0 else 0.0, began
