"""The settings of the service's topics, in full and in the minimal profile.

Some clusters refuse most topic settings: MSK Serverless, IBM Event Streams, clusters with a
CreateTopicPolicy. The minimal profile has the settings that they accept and that the service
cannot do without, and those that protect committed records, as far as the cluster accepts them.
"""

import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from consumer.config import Settings
from consumer.config.parsing import MIN_REPARTITION_RETENTION_DAYS
from consumer.kafka.types import TopicDescription

MIN_SHARDS: Final = 3
REPLICATION: Final = 3
MIN_INSYNC_REPLICAS: Final = 2
# Room for the headers that the service adds to a forward or a dead letter: origin, reason, message.
HEADER_ROOM_BYTES: Final = 64 * 1024
CHANGELOG_MESSAGE_BYTES: Final = 256 * 1024
DAY_MS: Final = 24 * 3600 * 1000
LOG_APPEND_TIME: Final = {"message.timestamp.type": "LogAppendTime"}
INSYNC: Final = "min.insync.replicas"
RETENTION_MS: Final = "retention.ms"
RETENTION_BYTES: Final = "retention.bytes"
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
    "delete.retention.ms": str(2 * DAY_MS),
    **CLEAN,
}
JOBS_MESSAGE_BYTES: Final = 1024 * 1024
JOBS_CONFIGS: Final = {"cleanup.policy": "compact", **CLEAN}
UNLIMITED: Final = "-1"
REPARTITION_CONFIGS: Final = {
    **EVENT_POLICY,
    RETENTION_MS: UNLIMITED,
    RETENTION_BYTES: UNLIMITED,
    **CLEAN,
}
DEAD_LETTER_RETENTION_MS: Final = 90 * DAY_MS
MIN_REPARTITION_RETENTION_MS: Final = MIN_REPARTITION_RETENTION_DAYS * DAY_MS

MINIMAL_SETTINGS: Final = frozenset(
    {
        "cleanup.policy",
        "compression.type",
        "max.message.bytes",
        "message.timestamp.type",
        RETENTION_MS,
    }
)
PROTECTING_SETTINGS: Final = (INSYNC, UNCLEAN, RETENTION_BYTES)
"""The settings without which records can be lost, the most important first."""
WHY_SET: Final[Mapping[str, str]] = {
    "segment.bytes": (
        "larger segments are compacted later, so the changelog keeps more superseded records, and "
        "a shard takes longer to restore"
    ),
    "delete.retention.ms": (
        "a restore that takes longer than this may miss the deletion of an id, and then remembers "
        "the id for longer than DEDUP_WINDOW_SECONDS"
    ),
    UNCLEAN: (
        "if it is true, a replica that lacks committed records can become the leader: ids, "
        "progress or events are then lost without an error"
    ),
    INSYNC: (
        "if it is 1, a record is acknowledged when a single broker has it: the loss of this broker "
        "loses the record"
    ),
    RETENTION_BYTES: (
        "if it is not -1, the brokers delete the oldest forwards of a large backlog before a shard "
        "has read them, and the shard then refuses to run"
    ),
}
"""What happens without a setting that is not in the minimal profile."""


class Profile(enum.StrEnum):
    """Which settings new topics get."""

    FULL = "full"
    MINIMAL = "minimal"


class LeftOutSetting(msgspec.Struct, frozen=True):
    """A setting that a new topic did not get, with the value that it has instead."""

    topic: str
    setting: str
    wanted: str
    actual: str | None
    """None: the brokers do not report this setting."""
    why: str

    @property
    def text(self) -> str:
        """One sentence for operators."""
        actual = "not reported" if self.actual is None else self.actual
        return (
            f"topic {self.topic}: {self.setting}={self.wanted} was left out; it is {actual}: "
            f"{self.why}"
        )


class TopicRisk(msgspec.Struct, frozen=True):
    """A setting with which the brokers can delete or lose records, and which is not refused.

    ``event`` is the name of the log event that warns of the setting.
    """

    event: str
    topic: str
    text: str


class UnsafeSetting(msgspec.Struct, frozen=True):
    """A setting that has a value with which records can be lost."""

    topic: str
    setting: str
    actual: str
    wanted: str

    @property
    def is_only_a_risk(self) -> bool:
        """Whether the service runs with this value.

        Operators lower min.insync.replicas to continue while brokers are down. A shard that starts
        at that time must not refuse the topic.
        """
        return self.setting == INSYNC

    @property
    def text(self) -> str:
        """The finding, with the reason."""
        return f"topic {self.topic}: {self.setting} is {self.actual}: {WHY_SET[self.setting]}"

    @property
    def fix(self) -> str:
        """The finding, with the command that corrects the setting."""
        return (
            f"topic {self.topic}: {self.setting} is {self.actual}; set it to {self.wanted} "
            f"(kafka-configs.sh --alter --entity-type topics --entity-name {self.topic} "
            f"--add-config {self.setting}={self.wanted}): {WHY_SET[self.setting]}"
        )


def of_profile(configs: Mapping[str, str], profile: Profile) -> dict[str, str]:
    """Return the settings of a new topic in this profile."""
    if profile is Profile.FULL:
        return dict(configs)
    chosen = MINIMAL_SETTINGS.union(PROTECTING_SETTINGS)
    return {key: value for key, value in configs.items() if key in chosen}


def optional_settings(configs: Mapping[str, str]) -> list[str]:
    """Return the settings that a topic can lack, the most important first."""
    optional = [key for key in PROTECTING_SETTINGS if key in configs]
    return optional + [key for key in configs if key not in {*MINIMAL_SETTINGS, *optional}]


def durable_configs(brokers: int) -> dict[str, str]:
    """Return the settings by which a record needs two replicas, on a cluster that has enough."""
    return {INSYNC: str(MIN_INSYNC_REPLICAS)} if brokers >= REPLICATION else {}


def our_topics(settings: Settings) -> tuple[str, ...]:
    """Return the topics that the service writes."""
    return (
        settings.changelog_topic,
        settings.repartition_topic,
        settings.output_topic,
        settings.dead_letter_topic,
    )


def repartition_retention(settings: Settings) -> str:
    """Return the retention (ms) of a new repartition topic."""
    days = settings.repartition_retention_days
    return str(days * DAY_MS) if days else UNLIMITED


def wanted_configs(
    settings: Settings, inputs: Mapping[str, TopicDescription]
) -> dict[str, dict[str, str]]:
    """Return the settings in the full profile of each topic that the service writes."""
    largest = max(topic.max_message_bytes for topic in inputs.values())
    room = {"max.message.bytes": str(largest + HEADER_ROOM_BYTES)}
    retention = {RETENTION_MS: repartition_retention(settings)}
    return {
        settings.changelog_topic: dict(CHANGELOG_CONFIGS),
        settings.repartition_topic: {**REPARTITION_CONFIGS, **retention, **room},
        settings.output_topic: {**EVENT_CONFIGS, **room},
        settings.dead_letter_topic: {
            **EVENT_CONFIGS,
            RETENTION_MS: str(DEAD_LETTER_RETENTION_MS),
            **room,
        },
    }


def find_left_out(
    wanted: Mapping[str, Mapping[str, str]], found: Mapping[str, TopicDescription]
) -> Iterator[LeftOutSetting]:
    """Yield the wanted settings that a topic does not have, if the minimal profile lacks them."""
    for topic, configs in wanted.items():
        actual = found[topic].configs if topic in found else {}
        for setting, value in configs.items():
            if setting not in MINIMAL_SETTINGS and actual.get(setting) != value:
                why = WHY_SET[setting]
                yield LeftOutSetting(topic, setting, value, actual.get(setting), why)


def find_unsafe(
    topics: Iterable[TopicDescription], repartition_topic: str = ""
) -> Iterator[UnsafeSetting]:
    """Yield the settings of our topics, outside the minimal profile, that can lose records.

    Brokers also report a value that is only their default. If a broker reports no value, it does
    not have this setting. With fewer than three replicas, a larger min.insync.replicas would stop
    all writes when one broker is down.
    """
    for topic in topics:
        insync = int(topic.configs.get(INSYNC, MIN_INSYNC_REPLICAS))
        if topic.replication >= REPLICATION and insync < MIN_INSYNC_REPLICAS:
            yield UnsafeSetting(topic.name, INSYNC, str(insync), str(MIN_INSYNC_REPLICAS))
        if topic.configs.get(UNCLEAN) == "true":
            yield UnsafeSetting(topic.name, UNCLEAN, "true", "false")
        limit = topic.configs.get(RETENTION_BYTES, UNLIMITED)
        if topic.name == repartition_topic and limit != UNLIMITED:
            yield UnsafeSetting(topic.name, RETENTION_BYTES, limit, UNLIMITED)
