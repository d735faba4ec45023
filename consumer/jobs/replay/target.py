"""The topic that a replay publishes to: which topics are allowed, and which one it creates."""

from typing import Final

import msgspec

from consumer.config import Settings
from consumer.config.parsing import TOPIC_NAME
from consumer.errors import ClusterError, ConfigError
from consumer.jobs.context import JobContext
from consumer.kafka.topic_creation import ensure_topic
from consumer.kafka.topic_settings import EVENT_CONFIGS

# Added to `max.message.bytes` of the live topic when a replay creates its target. It is enough for
# the attribute `replayid` with the longest allowed name of a replay, also as a header.
REPLAY_EXTRA_BYTES: Final = 1024


class Target(msgspec.Struct, frozen=True):
    """The target topic as it exists, or as the replay would create it."""

    topic: str
    partitions: int
    max_message_bytes: int
    exists: bool

    async def ensure(self, context: JobContext) -> None:
        """Create the topic if it is missing.

        Raises:
            ClusterError: the cluster refuses to create it.
        """
        configs = {**EVENT_CONFIGS, "max.message.bytes": str(self.max_message_bytes)}
        await ensure_topic(context.admin, self.topic, self.partitions, configs)


def default_target(settings: Settings) -> str:
    """Return the target topic of a replay without ``--target``."""
    return settings.replay_topic


def allowed_target(settings: Settings, target: str, *, to_live: bool) -> str:
    """Return the name of the target topic; an empty `target` means the default.

    Raises:
        ConfigError: a replay must not write to this topic.
    """
    if to_live and target:
        raise ConfigError("--to-live and --target exclude each other")
    target = settings.output_topic if to_live else target or default_target(settings)
    if not TOPIC_NAME.fullmatch(target) or target in {".", ".."}:
        raise ConfigError(f"--target: {target!r} is not a valid topic name")
    if target == settings.output_topic and not to_live:
        raise ConfigError(
            f"--target: {target} is the live ready topic; its subscribers would receive the "
            "events again. Use --to-live if you want that"
        )
    reserved = {
        **dict.fromkeys(settings.input_topics, "an input topic, which the replay reads"),
        settings.dead_letter_topic: "the dead-letter topic",
        settings.changelog_topic: "the changelog",
        settings.repartition_topic: "the repartition topic",
        settings.jobs_topic: "the journal of jobs",
    }
    if target in reserved:
        raise ConfigError(f"--target: {target} is {reserved[target]}; choose another topic")
    return target


async def describe_target(context: JobContext, topic: str) -> Target:
    """Return the target topic as it exists, or as the replay would create it.

    Raises:
        ClusterError: the topic does not exist and is not the default target, which is the only
            topic that a replay creates.
    """
    settings = context.settings
    topics = await context.admin.describe([settings.output_topic])
    live = topics[settings.output_topic]
    found = (await context.admin.describe([topic])).get(topic)
    if found is not None:
        return Target(found.name, found.partitions, found.max_message_bytes, exists=True)
    if topic != default_target(settings):
        raise ClusterError(
            f"topic {topic} does not exist: create it, or leave --target out to use "
            f"{default_target(settings)}, which this command creates if it is missing"
        )
    max_message_bytes = live.max_message_bytes + REPLAY_EXTRA_BYTES
    return Target(topic, live.partitions, max_message_bytes, exists=False)
