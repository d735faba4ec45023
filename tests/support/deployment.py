"""Runs the service for one test: a group with its topics, and the processes that a test starts."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Self

from confluent_kafka import KafkaException

from consumer.config import Settings
from consumer.kafka.client import Connection
from consumer.kafka.client.admin import KafkaAdmin
from consumer.kafka.topic_creation import create_topics as make_topics
from tests.support.command_line import (
    Finished,
    environment,
    run_command,
    run_in_terminal,
    run_with_closed_output,
)
from tests.support.service_process import LOG_SECONDS, RUN, ServiceProcess
from tests.support.waiting import DeadlineExceeded, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.support.cluster import Cluster
    from tests.support.topics import Names


KNOWN_SECONDS = 20.0


class Deployment:
    """A group of processes on topics of its own; a context manager that ends all of them."""

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        cluster: Cluster,
        names: Names,
        *,
        input_partitions: int = 3,
        input_config: Mapping[str, str] | None = None,
        create_topics: bool = True,
        log: Path | None = None,
        **settings: object,
    ) -> None:
        """Create the input topic and, by default, the topics of the service.

        Args:
            cluster: where the topics are.
            names: the names of topics and group.
            input_partitions: how many partitions the input has.
            input_config: topic settings of the input.
            create_topics: whether to create the topics of the service too.
            log: where the processes log (default: a temporary file each).
            settings: variables of every process, without their prefix.
        """
        self.cluster = cluster
        self.names = names
        self.topics = names.topics()
        self.processes: list[ServiceProcess] = []
        self.variables: dict[str, str] = {}  # other variables of the processes, by their full names
        self._log = log
        self._settings: dict[str, object] = {
            **self.topics.settings(cluster.bootstrap_servers),
            **settings,
        }
        cluster.create_topics({self.input_topic: input_partitions}, input_config)
        if create_topics:
            self._create_topics()

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Kill the processes that still run; after a failure print the end of each log."""
        for process in self.processes:
            process.close()
            if kind is not None:
                print(f"--- the end of the log of one process:\n{process.tail()}")  # noqa: T201 - into the report

    @property
    def group(self) -> str:
        """The consumer group."""
        return self.topics.group

    @property
    def input_topic(self) -> str:
        """The topic of the checkpoints."""
        return self.topics.input

    @property
    def ready_topic(self) -> str:
        """The topic of the ready events."""
        return self.topics.ready

    @property
    def dead_letter_topic(self) -> str:
        """The topic of the dead letters."""
        return self.topics.dead_letters

    @property
    def changelog_topic(self) -> str:
        """The group's changelog."""
        return self.topics.changelog

    @property
    def repartition_topic(self) -> str:
        """The group's repartition topic."""
        return self.topics.repartition

    @property
    def environment(self) -> dict[str, str]:
        """All variables of a process."""
        return environment(self._settings) | self.variables

    @property
    def configuration(self) -> Settings:
        """The settings as a process reads them."""
        return Settings.load(environment(self._settings))

    def start(
        self,
        instance: str = "",
        *,
        command: Sequence[str] = RUN,
        **settings: object,
    ) -> ServiceProcess:
        """Start one more process.

        Args:
            instance: makes the process a static member of this name.
            command: what follows `python -m`.
            settings: variables of the service, without their prefix.
        """
        ours = {**self._settings, "GROUP_INSTANCE_ID": instance, **settings}
        variables = environment(ours) | self.variables
        return self._keep(ServiceProcess(command, variables, log=self._log))

    def run(
        self, *arguments: str, stdin: bytes = b"", deadline_seconds: float = 60, **settings: object
    ) -> Finished:
        """Run another command with the settings of the group, to its end."""
        ours = {**self._settings, **settings}
        return run_command(*arguments, stdin=stdin, deadline_seconds=deadline_seconds, **ours)

    def run_with_closed_output(self, *arguments: str) -> Finished:
        """Run another command and close its output after the first line, as `head -1` does."""
        return run_with_closed_output(*arguments, **self._settings)

    def run_in_terminal(self, *arguments: str) -> Finished:
        """Run another command with the settings of the group, on a terminal."""
        return run_in_terminal(*arguments, **self._settings)

    def restart(self, service: ServiceProcess) -> ServiceProcess:
        """Start an ended process again with the same settings."""
        return self._keep(service.restarted())

    def wait_until_running(
        self, shards: int, *services: ServiceProcess, deadline_seconds: float = LOG_SECONDS
    ) -> None:
        """Wait until each of these processes runs a shard, and each shard runs on exactly one.

        Raises:
            DeadlineExceeded: with the end of each log.
        """

        def each_shard_runs_once() -> bool:
            held = [service.running_shards() for service in services]
            return all(held) and sorted(s for one in held for s in one) == list(range(shards))

        try:
            wait_until(each_shard_runs_once, deadline_seconds, what=f"{shards} running shards")
        except DeadlineExceeded as error:
            tails = "\n---\n".join(service.tail() for service in services)
            raise DeadlineExceeded(f"{error}\n{tails}") from None

    def _create_topics(self) -> None:
        """Create the topics of the service, as `checkpoint-ready topics create` does."""
        settings = self.configuration

        async def create() -> tuple[str, ...]:
            admin = KafkaAdmin(Connection.of(settings), f"{self.group}-test")
            try:
                await admin.start()

                # The broker that is asked may know the new input later than the others.
                deadline = time.monotonic() + KNOWN_SECONDS
                while await admin.unknown_somewhere(settings.input_topics):
                    assert time.monotonic() < deadline, f"unknown: {settings.input_topics}"
                return (await make_topics(admin, settings)).names
            finally:
                await admin.close()

        for topic in asyncio.run(create()):
            wait_until(partial(self._has_leaders, topic), what=f"a leader for {topic}")

    def _has_leaders(self, topic: str) -> bool:
        try:
            return bool(self.cluster.end_offsets(topic))
        except KafkaException:
            return False

    def _keep(self, service: ServiceProcess) -> ServiceProcess:
        self.processes.append(service)
        return service
