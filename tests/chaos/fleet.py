"""The services of a run: one to four places, each with one process.

Odd places have static members, even places dynamic members. A process that ends by itself is
recorded and started again, as Kubernetes does. The nemesis can keep a place empty for a time.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Self

from consumer.config import PREFIX
from tests.chaos.sessions import LoginFailure, is_login_failure
from tests.support.service_process import PUBLISHED, RUN, ServiceProcess
from tests.support.waiting import DeadlineExceeded, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.chaos.run_history import History
    from tests.support.service_process import Line

PLACES = (1, 2, 3, 4)
EXIT_FAILED = 1
TRACEBACK = "Traceback (most recent call last)"
SESSION_TIMEOUT_MS = 6000
TRANSACTION_TIMEOUT_MS = 5000
SETTINGS = {
    "SESSION_TIMEOUT_MS": SESSION_TIMEOUT_MS,
    "TRANSACTION_TIMEOUT_MS": TRANSACTION_TIMEOUT_MS,
    "DISCOVERY_INTERVAL_MS": 1000,
    "TRIM_INTERVAL_MS": 2000,
    "HTTP_PORT": 0,
    "LOG_FORMAT": "json",
}
# No fault may cause these.
FORBIDDEN_EVENTS = frozenset({"shard_refused", "internal_errors", "no_progress"})
TICK_SECONDS = 0.05
RESTART_SECONDS = 1.0
END_SECONDS = 25.0
RUNNING_SECONDS = 15.0
LIVING_SECONDS = 20.0


class Published(NamedTuple):
    """A committed transaction with ready events, by the log of the service."""

    time: float
    shard: int
    events: int


class Place:
    """A slot for one process of the service, which is started again whenever it ends."""

    def __init__(self, number: int) -> None:
        """Describe an empty place."""
        self.number = number
        self.instance = f"place-{number}" if number % 2 else ""
        self.process: ServiceProcess | None = None
        self.is_wanted = False
        self.holds = 0  # how many faults keep it empty
        self.starts = 0
        self.log = ""  # the file of the latest process
        self.not_before = 0.0
        self.expected_exits: set[int] = set()

    @property
    def is_static(self) -> bool:
        """Whether its process is a static member."""
        return bool(self.instance)


class Fleet:
    """Keeps the wanted number of processes, follows their logs, and ends them in several ways."""

    def __init__(
        self, environments: Mapping[int, Mapping[str, str]], folder: Path, history: History
    ) -> None:
        """Describe it: the environment of each place's process; `start` starts."""
        self.published: list[Published] = []
        self.violations: list[str] = []
        self.unexpected_exits: list[str] = []
        self.login_failures: list[LoginFailure] = []
        self._environments = environments
        self._folder = folder
        self._history = history
        self._places = {number: Place(number) for number in PLACES}
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="fleet", daemon=True)

    def __enter__(self) -> Self:
        """Start to supervise."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End every process at once."""
        self._closing.set()
        self._thread.join(END_SECONDS)
        for place in self._places.values():
            if place.process is not None:
                place.process.close()

    def scale(self, count: int) -> None:
        """Set the number of processes; the others get SIGTERM."""
        leaving = []
        for place in self._places.values():
            with self._lock:
                place.is_wanted = place.number <= count
            if not place.is_wanted:
                leaving.append(place)
        for place in leaving:
            self._terminate(place)

    def choose(self, victim: float, *, static: bool | None = None) -> int:
        """Return the place of a running process, by a number in [0, 1).

        Prefer a process that runs shards, and wait a while for one: the end of another process
        would have no effect.
        """

        def living(*, is_running: bool) -> list[int]:
            with self._lock:
                return [
                    place.number
                    for place in self._places.values()
                    if place.is_wanted
                    and static in {None, place.is_static}
                    and place.process is not None
                    and place.process.exit_code is None
                    and (place.process.followed_shards() or not is_running)
                ]

        with contextlib.suppress(AssertionError):
            found = wait_until(lambda: living(is_running=True), RUNNING_SECONDS)
            return found[int(victim * len(found))]
        found = wait_until(lambda: living(is_running=False), LIVING_SECONDS, what="a victim")
        return found[int(victim * len(found))]

    def kill(self, number: int) -> None:
        """SIGKILL."""
        with self._lock:
            process = self._places[number].process
            if process is not None and process.exit_code is None:
                self._places[number].expected_exits.add(process.pid)
                process.signal(signal.SIGKILL)

    def terminate(self, number: int) -> None:
        """SIGTERM; it must end with code 0 within bounds."""
        self._terminate(self._places[number])

    @contextmanager
    def frozen(self, number: int) -> Iterator[None]:
        """SIGSTOP and, at the end, SIGCONT, if it is still the same process."""
        process = self._places[number].process
        assert process is not None
        process.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.signal(signal.SIGCONT)

    @contextmanager
    def empty(self, *numbers: int) -> Iterator[None]:
        """Keep places empty once their processes have ended."""
        with self._lock:
            for number in numbers:
                self._places[number].holds += 1
        try:
            yield
        finally:
            with self._lock:
                for number in numbers:
                    self._places[number].holds -= 1

    def running_shards(self) -> dict[int, list[int]]:
        """Return the shards that run at each place that has any, by the logs."""
        with self._lock:
            running = {
                place.number: sorted(place.process.followed_shards())
                for place in self._places.values()
                if place.process is not None
            }
        return {number: shards for number, shards in running.items() if shards}

    def _terminate(self, place: Place) -> None:
        with self._lock:
            process = place.process
            if process is None or process.exit_code is not None:
                return
            place.expected_exits.add(process.pid)
            process.signal(signal.SIGTERM)
        code = _exit_code_in_time(process)
        self._history.write("terminated", place=place.number, code=code)
        if code is None:
            self._add_violation(f"place {place.number} did not end on SIGTERM: {process.tail()}")
            process.signal(signal.SIGKILL)
        elif code not in {0, -signal.SIGKILL}:
            self._add_violation(f"place {place.number}: SIGTERM, exit {code}: {process.tail()}")

    def _supervise(self) -> None:
        # The wait sets the rate of the supervisor; it waits for no condition.
        while not self._closing.wait(TICK_SECONDS):
            with self._lock:
                for place in self._places.values():
                    self._supervise_place(place)

    def _supervise_place(self, place: Place) -> None:
        process = place.process
        if process is not None:
            code = process.exit_code  # first: what was logged before the end is read after it
            self._take_lines(place, process.follow())
            if code is None:
                return
            self._take_exit(place, process, code)
        if place.is_wanted and not place.holds and time.monotonic() >= place.not_before:
            place.starts += 1
            environment = {
                **self._environments[place.number],
                f"{PREFIX}GROUP_INSTANCE_ID": place.instance,
            }
            place.log = f"place-{place.number}-start-{place.starts:03}.log"
            log = self._folder / place.log
            place.process = ServiceProcess(RUN, environment, log=log, skipped_event=PUBLISHED)
            self._history.write("started", place=place.number, pid=place.process.pid, log=place.log)

    def _take_lines(self, place: Place, lines: list[Line]) -> None:
        for line in lines:
            event = line.get("event")
            if line.get("level") == "error":
                self._history.write("service_error", place=place.number, line=line)
                if event in FORBIDDEN_EVENTS:
                    self._add_violation(f"place {place.number} logged {line}")
            if event == "transaction_committed" and line["published"]:
                self.published.append(Published(_time(line), line["shard"], line["published"]))
            if is_login_failure(line):
                self.login_failures.append(LoginFailure(_time(line), place.number, line))

    def _take_exit(self, place: Place, process: ServiceProcess, code: int) -> None:
        is_expected = process.pid in place.expected_exits
        tail = "" if is_expected else process.tail()
        self._history.write(
            "exited", place=place.number, code=code, is_expected=is_expected, tail=tail
        )
        if not is_expected:
            # It may end with one clear line. A traceback or another exit code is a bug.
            if code != EXIT_FAILED or TRACEBACK in tail:
                self._add_violation(f"{place.log} ended with exit code {code}: {tail}")
            last = tail.splitlines()[-1] if tail else ""
            self.unexpected_exits.append(f"{place.log}: exit {code}: {last}")
            place.not_before = time.monotonic() + RESTART_SECONDS
        process.close()
        place.process = None

    def _add_violation(self, text: str) -> None:
        self.violations.append(text)
        self._history.write("violation", text=text)


def _time(line: Line) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def _exit_code_in_time(process: ServiceProcess) -> int | None:
    try:
        return process.wait(END_SECONDS)
    except DeadlineExceeded:
        return None
