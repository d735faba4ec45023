"""The check of the service's topics, before a shard runs: settings and partition counts.

A topic that a broker auto-created has the broker's defaults, such as a retention of a week. With
them a changelog would lose state, and a repartition topic would lose records that no shard has
read. So the service verifies settings and partition counts at every start and restore.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from consumer.config import Settings
from consumer.errors import ClusterError, TopicsRefused, TransientError
from consumer.kafka.port import ClusterAdmin
from consumer.kafka.repartition_retention import (
    UNLIMITED_RETENTION_MS,
    find_retention_risks,
    find_wrong_retention,
    repartition_retention_ms,
)
from consumer.kafka.topic_creation import ensure_topic, missing_input
from consumer.kafka.topic_settings import (
    CHANGELOG_MESSAGE_BYTES,
    EVENT_POLICY,
    JOBS_CONFIGS,
    JOBS_MESSAGE_BYTES,
    TopicRisk,
    UnsafeSetting,
    find_unsafe,
    our_topics,
)
from consumer.kafka.types import TopicDescription

SHORT_RETENTION_MS: Final = 3600 * 1000


class Topology(msgspec.Struct, frozen=True):
    """The facts about the cluster's topics that the engine needs."""

    cluster_id: str
    shards: int
    inputs: dict[str, int]
    output_partitions: int
    dead_letter_partitions: int
    max_message_bytes: dict[str, int]
    topic_ids: dict[str, str] = {}
    leader_epochs: dict[str, dict[int, int]] = {}
    leaderless: dict[str, tuple[int, ...]] = {}
    input_risks: tuple[TopicRisk, ...] = ()
    setting_risks: tuple[TopicRisk, ...] = ()
    """Risks of our own topics that the cluster does not let anyone remove, or that were chosen."""
    repartition_retention_ms: int | None = None
    """After this time the brokers delete forwards. None: never."""

    @property
    def risks(self) -> tuple[TopicRisk, ...]:
        """All risks, for warnings."""
        return (*self.input_risks, *self.setting_risks)

    @property
    def largest_source_bytes(self) -> int:
        """The largest batch that any of the topics accepts, in bytes."""
        return max(self.max_message_bytes.values())


async def ensure_jobs_topic(admin: ClusterAdmin, settings: Settings) -> TopicDescription:
    """Return the topic with the progress of all jobs; create it if it is missing.

    Raises:
        ClusterError: it cannot be created, or has wrong settings.
        TransientError: it exists, but the broker that was asked does not know it yet.
    """
    name = settings.jobs_topic
    await ensure_topic(admin, name, 1, JOBS_CONFIGS)
    topic = (await admin.describe([name])).get(name)
    if topic is None:  # a broker that has just started may not know it yet
        raise TransientError(f"topic {name} is not known yet to the broker that was asked")
    problems = list(_wrong_settings(topic, {"cleanup.policy": "compact"}))
    problems += (await _judge(admin, find_unsafe([topic])))[0]
    if topic.max_message_bytes < JOBS_MESSAGE_BYTES:
        problems.append(
            f"topic {name}: max.message.bytes is {topic.max_message_bytes}; set it to "
            f"{JOBS_MESSAGE_BYTES} or more, since the progress of one transaction must fit"
        )
    if topic.partitions != 1:
        problems.append(f"topic {name} has {topic.partitions} partitions, but must have 1")
    if problems:
        raise ClusterError("\n".join(problems))
    return topic


async def check_topics(admin: ClusterAdmin, settings: Settings) -> Topology:
    """Verify every topic, and return the facts about them.

    Raises:
        TopicsRefused: topics have wrong settings; one line for each problem, with the fix.
        ClusterError: the same, and a topic is missing.
    """
    cluster_id, _ = await admin.cluster()
    names = (*settings.input_topics, *our_topics(settings))
    found = await admin.describe(names)
    problems, setting_risks = await _judge(admin, find_unsafe_settings(settings, found))
    problems = [*find_problems(settings, found), *problems]
    if problems:
        is_complete = all(name in found for name in names)
        raise (TopicsRefused if is_complete else ClusterError)("\n".join(problems))
    repartition = found[settings.repartition_topic]
    return Topology(
        cluster_id=cluster_id,
        shards=found[settings.changelog_topic].partitions,
        inputs={name: found[name].partitions for name in settings.input_topics},
        output_partitions=found[settings.output_topic].partitions,
        dead_letter_partitions=found[settings.dead_letter_topic].partitions,
        max_message_bytes={name: found[name].max_message_bytes for name in names},
        topic_ids={
            name: topic_id for name in names if (topic_id := found[name].topic_id) is not None
        },
        leader_epochs={name: found[name].leader_epochs for name in names},
        leaderless={name: lost for name in names if (lost := found[name].leaderless)},
        input_risks=tuple(find_input_risks(settings, found)),
        setting_risks=(*find_retention_risks(settings, repartition), *setting_risks),
        repartition_retention_ms=repartition_retention_ms(repartition),
    )


async def _judge(
    admin: ClusterAdmin, unsafe: Iterable[UnsafeSetting]
) -> tuple[list[str], list[TopicRisk]]:
    """Return the problems and the risks among unsafe settings.

    It is a problem if the setting can be corrected. If the brokers refuse another value, it is only
    a risk: the service would otherwise not run on such a cluster at all. The brokers are asked by a
    dry run, which changes nothing, and only if a setting is unsafe. Some settings are always only
    a risk, see `UnsafeSetting.is_only_a_risk`.
    """
    problems, risks = [], []
    for one in unsafe:
        if one.is_only_a_risk:
            risks.append(TopicRisk("topic_setting_unsafe", one.topic, one.fix))
            continue
        try:
            refusal = await admin.setting_refusal(one.topic, one.setting, one.wanted)
        except ClusterError as error:  # a missing ACL
            problems.append(
                f"{one.fix}. If the cluster does not allow this, let the service ask for it "
                f"({error}): then this is only a warning"
            )
            continue
        if refusal is None:
            problems.append(one.fix)
        else:
            text = f"{one.text}; the cluster refuses {one.wanted} ({refusal})"
            risks.append(TopicRisk("topic_setting_refused", one.topic, text))
    return problems, risks


def find_unsafe_settings(
    settings: Settings, found: Mapping[str, TopicDescription]
) -> Iterator[UnsafeSetting]:
    """Yield the unsafe settings of our topics that some clusters do not let operators correct."""
    ours = [found[name] for name in our_topics(settings) if name in found]
    return find_unsafe(ours, settings.repartition_topic)


def find_problems(settings: Settings, found: Mapping[str, TopicDescription]) -> Iterator[str]:
    """Yield the problems of the topics that every cluster lets operators correct."""
    for name in settings.input_topics:
        if name not in found:
            yield missing_input(name)
    for name in our_topics(settings):
        if name not in found:
            yield (
                f"topic {name} does not exist: run `checkpoint-ready topics create`, "
                "or set CHECKPOINT_READY_CREATE_TOPICS=true"
            )
    yield from _wrong_shard_topics(settings, found)
    for name in (settings.output_topic, settings.dead_letter_topic):
        yield from _wrong_settings(found.get(name), EVENT_POLICY)
    inputs = [found[name].max_message_bytes for name in settings.input_topics if name in found]
    for name in (settings.repartition_topic, settings.dead_letter_topic):
        if name in found and inputs and found[name].max_message_bytes <= max(inputs):
            yield (
                f"topic {name}: max.message.bytes is {found[name].max_message_bytes}; set it above "
                f"the input's {max(inputs)}, since the service adds headers to the records"
            )


def find_input_risks(
    settings: Settings, found: Mapping[str, TopicDescription]
) -> Iterator[TopicRisk]:
    """Yield the settings of input topics with which the brokers can delete or lose unread records.

    These settings cause only warnings, because the input topics belong to the user.
    """
    for name in settings.input_topics:
        if name not in found:
            continue
        configs = found[name].configs
        if "compact" in configs.get("cleanup.policy", ""):
            yield TopicRisk(
                "input_is_compacted",
                name,
                f"input topic {name}: cleanup.policy is {configs['cleanup.policy']}: compaction "
                "deletes checkpoints that were not read yet if a later record has the same key; "
                "set it to delete, or key each checkpoint by its id",
            )
        if configs.get("unclean.leader.election.enable") == "true":
            yield TopicRisk(
                "input_may_be_truncated",
                name,
                f"input topic {name}: unclean.leader.election.enable is true: a new leader may "
                "lack acknowledged records, even ones that were read; set it to false",
            )
        retention_ms = int(configs.get("retention.ms", UNLIMITED_RETENTION_MS))
        if "delete" in configs.get("cleanup.policy", "") and 0 <= retention_ms < SHORT_RETENTION_MS:
            yield TopicRisk(
                "input_retention_is_short",
                name,
                f"input topic {name}: retention.ms is {retention_ms}, less than an hour: an outage "
                "of that length loses checkpoints that were not read; raise retention.ms",
            )


def _wrong_shard_topics(settings: Settings, found: Mapping[str, TopicDescription]) -> Iterator[str]:
    changelog = found.get(settings.changelog_topic)
    repartition = found.get(settings.repartition_topic)
    yield from _wrong_settings(changelog, {"cleanup.policy": "compact"})
    yield from _wrong_settings(repartition, EVENT_POLICY)
    if repartition:
        yield from find_wrong_retention(repartition)
    if changelog and changelog.max_message_bytes < CHANGELOG_MESSAGE_BYTES:
        yield (
            f"topic {changelog.name}: max.message.bytes is {changelog.max_message_bytes}; set it "
            f"to {CHANGELOG_MESSAGE_BYTES} or more, since the longest ids must fit"
        )
    if changelog and settings.shards and changelog.partitions != settings.shards:
        yield (
            f"topic {changelog.name} has {changelog.partitions} partitions, but "
            f"CHECKPOINT_READY_SHARDS is {settings.shards}: the number of shards can never change; "
            "unset the variable"
        )
    if changelog and repartition and changelog.partitions != repartition.partitions:
        yield (
            f"topics {changelog.name} ({changelog.partitions} partitions) and {repartition.name} "
            f"({repartition.partitions}) must have the same number of partitions, and neither "
            "may ever grow"
        )


def _wrong_settings(topic: TopicDescription | None, wanted: Mapping[str, str]) -> Iterator[str]:
    if topic is None:
        return
    for key, value in wanted.items():
        actual = topic.configs.get(key)
        if actual != value:
            yield f"topic {topic.name}: {key} is {actual}; set it to {value}"
