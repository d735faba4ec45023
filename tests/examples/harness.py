"""Runs an example subscriber, in any language, and follows the lines that it prints.

An example reads its settings from environment variables and prints one JSON object a line for each
ready event that Kafka delivers to it. Logs go to standard error.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Self

from tests.support.child_process import ChildProcess
from tests.support.waiting import DeadlineExceeded, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

STOP_SECONDS = 15.0
PRINT_SECONDS = 30.0
CLIENT_DEFAULT = "client_default"

Line = dict[str, Any]


class Example(NamedTuple):
    """How to start an example."""

    name: str
    command: tuple[str, ...]
    variables: Mapping[str, str] = {}
    folder: Path | None = None

    def start(
        self,
        bootstrap_servers: str,
        topic: str,
        *,
        group: str,
        isolation: str = "read_committed",
        **variables: str,
    ) -> RunningExample:
        """Start the example; the result is a context manager that ends it.

        Args:
            bootstrap_servers: the brokers.
            topic: the topic of the ready events.
            group: its consumer group.
            isolation: its isolation level; `CLIENT_DEFAULT` leaves the option out.
            variables: more environment variables.
        """
        environment = {
            **os.environ,
            **self.variables,
            "BOOTSTRAP_SERVERS": bootstrap_servers,
            "TOPIC": topic,
            "GROUP_ID": group,
            "ISOLATION_LEVEL": isolation,
            **variables,
        }
        return RunningExample(self, environment, tempfile.TemporaryFile())


class RunningExample(ChildProcess):
    """A running example, and what it has printed."""

    def __init__(self, example: Example, environment: Mapping[str, str], errors: IO[bytes]) -> None:
        """Start the program."""
        self._name = example.name
        self._errors = errors
        super().__init__(example.command, environment, folder=example.folder, errors=errors)

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Kill the program if it runs; after a failure print what it logged."""
        self.kill()
        if kind is not None:
            print(f"--- standard error of {self._name}:\n{self.errors}")  # noqa: T201 - into the report
        self.close()

    def close(self) -> None:
        """Kill the program if it runs, and close its files."""
        super().close()
        self._errors.close()

    def kill(self) -> None:
        """Send SIGKILL to the program and to the programs that it has started."""
        if not self.has_ended:
            os.killpg(self.pid, signal.SIGKILL)
        super().kill()

    @property
    def lines(self) -> list[Line]:
        """All complete lines on standard output; each must be a JSON object.

        Raises:
            ValueError: a line is not JSON.
        """
        complete, _, _ = self.read_output(0).rpartition(b"\n")
        return [json.loads(line) for line in complete.splitlines()]

    @property
    def ids(self) -> list[str]:
        """The id of each line."""
        return [line["id"] for line in self.lines]

    @property
    def errors(self) -> str:
        """Standard error until now."""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), size, 0).decode(errors="replace")

    def wait_for_ids(
        self, ids: Collection[str], deadline_seconds: float = PRINT_SECONDS
    ) -> list[Line]:
        """Wait until each of these ids is printed, and return all lines.

        Raises:
            AssertionError: an id is not printed in time, or the program has ended.
        """
        wanted = set(ids)
        self._wait(lambda: wanted <= set(self.ids), deadline_seconds, f"{len(wanted)} ids")
        return self.lines

    def wait_for_lines(self, count: int, deadline_seconds: float = PRINT_SECONDS) -> list[Line]:
        """Wait until there are `count` lines, and return all lines.

        Raises:
            AssertionError: there are fewer in time, or the program has ended.
        """
        self._wait(lambda: len(self.lines) >= count, deadline_seconds, f"{count} lines")
        return self.lines

    def wait_for_error(self, text: str, deadline_seconds: float = PRINT_SECONDS) -> None:
        """Wait until standard error contains this text.

        Raises:
            AssertionError: it does not in time, or the program has ended.
        """
        self._wait(lambda: text in self.errors, deadline_seconds, repr(text))

    def stop_by(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and return the exit code.

        SIGINT goes to the programs that the example has started too, as Ctrl-C does in a terminal.

        Raises:
            DeadlineExceeded: the program still runs after 15 s.
        """
        if number is signal.SIGINT:
            os.killpg(self.pid, number)
        else:
            self.signal(number)
        return self.wait(STOP_SECONDS)

    def _wait(self, condition: Callable[[], bool], deadline_seconds: float, what: str) -> None:
        def met_or_ended() -> bool:
            has_ended = self.has_ended  # first: the lines before the end are read after it
            return condition() or has_ended

        try:
            wait_until(met_or_ended, deadline_seconds, what=what)
        except DeadlineExceeded as error:
            raise DeadlineExceeded(f"{self._name}: {error}\n{self.errors}") from None
        assert condition(), f"{self._name} ended before {what}:\n{self.errors}"
