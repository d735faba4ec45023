"""The service on a test's own topics: one group, as many processes as a test starts."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Self

from confluent_kafka import KafkaException

from consumer.config import PREFIX, Settings
from consumer.kafka.client import Connection
from consumer.kafka.client.admin import KafkaAdmin
from consumer.kafka.topics import create_topics as make_topics
from tests.integration.command_line import (
    Finished,
    run_command,
    run_in_terminal,
    run_unheard,
)
from tests.integration.process import LOG_SECONDS, ROOT, Service
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.cluster import Cluster, Names

__all__ = ["PREFIX", "ROOT", "Deployment", "Service"]


class Deployment:
    """A group of processes on topics of its own; a context manager that ends them all."""

    def __init__(
        self,
        cluster: Cluster,
        names: Names,
        *,
        input_partitions: int = 3,
        create_topics: bool = True,
        **settings: object,
    ) -> None:
        """Make the input topic; `settings` are variables of every process, less the prefix."""
        self.cluster = cluster
        self.names = names
        self.processes: list[Service] = []
        self._settings: dict[str, object] = {
            "BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
            "GROUP_ID": self.group,
            "INPUT_TOPICS": self.input_topic,
            "OUTPUT_TOPIC": self.ready_topic,
            "DEAD_LETTER_TOPIC": self.dead_letter_topic,
            "HTTP_PORT": 0,
            "LOG_FORMAT": "json",
            **settings,
        }
        cluster.create_topics({self.input_topic: input_partitions})
        if create_topics:
            self._create_topics()

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Kill what still runs; after a failure print the end of each log for the report."""
        for process in self.processes:
            process.kill()
            if kind is not None:
                print(f"--- the log of one process ends so:\n{process.tail()}")  # noqa: T201 - into the report

    @property
    def group(self) -> str:
        """The consumer group."""
        return self.names.group()

    @property
    def input_topic(self) -> str:
        """Where checkpoints come from."""
        return self.names.topic("input")

    @property
    def ready_topic(self) -> str:
        """Where ready events go."""
        return self.names.topic("ready")

    @property
    def dead_letter_topic(self) -> str:
        """Where the rest goes."""
        return self.names.topic("dead-letters")

    @property
    def changelog_topic(self) -> str:
        """The group's changelog."""
        return f"{self.group}.changelog"

    @property
    def repartition_topic(self) -> str:
        """The group's repartition topic."""
        return f"{self.group}.repartition"

    @property
    def configuration(self) -> Settings:
        """The settings as a process reads them."""
        return Settings.load(self._environment())

    def start(
        self,
        instance: str = "",
        *,
        command: Sequence[str] = ("consumer", "run"),
        **settings: object,
    ) -> Service:
        """Start one more process; `instance` makes it a static member."""
        environment = self._environment(GROUP_INSTANCE_ID=instance, **settings)
        return self._keep(Service(command, environment))

    def run(
        self, *arguments: str, stdin: bytes = b"", deadline_seconds: float = 60, **settings: object
    ) -> Finished:
        """Run another command with the settings of the group, to its end."""
        ours = {**self._settings, **settings}
        return run_command(*arguments, stdin=stdin, deadline_seconds=deadline_seconds, **ours)

    def run_unheard(self, *arguments: str) -> Finished:
        """Run another command whose reader goes away after the first line, as `head -1` does."""
        return run_unheard(*arguments, **self._settings)

    def run_in_terminal(self, *arguments: str) -> Finished:
        """Run another command with the settings of the group, on a terminal."""
        return run_in_terminal(*arguments, **self._settings)

    def restart(self, service: Service) -> Service:
        """Start a process that has ended again, with the settings it had."""
        return self._keep(service.restarted())

    def wait_until_running(
        self, shards: int, *services: Service, deadline_seconds: float = LOG_SECONDS
    ) -> None:
        """Wait until each of these processes runs a shard and each shard runs on exactly one."""

        def shared_out() -> bool:
            held = [service.running_shards() for service in services]
            return all(held) and sorted(s for one in held for s in one) == list(range(shards))

        try:
            wait_until(shared_out, deadline_seconds, what=f"{shards} running shards")
        except AssertionError as error:
            tails = "\n---\n".join(service.tail() for service in services)
            raise AssertionError(f"{error}\n{tails}") from None

    def _create_topics(self) -> None:
        """Create the service's own topics, as `checkpoint-ready topics create` does."""
        settings = self.configuration

        async def create() -> list[str]:
            admin = KafkaAdmin(Connection.of(settings), f"{self.group}-test")
            try:
                await admin.start()
                return await make_topics(admin, settings)
            finally:
                await admin.close()

        for topic in asyncio.run(create()):
            wait_until(partial(self._is_served, topic), what=f"a leader for {topic}")

    def _is_served(self, topic: str) -> bool:
        try:
            return bool(self.cluster.end_offsets(topic))
        except KafkaException:
            return False

    def _environment(self, **settings: object) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        ours = {**self._settings, **settings}
        return {**inherited, **{f"{PREFIX}{name}": str(value) for name, value in ours.items()}}

    def _keep(self, service: Service) -> Service:
        self.processes.append(service)
        return service
