"""The services of a run: one to four places, each with a process that is started again for ever.

Odd places hold static members, even ones dynamic members. What ends by itself is noted and started
again, as Kubernetes would; what the nemesis ends stays away for as long as it says.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from consumer.config import PREFIX
from tests.chaos.logged_process import LoggedProcess, Published
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.chaos.run_history import History

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
# What these lines tell must never be, whatever is broken.
FORBIDDEN_EVENTS = frozenset({"shard_refused", "internal_errors", "no_progress"})
TICK_SECONDS = 0.05
RESTART_SECONDS = 1.0
END_SECONDS = 25.0
AT_WORK_SECONDS = 15.0
LIVING_SECONDS = 20.0


class Place:
    """Where one process of the service lives, again and again."""

    def __init__(self, number: int) -> None:
        """Describe an empty place."""
        self.number = number
        self.instance = f"place-{number}" if number % 2 else ""
        self.process: LoggedProcess | None = None
        self.is_wanted = False
        self.holds = 0  # how many faults keep it empty now
        self.starts = 0
        self.not_before = 0.0
        self.expected_exits: set[int] = set()

    @property
    def is_static(self) -> bool:
        """Whether its process is a static member."""
        return bool(self.instance)


class Fleet:
    """Keeps as many processes as wanted, follows their logs, and ends them in every way."""

    def __init__(
        self, environments: Mapping[int, Mapping[str, str]], folder: Path, history: History
    ) -> None:
        """Describe it: the environment of each place's process; `start` starts."""
        self.published: list[Published] = []
        self.violations: list[str] = []
        self.unexpected_exits: list[str] = []
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
        """Want so many processes; those too many get SIGTERM."""
        leaving = []
        for place in self._places.values():
            with self._lock:
                place.is_wanted = place.number <= count
            if not place.is_wanted:
                leaving.append(place)
        for place in leaving:
            self._terminate(place)

    def choose(self, victim: float, *, static: bool | None = None) -> int:
        """Return the place of a process that lives, by a number in [0, 1).

        One that runs shards, if any does so soon: the end of another would disturb nobody.
        """

        def living(*, at_work: bool) -> list[int]:
            with self._lock:
                return [
                    place.number
                    for place in self._places.values()
                    if place.is_wanted
                    and static in {None, place.is_static}
                    and place.process is not None
                    and place.process.exit_code is None
                    and (place.process.running_shards or not at_work)
                ]

        with contextlib.suppress(AssertionError):
            found = wait_until(lambda: living(at_work=True), AT_WORK_SECONDS)
            return found[int(victim * len(found))]
        found = wait_until(lambda: living(at_work=False), LIVING_SECONDS, what="a victim")
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
                place.number: sorted(place.process.running_shards)
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
        code = process.wait(END_SECONDS)
        self._history.write("terminated", place=place.number, code=code)
        if code is None:
            self._say_violation(f"place {place.number} did not end on SIGTERM: {process.tail()}")
            process.signal(signal.SIGKILL)
        elif code not in {0, -signal.SIGKILL}:
            self._say_violation(f"place {place.number}: SIGTERM, exit {code}: {process.tail()}")

    def _supervise(self) -> None:
        # The pause is the pace of the supervisor; nothing is awaited by it.
        while not self._closing.wait(TICK_SECONDS):
            with self._lock:
                for place in self._places.values():
                    self._look_after(place)

    def _look_after(self, place: Place) -> None:
        process = place.process
        if process is not None:
            code = process.exit_code  # first: what was logged before the end is read after it
            self.published += process.follow()
            self._take_errors(place, process)
            if code is None:
                return
            self._note_exit(place, process, code)
        if place.is_wanted and not place.holds and time.monotonic() >= place.not_before:
            place.starts += 1
            environment = {
                **self._environments[place.number],
                f"{PREFIX}GROUP_INSTANCE_ID": place.instance,
            }
            log = self._folder / f"place-{place.number}-start-{place.starts:03}.log"
            place.process = LoggedProcess(environment, log)
            self._history.write("started", place=place.number, pid=place.process.pid, log=log.name)

    def _take_errors(self, place: Place, process: LoggedProcess) -> None:
        for line in process.errors:
            self._history.write("service_error", place=place.number, line=line)
            if line["event"] in FORBIDDEN_EVENTS:
                self._say_violation(f"place {place.number} logged {line}")
        process.errors.clear()

    def _note_exit(self, place: Place, process: LoggedProcess, code: int) -> None:
        is_expected = process.pid in place.expected_exits
        tail = "" if is_expected else process.tail()
        self._history.write(
            "exited", place=place.number, code=code, is_expected=is_expected, tail=tail
        )
        if not is_expected:
            # It may give up with one clear line; what it does not expect itself is a fault of it.
            if code != EXIT_FAILED or TRACEBACK in tail:
                self._say_violation(f"{process.log.name} ended with exit code {code}: {tail}")
            last = tail.splitlines()[-1] if tail else ""
            self.unexpected_exits.append(f"{process.log.name}: exit {code}: {last}")
            place.not_before = time.monotonic() + RESTART_SECONDS
        process.close()
        place.process = None

    def _say_violation(self, text: str) -> None:
        self.violations.append(text)
        self._history.write("violation", text=text)
