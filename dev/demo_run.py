"""Runs the demo on a cluster: two service processes, one of which is killed and started again."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from dev.demo_check import Check, Verdict
from dev.demo_display import Display, Progress
from dev.demo_producer import DemoError, PacedProducer
from tests.support.command_line import environment, run_command
from tests.support.service_process import RUN, ServiceProcess
from tests.support.verdicts import is_handled
from tests.support.waiting import DeadlineExceeded

if TYPE_CHECKING:
    from pathlib import Path

    from dev.demo_plan import Plan
    from tests.support.cluster import Cluster
    from tests.support.reader import Reader
    from tests.support.topics import Topics

SERVICES = ("service-1", "service-2")
KILL_AT_SHARE = 0.45
DOWN_SECONDS = 1.0
HANDLED_POLL_SECONDS = 0.5
GIVE_UP_SECONDS = 60.0
STOP_SECONDS = 15.0
READ_SECONDS = 0.05


class DemoService:
    """A service process that can be started again under the same GROUP_INSTANCE_ID, like a pod."""

    def __init__(self, name: str, servers: str, topics: Topics, folder: Path) -> None:
        """Prepare the process. `start` starts it."""
        self.name = name
        self.state = "not started"
        self._log = folder / f"{name}.log"
        settings = {**topics.settings(servers), "GROUP_INSTANCE_ID": name}
        self._environment = environment(settings)
        self._process: ServiceProcess | None = None

    def start(self) -> None:
        """Start the process, for the first time or again."""
        self._process = ServiceProcess(RUN, self._environment, log=self._log)
        self.state = "running" if self.state == "not started" else "running again"

    def kill(self) -> None:
        """Send SIGKILL: a crash."""
        if self._process is not None:
            self._process.close()
        self.state = "killed"

    @property
    def has_committed(self) -> bool:
        """Whether it has committed a transaction since its latest start."""
        return self._process is not None and bool(self._process.logged("transaction_committed"))

    def require_alive(self) -> None:
        """Raise DemoError if the process has ended by itself."""
        if self._process is not None and self._process.has_ended:
            raise DemoError(f"{self.name} ended with {self._process.exit_code}; {self._tail()}")

    def request_stop(self) -> None:
        """Send SIGTERM."""
        if self._process is not None:
            self._process.signal(signal.SIGTERM)

    def wait_for_stop(self, deadline: float) -> str | None:
        """Wait until `deadline` for the end of the process. Return the failure, or None."""
        process = self._process
        if process is None:
            return None
        self.state = "stopped"
        try:
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except DeadlineExceeded:
            process.kill()
            return f"{self.name} did not end on SIGTERM in time; {self._tail()}"
        return f"{self.name} exited with {code} on SIGTERM; {self._tail()}" if code else None

    def _tail(self) -> str:
        return f"its log:\n{self._process.tail()}" if self._process is not None else ""


class Demo:
    """One run of the demo."""

    def __init__(self, cluster: Cluster, topics: Topics, plan: Plan, folder: Path) -> None:
        """Prepare a run on topics that exist."""
        self._topics = topics
        self._plan = plan
        self._cluster = cluster
        servers = cluster.bootstrap_servers
        self._services = [DemoService(name, servers, topics, folder) for name in SERVICES]
        self._victim = self._services[0]
        self._producer = PacedProducer(servers, topics.input, plan.records)
        self._killed_at: float | None = None
        self._restarted_at: float | None = None
        self._published_again = False
        self._next_check = 0.0
        self._read_counts = {topics.ready: 0, topics.dead_letters: 0}

    def run(self, seconds: float, display: Display) -> None:
        """Run until every record is handled, or until there is no progress for a minute."""
        with self._cluster.subscriber(*self._read_counts) as reader:
            for service in self._services:
                service.start()
            began = last_progress = time.monotonic()
            while not self._is_over(now := time.monotonic()):
                self._producer.produce_up_to((now - began) / seconds)
                values = self._read(reader)
                before = self._killed_at, self._restarted_at
                self._kill_and_restart(now, display)
                has_changed = before != (self._killed_at, self._restarted_at)
                if values or has_changed or not self._producer.is_done:
                    last_progress = now
                if now - last_progress > GIVE_UP_SECONDS:
                    display.note(f"no progress for {GIVE_UP_SECONDS:.0f} s: giving up")
                    break
                display.show(values, self._progress())

    def stop(self) -> None:
        """Stop the services by SIGTERM. Raise DemoError unless each exits with code 0."""
        for service in self._services:
            service.request_stop()
        deadline = time.monotonic() + STOP_SECONDS
        ends = [service.wait_for_stop(deadline) for service in self._services]
        failures = [failure for failure in ends if failure is not None]
        if failures:
            raise DemoError("\n".join(failures))

    def kill(self) -> None:
        """Kill the processes that still run."""
        for service in self._services:
            service.kill()

    def check(self) -> Verdict:
        """Read the output topics again from their start, and return the verdict."""
        with self._cluster.subscriber(*self._read_counts) as reader:
            check = Check(self._plan, self._producer.placed, self._topics)
            return check.verdict(reader.read_to_end())

    def _read(self, reader: Reader) -> list[bytes | None]:
        """Read and count new records. Return the values of the ready events among them."""
        records = reader.poll(READ_SECONDS)
        for record in records:
            self._read_counts[record.topic] += 1
        return [record.value for record in records if record.topic == self._topics.ready]

    def _kill_and_restart(self, now: float, display: Display) -> None:
        for service in self._services:
            if service.state != "killed":
                service.require_alive()
        if self._killed_at is None:
            share = self._producer.sent / len(self._plan.records)
            if share >= KILL_AT_SHARE and self._read_counts[self._topics.ready]:
                self._victim.kill()
                self._killed_at = now
                display.note(f"SIGKILL to {self._victim.name}")
        elif self._restarted_at is None:
            if now - self._killed_at >= DOWN_SECONDS:
                self._victim.start()
                self._restarted_at = now
                display.note(f"{self._victim.name} is started again")
        elif not self._published_again and self._victim.has_committed:
            self._published_again = True
            after = now - self._restarted_at
            display.note(f"{self._victim.name} commits again, {after:.1f} s after its start")

    def _is_over(self, now: float) -> bool:
        """Return whether every record is produced and handled, and the restart has happened."""
        if self._restarted_at is None or not self._producer.is_done or now < self._next_check:
            return False
        self._next_check = now + HANDLED_POLL_SECONDS
        return is_handled(self._cluster, self._topics)

    def _progress(self) -> Progress:
        return Progress(
            produced=len(self._producer.placed),
            planned=len(self._plan.records),
            ready=self._read_counts[self._topics.ready],
            ready_expected=self._plan.distinct_ids,
            dead_letters=self._read_counts[self._topics.dead_letters],
            dead_letters_expected=self._plan.dead_letters,
            services=tuple((service.name, service.state) for service in self._services),
        )


def create_topics(cluster: Cluster, topics: Topics, input_partitions: int) -> None:
    """Run the command that creates the topics.

    Raises:
        DemoError: the command failed.
    """
    command = ("topics", "create", "--input-partitions", str(input_partitions))
    done = run_command(*command, **topics.settings(cluster.bootstrap_servers))
    if done.exit_code:
        raise DemoError(
            f"checkpoint-ready {' '.join(command)} ended with {done.exit_code}:\n{done.stderr}"
        )
