"""The service's topics: required settings, creation, and the check before a shard runs.

A topic that a broker auto-created has the broker's defaults, such as a retention of a week. With
them a changelog would lose state, and a repartition topic would lose records that no shard has
read. So the service verifies settings and partition counts at every start and restore.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from consumer.config import Settings
from consumer.errors import ClusterError, TransientError
from consumer.kafka.port import ClusterAdmin
from consumer.kafka.types import TopicDescription

MIN_SHARDS: Final = 3
REPLICATION: Final = 3
KNOWN_TRIES: Final = 100
KNOWN_PAUSE_SECONDS: Final = 0.1
MIN_INSYNC_REPLICAS: Final = 2
# Room for the headers that the service adds to a forward or a dead letter: origin, reason, message.
HEADER_ROOM_BYTES: Final = 64 * 1024
CHANGELOG_MESSAGE_BYTES: Final = 256 * 1024
LOG_APPEND_TIME: Final = {"message.timestamp.type": "LogAppendTime"}
# A replica that was not in sync may lack committed records: ids, progress or events. So it must not
# become the leader, even if the brokers' default permits it.
UNCLEAN: Final = "unclean.leader.election.enable"
CLEAN: Final = {UNCLEAN: "false"}
# The required settings of the ready topic and of the dead-letter topic. If the service creates
# them, they also get CLEAN.
EVENT_POLICY: Final = {"cleanup.policy": "delete", **LOG_APPEND_TIME}
EVENT_CONFIGS: Final = {**EVENT_POLICY, **CLEAN}
CHANGELOG_CONFIGS: Final = {
    "cleanup.policy": "compact",
    "segment.bytes": str(64 * 1024 * 1024),
    "delete.retention.ms": str(2 * 24 * 3600 * 1000),
    **CLEAN,
}
JOBS_MESSAGE_BYTES: Final = 1024 * 1024
JOBS_CONFIGS: Final = {"cleanup.policy": "compact", **CLEAN}
KEPT_CONFIGS: Final = {**EVENT_POLICY, "retention.ms": "-1", "retention.bytes": "-1"}
REPARTITION_CONFIGS: Final = {**KEPT_CONFIGS, **CLEAN}
UNLIMITED_RETENTION_MS: Final = -1
SHORT_RETENTION_MS: Final = 3600 * 1000
DEAD_LETTER_RETENTION_MS: Final = 90 * 24 * 3600 * 1000


class InputRisk(msgspec.Struct, frozen=True):
    """A setting of an input topic with which the brokers can delete or lose unread records.

    ``event`` is the name of the log event that warns of the setting.
    """

    event: str
    topic: str
    text: str


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
    input_risks: tuple[InputRisk, ...] = ()

    @property
    def largest_source_bytes(self) -> int:
        """The largest batch that any of the topics accepts, in bytes."""
        return max(self.max_message_bytes.values())


async def create_topics(
    admin: ClusterAdmin, settings: Settings, input_partitions: int | None = None
) -> list[str]:
    """Create the missing topics; return the names of those created.

    The input topics belong to the user: they are created only with ``input_partitions``.

    Raises:
        ClusterError: an input topic is missing, or the cluster refuses to create a topic.
    """
    _, brokers = await admin.cluster()
    replication = min(REPLICATION, brokers)
    durable = _durable(brokers)
    created = []
    inputs = await admin.describe(settings.input_topics)
    for name in settings.input_topics:
        if name not in inputs:
            if input_partitions is None:
                raise ClusterError(_missing_input(name))
            if await admin.create(name, input_partitions, replication, durable):
                created.append(name)
    if created:
        await _wait_until_known(admin, settings.input_topics)
        inputs = await admin.describe(settings.input_topics)
    existing = await admin.describe(_our_topics(settings))
    counts = _wanted_partitions(settings, inputs, existing)
    for name, configs in _wanted_configs(settings, inputs).items():
        if name not in existing and await admin.create(
            name, counts[name], replication, {**configs, **durable}
        ):
            created.append(name)
    await _wait_until_known(admin, (*settings.input_topics, *_our_topics(settings)))
    return created


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
    problems += _allows_unclean_election(topic)
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


async def ensure_topic(
    admin: ClusterAdmin, name: str, partitions: int, configs: Mapping[str, str]
) -> bool:
    """Create a topic if it is missing; return whether this call created it.

    Raises:
        ClusterError: the cluster refuses to create it.
    """
    if name in await admin.describe([name]):
        return False
    _, brokers = await admin.cluster()
    created = await admin.create(
        name, partitions, min(REPLICATION, brokers), {**configs, **_durable(brokers)}
    )
    await _wait_until_known(admin, [name])
    return created


def _durable(brokers: int) -> dict[str, str]:
    return {"min.insync.replicas": str(MIN_INSYNC_REPLICAS)} if brokers >= REPLICATION else {}


async def _wait_until_known(admin: ClusterAdmin, names: Iterable[str]) -> None:
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
    return {name: shards if name in pair else widest for name in _our_topics(settings)}


async def check_topics(admin: ClusterAdmin, settings: Settings) -> Topology:
    """Verify every topic, and return the facts about them.

    Raises:
        ClusterError: one line for each problem, with the fix.
    """
    cluster_id, _ = await admin.cluster()
    names = (*settings.input_topics, *_our_topics(settings))
    found = await admin.describe(names)
    problems = list(find_problems(settings, found))
    if problems:
        raise ClusterError("\n".join(problems))
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
    )


def find_problems(settings: Settings, found: Mapping[str, TopicDescription]) -> Iterator[str]:
    """Yield the problems of the topics, one sentence each."""
    for name in settings.input_topics:
        if name not in found:
            yield _missing_input(name)
    for name in _our_topics(settings):
        if name not in found:
            yield (
                f"topic {name} does not exist: run `checkpoint-ready topics create`, "
                "or set CHECKPOINT_READY_CREATE_TOPICS=true"
            )
    yield from _wrong_shard_topics(settings, found)
    for name in (settings.output_topic, settings.dead_letter_topic):
        yield from _wrong_settings(found.get(name), EVENT_POLICY)
    for name in _our_topics(settings):
        yield from _allows_unclean_election(found.get(name))
    inputs = [found[name].max_message_bytes for name in settings.input_topics if name in found]
    for name in (settings.repartition_topic, settings.dead_letter_topic):
        if name in found and inputs and found[name].max_message_bytes <= max(inputs):
            yield (
                f"topic {name}: max.message.bytes is {found[name].max_message_bytes}; set it above "
                f"the input's {max(inputs)}, since the service adds headers to the records"
            )


def find_input_risks(
    settings: Settings, found: Mapping[str, TopicDescription]
) -> Iterator[InputRisk]:
    """Yield the settings of input topics with which the brokers can delete or lose unread records.

    These settings cause only warnings, because the input topics belong to the user.
    """
    for name in settings.input_topics:
        if name not in found:
            continue
        configs = found[name].configs
        if "compact" in configs.get("cleanup.policy", ""):
            yield InputRisk(
                "input_is_compacted",
                name,
                f"input topic {name}: cleanup.policy is {configs['cleanup.policy']}: compaction "
                "deletes checkpoints that were not read yet if a later record has the same key; "
                "set it to delete, or key each checkpoint by its id",
            )
        if configs.get("unclean.leader.election.enable") == "true":
            yield InputRisk(
                "input_may_be_truncated",
                name,
                f"input topic {name}: unclean.leader.election.enable is true: a new leader may "
                "lack acknowledged records, even ones that were read; set it to false",
            )
        retention_ms = int(configs.get("retention.ms", UNLIMITED_RETENTION_MS))
        if "delete" in configs.get("cleanup.policy", "") and 0 <= retention_ms < SHORT_RETENTION_MS:
            yield InputRisk(
                "input_retention_is_short",
                name,
                f"input topic {name}: retention.ms is {retention_ms}, less than an hour: an outage "
                "of that length loses checkpoints that were not read; raise retention.ms",
            )


def _wrong_shard_topics(settings: Settings, found: Mapping[str, TopicDescription]) -> Iterator[str]:
    changelog = found.get(settings.changelog_topic)
    repartition = found.get(settings.repartition_topic)
    yield from _wrong_settings(changelog, {"cleanup.policy": "compact"})
    yield from _wrong_settings(repartition, KEPT_CONFIGS)
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


def _allows_unclean_election(topic: TopicDescription | None) -> Iterator[str]:
    """Yield a problem if a replica that was not in sync may become the leader.

    Brokers also report a value that is only their default. If a broker reports no value, it does
    not have this setting.
    """
    if topic is not None and topic.configs.get(UNCLEAN) == "true":
        yield (
            f"topic {topic.name}: {UNCLEAN} is true, so the brokers can lose committed records "
            f"without an error; set it to false (kafka-configs.sh --alter --entity-type topics "
            f"--entity-name "
            f"{topic.name} --add-config {UNCLEAN}=false)"
        )


def _missing_input(name: str) -> str:
    return (
        f"input topic {name} does not exist: create it, correct CHECKPOINT_READY_INPUT_TOPICS, "
        "or run `checkpoint-ready topics create --input-partitions N`"
    )


def _our_topics(settings: Settings) -> tuple[str, ...]:
    return (
        settings.changelog_topic,
        settings.repartition_topic,
        settings.output_topic,
        settings.dead_letter_topic,
    )


def _wanted_configs(
    settings: Settings, inputs: Mapping[str, TopicDescription]
) -> dict[str, dict[str, str]]:
    largest = max(topic.max_message_bytes for topic in inputs.values())
    room = {"max.message.bytes": str(largest + HEADER_ROOM_BYTES)}
    retention = {"retention.ms": str(DEAD_LETTER_RETENTION_MS)}
    return {
        settings.changelog_topic: dict(CHANGELOG_CONFIGS),
        settings.repartition_topic: {**REPARTITION_CONFIGS, **room},
        settings.output_topic: {**EVENT_CONFIGS, **room},
        settings.dead_letter_topic: {**EVENT_CONFIGS, **retention, **room},
    }
