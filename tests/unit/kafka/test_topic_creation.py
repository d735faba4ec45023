"""Which settings new topics get where a cluster refuses some, against an in-memory Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from msgspec.structs import replace

from consumer.errors import SettingsRefused
from consumer.kafka.topic_creation import TopicCreator, create_topics
from consumer.kafka.topic_settings import (
    CHANGELOG_CONFIGS,
    DAY_MS,
    INSYNC,
    MIN_REPARTITION_RETENTION_MS,
    REPARTITION_CONFIGS,
    RETENTION_BYTES,
    RETENTION_MS,
    UNCLEAN,
    UNLIMITED,
    Profile,
)
from consumer.kafka.topics import check_topics
from tests.support.fake_admin import FakeAdmin
from tests.support.fake_cluster import FakeCluster
from tests.support.fake_deployment import FakeDeployment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from consumer.kafka.types import TopicDescription

TOPIC: Final = "group.topic"
BROKERS: Final = 3


class StrictAdmin(FakeAdmin):
    """Three brokers that refuse some settings, and do not say which."""

    def __init__(
        self,
        cluster: FakeCluster,
        refused: Collection[str] = (),
        defaults: Mapping[str, str] | None = None,
    ) -> None:
        """`defaults` are the values of settings that a new topic does not have."""
        super().__init__(cluster)
        self.refused = refused
        self.sent: dict[str, Mapping[str, str]] = {}
        self._defaults = defaults or {}

    async def cluster(self) -> tuple[str, int]:
        """Return the cluster's id and its number of brokers."""
        return (await super().cluster())[0], BROKERS

    async def create(
        self, name: str, partitions: int, replication: int, configs: Mapping[str, str]
    ) -> bool:
        """Create a topic, unless a setting is refused."""
        if reason := await self.creation_refusal(name, partitions, replication, configs):
            raise SettingsRefused(reason)
        self.sent[name] = configs
        return await super().create(name, partitions, replication, configs)

    async def creation_refusal(
        self, name: str, partitions: int, replication: int, configs: Mapping[str, str]
    ) -> str | None:
        """Refuse without the name of a setting."""
        assert partitions
        assert replication == BROKERS
        is_refused = not configs.keys().isdisjoint(self.refused)
        return f"create {name}: PolicyViolationError" if is_refused else None

    async def describe(self, topics: Iterable[str]) -> dict[str, TopicDescription]:
        """Describe each topic with three replicas and the defaults of the brokers."""
        return {
            name: replace(it, replication=BROKERS, configs={**self._defaults, **it.configs})
            for name, it in (await super().describe(topics)).items()
        }


async def configs_of(admin: StrictAdmin, profile: Profile | None = None) -> Mapping[str, str]:
    """Create a topic like the repartition topic, and return the settings that were sent."""
    creator = await TopicCreator.connect(admin, profile)
    await creator.create(TOPIC, 1, REPARTITION_CONFIGS)
    return admin.sent[TOPIC]


class TestRefusedSettings:
    """One refused setting must not remove the others."""

    @pytest.mark.parametrize("refused", [{INSYNC}, {UNCLEAN}, {RETENTION_BYTES, UNCLEAN}])
    async def test_only_they_are_left_out(self, refused: set[str]) -> None:
        """Although the brokers do not name them."""
        wanted = {*REPARTITION_CONFIGS, INSYNC}
        configs = await configs_of(StrictAdmin(FakeCluster(), refused))
        assert configs.keys() == wanted - refused

    async def test_they_are_reported_with_the_value_that_the_topic_has(self) -> None:
        """Settings whose default is as wanted are not reported."""
        defaults = {INSYNC: "1", UNCLEAN: "false"}
        admin = StrictAdmin(FakeCluster(), {INSYNC, UNCLEAN, "segment.bytes"}, defaults)
        creator = await TopicCreator.connect(admin)
        await creator.create(TOPIC, 1, CHANGELOG_CONFIGS)
        created = await creator.result()
        left_out = {one.setting: one.actual for one in created.left_out}
        assert left_out == {INSYNC: "1", "segment.bytes": None}
        assert "PolicyViolationError" in created.refusal

    async def test_a_refusal_of_a_setting_that_is_needed_is_an_error(self) -> None:
        """No topic is created."""
        admin = StrictAdmin(FakeCluster(), {"message.timestamp.type"})
        with pytest.raises(SettingsRefused, match="the service needs this setting"):
            await configs_of(admin)
        assert await admin.describe([TOPIC]) == {}

    @pytest.mark.parametrize("is_sole_cause", [True, False])
    async def test_a_refused_unlimited_retention_names_the_setting(
        self, *, is_sole_cause: bool
    ) -> None:
        """Only if the cluster would accept a limited retention."""
        deployment = await FakeDeployment.create()
        settings = deployment.settings
        admin = LimitingAdmin(FakeCluster(), () if is_sole_cause else {"max.message.bytes"})
        await FakeAdmin.create(admin, settings.input_topics[0], 1, BROKERS, {})
        with pytest.raises(SettingsRefused) as refused:
            await create_topics(admin, settings)
        hint = "set CHECKPOINT_READY_REPARTITION_RETENTION_DAYS to 14 or more"
        assert (hint in str(refused.value)) is is_sole_cause

    async def test_the_full_profile_leaves_out_nothing(self) -> None:
        """The error says how settings can be left out."""
        with pytest.raises(SettingsRefused, match="without --profile"):
            await configs_of(StrictAdmin(FakeCluster(), {UNCLEAN}), Profile.FULL)


class LimitingAdmin(StrictAdmin):
    """Brokers that refuse an unlimited retention."""

    async def creation_refusal(
        self, name: str, partitions: int, replication: int, configs: Mapping[str, str]
    ) -> str | None:
        """Return why a topic would be refused."""
        if configs.get(RETENTION_MS) == UNLIMITED:
            return "PolicyViolationError"
        return await super().creation_refusal(name, partitions, replication, configs)


async def test_the_minimal_profile_keeps_the_settings_that_protect_records() -> None:
    """It leaves out only settings that save space or time."""
    admin = StrictAdmin(FakeCluster())
    creator = await TopicCreator.connect(admin, Profile.MINIMAL)
    await creator.create(TOPIC, 1, CHANGELOG_CONFIGS)
    assert admin.sent[TOPIC].keys() == {"cleanup.policy", INSYNC, UNCLEAN}


async def test_the_check_reads_back_that_one_replica_is_enough() -> None:
    """The topics have three replicas, but the cluster refuses min.insync.replicas."""
    deployment = await FakeDeployment.create()
    admin = StrictAdmin(FakeCluster(), {INSYNC}, {INSYNC: "1"})
    settings = deployment.settings
    await admin.create(settings.input_topics[0], 1, BROKERS, {"max.message.bytes": "1048576"})
    await create_topics(admin, settings)
    risks = (await check_topics(admin, settings)).risks
    assert {risk.event for risk in risks} == {"topic_setting_unsafe"}
    assert len(risks) == 4
    for risk in risks:
        assert "min.insync.replicas is 1; set it to 2" in risk.text
        assert "the loss of this broker loses the record" in risk.text


@pytest.mark.parametrize("days", [0, 14, 30])
async def test_the_check_reports_a_retention_that_an_existing_topic_did_not_get(days: int) -> None:
    """Whatever created the topic, the setting has no effect on it."""
    deployment = await FakeDeployment.create()
    admin = deployment.kafka.admin("check")
    settings = replace(deployment.settings, repartition_retention_days=days)
    topic = settings.repartition_topic
    deployment.cluster.topics[topic].configs[RETENTION_MS] = str(MIN_REPARTITION_RETENTION_MS)
    risks = {risk.event: risk for risk in (await check_topics(admin, settings)).risks}
    assert "repartition_retention_is_bounded" in risks
    assert ("repartition_retention_differs" in risks) is (days == 30)
    if days == 30:
        text = risks["repartition_retention_differs"].text
        assert f"REPARTITION_RETENTION_DAYS={days}" in text
        assert f"--entity-name {topic} --add-config {RETENTION_MS}={days * DAY_MS}" in text
