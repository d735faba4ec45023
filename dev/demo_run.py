"""One run of the demo on one broker: two services, one of them killed, until all is handled."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dev.demo_check import Check, Verdict
from dev.demo_display import Display, Progress
from dev.demo_kafka import Broker, CommittedReader, PacedProducer, Topics
from dev.demo_services import ServiceProcess, service_environment

if TYPE_CHECKING:
    from pathlib import Path

    from dev.demo_plan import Plan

SERVICES = ("service-1", "service-2")
KILL_AT_SHARE = 0.45
DOWN_SECONDS = 1.0
HANDLED_POLL_SECONDS = 0.5
GIVE_UP_SECONDS = 60.0
READ_SECONDS = 0.05


class Demo:
    """One run, on one broker."""

    def __init__(self, broker: Broker, topics: Topics, plan: Plan, folder: Path) -> None:
        self._topics = topics
        self._plan = plan
        self._broker = broker
        self._environment = environment(broker.servers, topics)
        self._services = [ServiceProcess(name, self._environment, folder) for name in SERVICES]
        self._victim = self._services[0]
        self._producer = PacedProducer(broker.servers, topics.input, plan.records)
        self._killed_at: float | None = None
        self._restarted_at: float | None = None
        self._published_again = False
        self._next_look = 0.0
        self._seen = {topics.ready: 0, topics.dead_letters: 0}

    def run(self, seconds: float, display: Display) -> None:
        """Run until everything is handled; give up when nothing moves any more."""
        reader = CommittedReader(self._broker.servers, self._seen)
        try:
            for service in self._services:
                service.start()
            began = last_move = time.monotonic()
            while not self._is_over(now := time.monotonic()):
                self._producer.produce_up_to((now - began) / seconds)
                values = self._read(reader)
                before = self._killed_at, self._restarted_at
                self._kill_and_restart(now, display)
                if values or before != (self._killed_at, self._restarted_at):
                    last_move = now
                if not self._producer.is_done:
                    last_move = now
                if now - last_move > GIVE_UP_SECONDS:
                    display.note(f"nothing has moved for {GIVE_UP_SECONDS:.0f} s: giving up")
                    break
                display.show(values, self._progress())
        finally:
            reader.close()

    def stop(self) -> None:
        """Stop the services in order; each must end by itself, with 0."""
        first, *others = self._services
        first.stop(others)

    def kill(self) -> None:
        """End what still runs, at once."""
        for service in self._services:
            service.kill()

    def check(self) -> Verdict:
        """Read the output topics anew, from their start, and judge."""
        reader = CommittedReader(self._broker.servers, self._seen)
        try:
            check = Check(self._plan, self._producer.placed, self._topics)
            return check.verdict(reader.read_to_end())
        finally:
            reader.close()

    def _read(self, reader: CommittedReader) -> list[bytes | None]:
        """Count what has become visible; return the values of the ready events among it."""
        records = reader.read(READ_SECONDS)
        for record in records:
            self._seen[record.topic] += 1
        return [record.value for record in records if record.topic == self._topics.ready]

    def _kill_and_restart(self, now: float, display: Display) -> None:
        for service in self._services:
            if service.state != "killed":
                service.require_alive()
        if self._killed_at is None:
            share = self._producer.sent / len(self._plan.records)
            if share >= KILL_AT_SHARE and self._seen[self._topics.ready]:
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
        """Tell whether everything is produced and handled, after the restart too."""
        if self._restarted_at is None or not self._producer.is_done or now < self._next_look:
            return False
        self._next_look = now + HANDLED_POLL_SECONDS
        return self._broker.is_all_handled(self._topics)

    def _progress(self) -> Progress:
        return Progress(
            produced=len(self._producer.placed),
            planned=len(self._plan.records),
            ready=self._seen[self._topics.ready],
            ready_expected=self._plan.distinct_ids,
            dead_letters=self._seen[self._topics.dead_letters],
            dead_letters_expected=self._plan.dead_letters,
            services=tuple((service.name, service.state) for service in self._services),
        )


def environment(servers: str, topics: Topics) -> dict[str, str]:
    """Return the environment of the service for one run."""
    return service_environment(
        {
            "BOOTSTRAP_SERVERS": servers,
            "GROUP_ID": topics.group,
            "INPUT_TOPICS": topics.input,
            "OUTPUT_TOPIC": topics.ready,
            "DEAD_LETTER_TOPIC": topics.dead_letters,
            "HTTP_PORT": "0",
            "LOG_FORMAT": "json",
        }
    )
