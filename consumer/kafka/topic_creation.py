"""Creates the service's topics, with all of their settings or with those that a cluster allows."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
import structlog

from consumer.config import Settings
from consumer.config.parsing import MIN_REPARTITION_RETENTION_DAYS
from consumer.errors import ClusterError, SettingsRefused
from consumer.kafka.port import ClusterAdmin
from consumer.kafka.topic_settings import (
    MIN_REPARTITION_RETENTION_MS,
    MIN_SHARDS,
    REPLICATION,
    RETENTION_MS,
    UNLIMITED,
    LeftOutSetting,
    Profile,
    durable_configs,
    find_left_out,
    of_profile,
    optional_settings,
    our_topics,
    wanted_configs,
)
from consumer.kafka.types import TopicDescription

KNOWN_TRIES: Final = 100
KNOWN_PAUSE_SECONDS: Final = 0.1
log = structlog.get_logger(__name__)


class NewTopicOptions(msgspec.Struct, frozen=True):
    """How ``create_topics`` creates topics."""

    input_partitions: int | None = None
    """The partitions of missing input topics. None: a missing input topic is an error."""
    profile: Profile | None = None
    """None: the full profile, without the settings that the cluster refuses."""


class CreatedTopics(msgspec.Struct, frozen=True):
    """The topics that one call created, and the settings that they did not get."""

    names: tuple[str, ...]
    left_out: tuple[LeftOutSetting, ...] = ()
    refusal: str = ""
    """Why the cluster first refused settings; empty if it did not."""


AS_BEFORE: Final = NewTopicOptions()


async def create_topics(
    admin: ClusterAdmin, settings: Settings, options: NewTopicOptions = AS_BEFORE
) -> CreatedTopics:
    """Create the missing topics; return those created, and which settings they lack.

    The input topics belong to the user: they are created only with ``input_partitions``.

    Raises:
        ClusterError: an input topic is missing, or the cluster refuses to create a topic.
        SettingsRefused: the cluster refuses a setting of the profile.
    """
    creator = await TopicCreator.connect(admin, options.profile)
    inputs = await admin.describe(settings.input_topics)
    for name in settings.input_topics:
        if name not in inputs:
            if options.input_partitions is None:
                raise ClusterError(missing_input(name))
            await creator.create(name, options.input_partitions, {})
    if creator.created:
        await wait_until_known(admin, settings.input_topics)
        inputs = await admin.describe(settings.input_topics)
    existing = await admin.describe(our_topics(settings))
    counts = _wanted_partitions(settings, inputs, existing)
    wanted = wanted_configs(settings, inputs)
    for name, configs in wanted.items():
        if name not in existing:
            await creator.create(name, counts[name], configs)
    await wait_until_known(admin, (*settings.input_topics, *our_topics(settings)))
    return await creator.result()


async def ensure_topic(
    admin: ClusterAdmin, name: str, partitions: int, configs: Mapping[str, str]
) -> CreatedTopics:
    """Create a topic if it is missing, with the settings that the cluster allows.

    Raises:
        ClusterError: the cluster refuses to create it.
    """
    if name in await admin.describe([name]):
        return CreatedTopics(())
    creator = await TopicCreator.connect(admin)
    await creator.create(name, partitions, configs)
    await wait_until_known(admin, [name])
    created = await creator.result()
    log_left_out(created)
    return created


def log_left_out(created: CreatedTopics) -> None:
    """Log each setting that a new topic did not get."""
    for one in created.left_out:
        log.warning(
            "topic_setting_left_out",
            topic=one.topic,
            setting=one.setting,
            wanted=one.wanted,
            actual=one.actual,
            hint=one.why,
            refusal=created.refusal,
        )


class TopicCreator:
    """Creates topics in one profile. It leaves out the optional settings that are refused."""

    def __init__(self, admin: ClusterAdmin, brokers: int, profile: Profile | None) -> None:
        self.created: list[str] = []
        self.refusal = ""
        self._admin = admin
        self._replication = min(REPLICATION, brokers)
        self._durable = durable_configs(brokers)
        self._may_leave_out = profile is not Profile.FULL
        self._profile = profile or Profile.FULL
        self._wanted: dict[str, dict[str, str]] = {}

    @classmethod
    async def connect(cls, admin: ClusterAdmin, profile: Profile | None = None) -> "TopicCreator":
        """Return a creator for this cluster. Only the full profile, if it is chosen, is fixed.

        Raises:
            ClusterError, TaskFailed, TransientError: the cluster does not answer.
        """
        _, brokers = await admin.cluster()
        return cls(admin, brokers, profile)

    async def create(self, name: str, partitions: int, configs: Mapping[str, str]) -> None:
        """Create a topic, unless it exists already.

        Raises:
            ClusterError: the cluster refuses.
            SettingsRefused: it refuses a setting of the profile.
        """
        wanted = {**configs, **self._durable}
        chosen = of_profile(wanted, self._profile)
        try:
            is_new = await self._admin.create(name, partitions, self._replication, chosen)
        except SettingsRefused as error:
            if not self._may_leave_out:
                raise SettingsRefused(
                    f"{error}; without --profile the settings that the cluster refuses are left out"
                ) from error
            self.refusal = self.refusal or str(error)
            accepted = await self._accepted(name, partitions, chosen)
            try:
                is_new = await self._admin.create(name, partitions, self._replication, accepted)
            except SettingsRefused as second:
                hint = await self._retention_hint(name, partitions, accepted)
                raise self._refused_again(second, hint) from second
        if is_new:
            self.created.append(name)
            self._wanted[name] = wanted

    async def result(self) -> CreatedTopics:
        """Return the created topics, and the settings that were left out and that they lack.

        Raises:
            ClusterError, TaskFailed, TransientError: the cluster does not describe them.
        """
        names = tuple(self.created)
        is_complete = self._profile is Profile.FULL and not self.refusal
        if is_complete or not names:
            return CreatedTopics(names)
        found = await self._admin.describe(names)
        return CreatedTopics(names, tuple(find_left_out(self._wanted, found)), refusal=self.refusal)

    async def _accepted(
        self, name: str, partitions: int, configs: Mapping[str, str]
    ) -> dict[str, str]:
        """Return these settings without those that the cluster refuses.

        Brokers do not say in a common form which setting they refuse. So each optional setting is
        added to the others by a dry run, which creates nothing.
        """
        optional = optional_settings(configs)
        accepted = {key: value for key, value in configs.items() if key not in optional}
        for key in optional:
            more = {**accepted, key: configs[key]}
            if await self._admin.creation_refusal(name, partitions, self._replication, more):
                continue
            accepted = more
        return accepted

    async def _retention_hint(self, name: str, partitions: int, configs: Mapping[str, str]) -> str:
        """Return how to create the topic, if the cluster refuses only an unlimited retention."""
        if configs.get(RETENTION_MS) != UNLIMITED:
            return ""
        limited = {**configs, RETENTION_MS: str(MIN_REPARTITION_RETENTION_MS)}
        if await self._admin.creation_refusal(name, partitions, self._replication, limited):
            return ""
        return (
            "the cluster accepts a limited retention of this topic: set "
            "CHECKPOINT_READY_REPARTITION_RETENTION_DAYS to "
            f"{MIN_REPARTITION_RETENTION_DAYS} or more"
        )

    def _refused_again(self, error: SettingsRefused, hint: str) -> SettingsRefused:
        return SettingsRefused(
            f"{error}; the service needs this setting (before, the cluster refused: "
            f"{self.refusal}); {hint or 'create the topic by the means of your cluster'}"
        )


async def wait_until_known(admin: ClusterAdmin, names: Iterable[str]) -> None:
    """Wait until every broker knows the new topics. Until then a broker can report them as unknown.

    Raises:
        ClusterError: after 100 queries, with pauses of 0.1 s, a broker still does not know one.
    """
    missing = set(names)
    for _ in range(KNOWN_TRIES):
        missing = await admin.unknown_somewhere(missing)
        if not missing:
            return
        await asyncio.sleep(KNOWN_PAUSE_SECONDS)
    raise ClusterError(f"created, but not known to the cluster yet: {', '.join(sorted(missing))}")


def missing_input(name: str) -> str:
    """Return the problem that an input topic does not exist, with the fix."""
    return (
        f"input topic {name} does not exist: create it, correct CHECKPOINT_READY_INPUT_TOPICS, "
        "or run `checkpoint-ready topics create --input-partitions N`"
    )


def _wanted_partitions(
    settings: Settings,
    inputs: Mapping[str, TopicDescription],
    existing: Mapping[str, TopicDescription],
) -> dict[str, int]:
    """Return the partition count of each topic to create.

    The changelog and the repartition topic (`pair`) always have the same count.
    """
    widest = max(topic.partitions for topic in inputs.values())
    pair = (settings.changelog_topic, settings.repartition_topic)
    fixed = [existing[name].partitions for name in pair if name in existing]
    shards = fixed[0] if fixed else settings.shards or max(MIN_SHARDS, widest)
    return {name: shards if name in pair else widest for name in our_topics(settings)}
