"""Runs the demo on a cluster: two service processes, a receiver of requests, and a poller.

One service process, the receiver and the poller are killed in the middle, and started again.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, NamedTuple, Self

from dev.demo_check import Check, Verdict
from dev.demo_display import Display, Progress
from dev.demo_process import Crash, DemoProcess, stop_processes
from dev.demo_producer import DemoError, PacedProducer
from dev.demo_provider import DemoProvider
from dev.demo_requests import Secrets, plan_requests
from dev.demo_sender import RequestSender
from dev.free_ports import free_ports
from tests.support.command_line import run_command
from tests.support.service_process import RUN
from tests.support.verdicts import is_handled

if TYPE_CHECKING:
    from pathlib import Path

    from dev.demo_plan import Plan
    from tests.support.cluster import Cluster
    from tests.support.reader import Reader
    from tests.support.topics import Topics

SERVICES = ("service-1", "service-2")
INGEST, POLL = "ingest", "poll"
KILL_INGEST_AT_SHARE, KILL_SERVICE_AT_SHARE, KILL_POLL_AT_SHARE = 0.3, 0.45, 0.6
# A bridge gets no more than this share of its work before it was killed.
WORK_BEFORE_CRASH = 0.7
HANDLED_POLL_SECONDS = 0.5
GIVE_UP_SECONDS = 60.0
READ_SECONDS = 0.05


class Bridges(NamedTuple):
    """What brings checkpoints in beside the producer. A context manager, which ends both."""

    sender: RequestSender
    provider: DemoProvider
    processes: tuple[DemoProcess, DemoProcess]

    @classmethod
    def create(cls, seed: int, topics: Topics, servers: str, folder: Path) -> Self:
        """Plan the requests and the jobs, and prepare the receiver and the poller."""
        secrets, port, provider = Secrets.create(), free_ports(1)[0], DemoProvider(seed)
        config = secrets.write_config(folder, port)
        accounts = provider.write_accounts(folder)
        settings = topics.settings(servers)
        ingest = ("consumer", "ingest", "--config", str(config))
        poll = ("consumer", "poll", "--config", str(accounts))
        return cls(
            RequestSender(port, secrets, plan_requests(seed)),
            provider,
            (
                DemoProcess(INGEST, ingest, settings, folder, work_event="request_answered"),
                DemoProcess(POLL, poll, settings, folder, work_event="poll_pass"),
            ),
        )

    def __enter__(self) -> Self:
        """Start the thread of the sender, and the server of the provider."""
        self.provider.__enter__()
        self.sender.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """End both."""
        self.sender.__exit__()
        self.provider.__exit__()


class Demo:
    """One run of the demo."""

    def __init__(
        self, cluster: Cluster, topics: Topics, plan: Plan, folder: Path, bridges: Bridges
    ) -> None:
        """Prepare a run on topics that exist."""
        self._topics = topics
        self._produced_plan = plan
        self._cluster = cluster
        settings = topics.settings(cluster.bootstrap_servers)
        self._services = [
            DemoProcess(
                name,
                RUN,
                {**settings, "GROUP_INSTANCE_ID": name},
                folder,
                work_event="transaction_committed",
            )
            for name in SERVICES
        ]
        self._bridges = bridges
        self._processes = [*self._services, *bridges.processes]
        ingest, poll = bridges.processes
        self._ingest_crash = Crash(ingest, KILL_INGEST_AT_SHARE)
        self._service_crash = Crash(self._services[0], KILL_SERVICE_AT_SHARE)
        self._poll_crash = Crash(poll, KILL_POLL_AT_SHARE)
        self._producer = PacedProducer(cluster.bootstrap_servers, topics.input, plan.records)
        self._bridges_stopped = False
        self._next_check = 0.0
        self._read_counts = {topics.ready: 0, topics.dead_letters: 0}
        self._ready_ids: set[str] = set()

    def run(self, seconds: float, display: Display) -> None:
        """Run until every record is handled, or until there is no progress for a minute."""
        with self._cluster.subscriber(*self._read_counts) as reader, self._bridges:
            for process in self._processes:
                process.start()
            began = last_progress = time.monotonic()
            while not self._is_over(now := time.monotonic(), display):
                self._bring_in((now - began) / seconds)
                values = self._read(reader)
                for process in self._processes:
                    process.require_alive()
                has_changed = self._crash((now - began) / seconds, now, display)
                if values or has_changed or not self._producer.is_done:
                    last_progress = now
                if now - last_progress > GIVE_UP_SECONDS:
                    display.note(f"no progress for {GIVE_UP_SECONDS:.0f} s: giving up")
                    break
                display.show(values, self._progress())

    def stop(self) -> None:
        """Stop all processes by SIGTERM. Raise DemoError unless each exits with code 0."""
        stop_processes(self._processes)

    def kill(self) -> None:
        """Kill the processes that still run."""
        for process in self._processes:
            process.kill()

    def check(self) -> Verdict:
        """Read all topics again from their start, and return the verdict.

        Raises:
            DemoError: requests have no answer, or jobs of the provider have not ended.
        """
        if not (self._bridges.sender.is_done and self._bridges.provider.is_done):
            raise DemoError("not every request is answered, or not every job has ended")
        with (
            self._cluster.subscriber(self._topics.input) as inputs,
            self._cluster.subscriber(*self._read_counts) as reader,
        ):
            placed = self._producer.placed
            check = Check(self._plan, placed, self._topics, inputs.read_to_end())
            return check.verdict(reader.read_to_end())

    @property
    def bridge_notes(self) -> list[str]:
        """What the senders and the provider have seen, a line each."""
        sender, provider = self._bridges.sender, self._bridges.provider
        answers = ", ".join(
            f"{count} with {code}" for code, count in sorted(sender.answers.items())
        )
        return [
            f"webhook: {sender.requests} requests answered ({answers}), {sender.retries} retries",
            f"poller: {len(provider.ids)} checkpoints listed, {provider.requests} requests",
        ]

    @property
    def _plan(self) -> Plan:
        """The plan of the producer, and what the bridges must have brought in until now."""
        plan = self._produced_plan.with_bridge("webhook", self._bridges.sender.accepted)
        return plan.with_bridge("poller", self._bridges.provider.contents)

    def _bring_in(self, share: float) -> None:
        """Produce, request and let jobs grow up to this share. A crash is in the middle."""
        self._producer.produce_up_to(share)
        crashes = (self._ingest_crash, self._poll_crash)
        for_ingest, for_poll = (
            share if crash.has_happened else min(share, WORK_BEFORE_CRASH) for crash in crashes
        )
        self._bridges.sender.send_up_to(for_ingest)
        self._bridges.provider.advance(for_poll)

    def _read(self, reader: Reader) -> list[bytes | None]:
        """Read and count new records. Return the values of the ready events among them."""
        records = reader.poll(READ_SECONDS)
        for record in records:
            self._read_counts[record.topic] += 1
        values = [record.value for record in records if record.topic == self._topics.ready]
        self._ready_ids.update(json.loads(value or b"")["id"] for value in values)
        return values

    def _crash(self, share: float, now: float, display: Display) -> bool:
        """Kill and start the processes that are due. Return whether there was one."""
        sender = self._bridges.sender
        # In the middle of a request, if that happens soon.
        is_due = sender.is_waiting or share >= WORK_BEFORE_CRASH
        steps = (
            (self._ingest_crash, bool(sender.accepted) and is_due),
            (self._service_crash, bool(self._read_counts[self._topics.ready])),
            (self._poll_crash, not self._ready_ids.isdisjoint(self._bridges.provider.ids)),
        )
        changes = [crash.advance(share, now, display, has_worked=worked) for crash, worked in steps]
        return any(changes)

    def _is_over(self, now: float, display: Display) -> bool:
        """Return whether every record is brought in and handled, and each crash has happened."""
        crashes = (self._ingest_crash, self._service_crash, self._poll_crash)
        if not (all(crash.is_over for crash in crashes) and self._producer.is_done):
            return False
        if not self._bridges_stopped:
            if not self._bridged_are_ready():
                return False
            display.note(f"SIGTERM to {INGEST} and {POLL}: each of their checkpoints is ready")
            stop_processes(self._bridges.processes)
            self._bridges_stopped = True
        if now < self._next_check:
            return False
        self._next_check = now + HANDLED_POLL_SECONDS
        return is_handled(self._cluster, self._topics)

    def _bridged_are_ready(self) -> bool:
        sender, provider = self._bridges.sender, self._bridges.provider
        if not (sender.is_done and provider.is_done):
            return False
        return self._ready_ids.issuperset((*sender.accepted, *provider.ids))

    def _progress(self) -> Progress:
        sender, provider = self._bridges.sender, self._bridges.provider
        bridged = len(sender.accepted) + len(provider.ids)
        return Progress(
            produced=len(self._producer.placed),
            planned=len(self._produced_plan.records),
            ready=self._read_counts[self._topics.ready],
            ready_expected=self._produced_plan.distinct_ids + bridged,
            dead_letters=self._read_counts[self._topics.dead_letters],
            dead_letters_expected=self._produced_plan.dead_letters,
            requests=sender.sent,
            requests_planned=sender.requests,
            listed=len(provider.ids),
            processes=tuple((process.name, process.state) for process in self._processes),
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
