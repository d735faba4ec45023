"""The history of a run: a file of JSON lines, each written at once, so that a crash keeps it."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.chaos.schedule import Fault


class Outcome:
    """The outcome of one fault: its times, the chosen target, and the error if it failed."""

    def __init__(self, fault: Fault) -> None:
        """Start now."""
        self.fault = fault
        self.began = time.time()
        self.ended = self.began
        self.resolved: dict[str, Any] = {}
        self.error: str | None = None


class History:
    """Writes what happens, from any thread; keeps the outcomes of faults for the report."""

    def __init__(self, path: Path, **head: object) -> None:
        """Open the file and write its first line."""
        self.path = path
        self.outcomes: list[Outcome] = []
        self._began = time.time()
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")
        self.write("run", **head)

    def __enter__(self) -> Self:
        """Use as a context manager, which closes the file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        with self._lock:
            self._file.close()

    def write(self, event: str, **fields: object) -> None:
        """Write one line; does nothing after the end, since a thread may be late."""
        now = time.time()
        line = {"time": round(now, 3), "seconds": round(now - self._began, 3), "event": event}
        with self._lock:
            if not self._file.closed:
                self._file.write(json.dumps({**line, **fields}, default=str) + "\n")
                self._file.flush()

    @contextmanager
    def fault(self, fault: Fault) -> Iterator[Outcome]:
        """Write a fault's beginning and end; an exception is its outcome and goes no further."""
        outcome = Outcome(fault)
        drawn = fault._asdict()
        self.write("fault_begins", **drawn)
        try:
            yield outcome
        except Exception as error:  # noqa: BLE001 - whatever went wrong belongs into the history
            outcome.error = f"{type(error).__name__}: {error}"
        outcome.ended = time.time()
        with self._lock:
            self.outcomes.append(outcome)
        took = round(outcome.ended - outcome.began, 3)
        self.write("fault_ends", **drawn, resolved=outcome.resolved, took=took, error=outcome.error)
