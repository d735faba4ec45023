"""The temporary topics of a probe: creates, judges and deletes them."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from consumer.config import Settings
from consumer.errors import (
    CheckpointReadyError,
    ClusterError,
    CreationDenied,
    SettingsRefused,
)
from consumer.kafka.port import ClusterAdmin
from consumer.kafka.probe_findings import (
    BOUNDED_RETENTION,
    CLEAN_UP,
    COMPACTION,
    DESCRIBE,
    MESSAGE_SIZE,
    PROFILE,
    RETENTION,
    TIMESTAMPS,
    Findings,
    Status,
)
from consumer.kafka.repartition_retention import repartition_retention_ms
from consumer.kafka.topic_creation import CreatedTopics, TopicCreator, wait_until_known
from consumer.kafka.topic_settings import (
    CHANGELOG_CONFIGS,
    HEADER_ROOM_BYTES,
    MIN_REPARTITION_RETENTION_MS,
    REPARTITION_CONFIGS,
    RETENTION_MS,
    UNLIMITED,
    find_unsafe,
    repartition_retention,
)
from consumer.kafka.types import TopicDescription

CLEAN_UP_SECONDS: Final = 5.0
# More than Kafka's default for an input topic, by the room for headers that forwards need.
MESSAGE_BYTES: Final = 1_048_588 + HEADER_ROOM_BYTES


class ProbeAdmin(ClusterAdmin, Protocol):
    """The admin client of the probe, which also deletes topics."""

    async def delete_topics(self, names: Iterable[str]) -> None:
        """Delete topics; topics that do not exist are ignored."""


class ProbeTopics:
    """One topic like the repartition topic, and one like the changelog."""

    def __init__(
        self, admin: ProbeAdmin, settings: Settings, findings: Findings, prefix: str
    ) -> None:
        self.events = prefix
        self.changelog = f"{prefix}.changelog"
        self.left_behind = ""
        """The topics that could not be deleted, with the reason; empty if none remain."""
        self._admin = admin
        self._findings = findings
        self._wanted_retention = repartition_retention(settings)
        self._to_delete: list[str] = []

    @property
    def names(self) -> tuple[str, str]:
        """Both topics."""
        return self.events, self.changelog

    async def create(self, brokers: int) -> None:
        """Create both topics, and compare what the brokers report with what was asked for.

        Raises:
            ClusterError: the cluster refuses to create a topic.
            TaskFailed, TransientError: the brokers do not answer.
        """
        creator = TopicCreator(self._admin, brokers, None)
        events = {**REPARTITION_CONFIGS, MESSAGE_SIZE.name: str(MESSAGE_BYTES)}
        await self._create_events(creator, events)
        await self._create(creator, self.changelog, CHANGELOG_CONFIGS)
        await wait_until_known(self._admin, self.names)
        if not creator.refusal:
            self._findings.add(PROFILE, "all topic settings are accepted")
        await self._findings.attempt(DESCRIBE, lambda: self._describe(creator))

    async def delete(self) -> None:
        """Delete the topics. An error is only reported: the findings are worth more."""
        if not self._to_delete:
            return
        self.left_behind = self._remaining("their deletion was interrupted")  # by a signal
        try:
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                await self._admin.delete_topics(self._to_delete)
        except TimeoutError:
            self.left_behind = self._remaining(f"no answer within {CLEAN_UP_SECONDS:g} s")
        except CheckpointReadyError as error:
            self.left_behind = self._remaining(str(error))
        else:
            self.left_behind = ""
            return
        self._findings.add(CLEAN_UP, self.left_behind, Status.LIMITED)

    def _remaining(self, reason: str) -> str:
        return f"{', '.join(self._to_delete)} may remain: {reason}"

    async def _create_events(self, creator: TopicCreator, configs: Mapping[str, str]) -> None:
        """Create the first topic, with a limited retention if only this is accepted."""
        wanted = {**configs, RETENTION_MS: self._wanted_retention}
        try:
            await self._create(creator, self.events, wanted)
        except SettingsRefused as error:
            if self._wanted_retention != UNLIMITED:
                raise
            least = str(MIN_REPARTITION_RETENTION_MS)
            try:
                await self._create(creator, self.events, {**configs, RETENTION_MS: least})
            except SettingsRefused:
                raise error from None  # the retention is not the cause
            self._findings.add(
                BOUNDED_RETENTION,
                f"{RETENTION_MS} of {UNLIMITED} is refused ({error}), and {least} is accepted",
                Status.LIMITED,
            )

    async def _create(self, creator: TopicCreator, name: str, configs: Mapping[str, str]) -> None:
        # Without an answer, or after an error of the brokers, the topic may exist.
        self._to_delete.append(name)
        try:
            await creator.create(name, 1, configs)
        except (SettingsRefused, CreationDenied):
            self._to_delete.remove(name)
            raise

    async def _describe(self, creator: TopicCreator) -> str:
        created = await creator.result()
        described = await self._admin.describe(self.names)
        if missing := set(self.names) - described.keys():
            raise ClusterError(f"the brokers do not describe {', '.join(sorted(missing))}")
        self._judge_profile(created)
        self._judge_settings(described)
        self._judge_retention(described[self.events])
        self._judge_message_size(described[self.events])
        return "the brokers show the settings of topics"

    def _judge_profile(self, created: CreatedTopics) -> None:
        if created.refusal:
            names = ", ".join(sorted({one.setting for one in created.left_out})) or "none"
            self._findings.add(
                PROFILE,
                f"settings are refused ({created.refusal}); different without them: {names}",
                Status.LIMITED,
            )

    def _judge_settings(self, described: Mapping[str, TopicDescription]) -> None:
        events, changelog = (described[name].configs for name in self.names)
        stamps = events.get("message.timestamp.type")
        is_stamped = stamps == "LogAppendTime"
        self._findings.add(
            TIMESTAMPS,
            f"message.timestamp.type is {stamps}",
            None if is_stamped else Status.MISSING,
        )
        policy = changelog.get("cleanup.policy")
        if policy != "compact":
            self._findings.add(COMPACTION, f"cleanup.policy is {policy}", Status.MISSING)
        for one in find_unsafe(described.values(), self.events):
            self._findings.add(PROFILE, one.text, Status.LIMITED)

    def _judge_retention(self, events: TopicDescription) -> None:
        actual = events.configs.get(RETENTION_MS)
        detail = f"{RETENTION_MS} is {actual}"
        retention_ms = repartition_retention_ms(events)
        if actual is None:
            detail = f"the brokers do not report {RETENTION_MS}"
            self._findings.add(BOUNDED_RETENTION, detail, Status.LIMITED)
        elif retention_ms is None or actual == self._wanted_retention:
            self._findings.add(RETENTION, detail)
        elif retention_ms < MIN_REPARTITION_RETENTION_MS:
            detail += f", although a longer one was set; at least {MIN_REPARTITION_RETENTION_MS}"
            self._findings.add(RETENTION, f"{detail} is needed", Status.MISSING)
        elif not self._findings.has(BOUNDED_RETENTION):
            detail += f", although {self._wanted_retention} was set"
            self._findings.add(BOUNDED_RETENTION, detail, Status.LIMITED)

    def _judge_message_size(self, events: TopicDescription) -> None:
        actual = events.configs.get(MESSAGE_SIZE.name)
        if actual is None:
            detail = f"the brokers do not report {MESSAGE_SIZE.name}"
            self._findings.add(MESSAGE_SIZE, detail, Status.MISSING)
        elif int(actual) < MESSAGE_BYTES:
            detail = f"{MESSAGE_SIZE.name} is {actual}, although {MESSAGE_BYTES} was set"
            self._findings.add(MESSAGE_SIZE, detail, Status.MISSING)
        else:
            self._findings.add(MESSAGE_SIZE, f"{MESSAGE_SIZE.name} can be set")
