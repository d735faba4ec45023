"""What the probe says of clusters that do not do what was asked, against an in-memory Kafka."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest
from msgspec.structs import replace

from consumer.config import PREFIX, Settings
from consumer.errors import ClusterError, SettingsRefused, TaskFailed
from consumer.kafka.probe import TOTAL_SECONDS, ClusterProbe
from consumer.kafka.probe_findings import Status
from consumer.kafka.topic_settings import MIN_REPARTITION_RETENTION_MS, RETENTION_MS
from tests.support.fake_admin import FakeAdmin
from tests.support.fake_cluster import FakeCluster
from tests.support.fake_kafka import FakeKafka

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from consumer.kafka.probe_findings import ProbeResult
    from consumer.kafka.types import TopicDescription, TopicPartition

# Enough for what answers at once. Only one test uses this limit up.
SHORT_SECONDS: Final = 2
MESSAGE_BYTES: Final = "max.message.bytes"


class ProbedAdmin(FakeAdmin):
    """Also deletes topics. The attributes say what the cluster does not do as it was asked."""

    def __init__(self, cluster: FakeCluster) -> None:
        """Do everything as asked."""
        super().__init__(cluster)
        self.reported: dict[str, str | None] = {}
        """Values that the brokers report instead of the true ones; None: not reported."""
        self.refuses_unlimited = False
        self.creates = 2
        """The number of topics that may be created."""
        self.times_out_at_creates = False
        """Creates a topic, but answers with an error."""
        self.hangs_at_deletes = False
        self.deletes = True
        self.deleting = asyncio.Event()
        """Set when the clean-up begins."""
        self.hangs_at_clean_up = False
        self._logs = cluster

    async def describe(self, topics: Iterable[str]) -> dict[str, TopicDescription]:
        """Describe topics with the reported values."""
        found = await super().describe(topics)
        return {name: replace(it, configs=self._shown(it.configs)) for name, it in found.items()}

    def _shown(self, configs: Mapping[str, str]) -> dict[str, str]:
        shown = {**configs, **self.reported}
        return {key: value for key, value in shown.items() if value is not None}

    async def create(
        self, name: str, partitions: int, replication: int, configs: Mapping[str, str]
    ) -> bool:
        """Create a topic."""
        if refusal := await self.creation_refusal(name, partitions, replication, configs):
            raise SettingsRefused(refusal)
        if len(self._logs.topics) == self.creates:
            raise ClusterError("no more topics")
        is_new = await super().create(name, partitions, replication, configs)
        if self.times_out_at_creates:
            raise ClusterError("RequestTimedOutError")
        return is_new

    async def creation_refusal(
        self,
        name: str,  # noqa: ARG002 - the port's
        partitions: int,  # noqa: ARG002 - the same
        replication: int,  # noqa: ARG002 - the same
        configs: Mapping[str, str],
    ) -> str | None:
        """Refuse an unlimited retention."""
        await asyncio.sleep(0)
        is_unlimited = configs.get(RETENTION_MS) == "-1"
        return "too long" if self.refuses_unlimited and is_unlimited else None

    async def delete_records(self, before: Mapping[TopicPartition, int]) -> None:
        """Delete records, or hang."""
        if self.hangs_at_deletes:
            await asyncio.Event().wait()
        await super().delete_records(before)

    async def delete_topics(self, names: Iterable[str]) -> None:
        """Delete topics."""
        self.deleting.set()
        if self.hangs_at_clean_up:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        if not self.deletes:
            raise TaskFailed("no right")
        for name in names:
            self._logs.topics.pop(name, None)


class Probed:
    """A cluster and its probe."""

    def __init__(self, total_seconds: float = TOTAL_SECONDS) -> None:
        """Start with a cluster that does everything as asked."""
        self.kafka = FakeKafka()
        self.admin = ProbedAdmin(self.kafka.cluster)
        settings = Settings.load({f"{PREFIX}GROUP_ID": "group"})
        self.probe = ClusterProbe(self.kafka, self.admin, settings, total_seconds)

    async def run(self) -> ProbeResult:
        """Probe the cluster."""
        return await self.probe.run()


def finding(result: ProbeResult, name: str) -> tuple[Status, str]:
    """Return status and detail of the finding of this name."""
    (found,) = [it for it in result.findings if it.name == name]
    return found.status, found.detail


async def test_a_cluster_that_does_all_as_asked_can_run_the_service() -> None:
    """No topic remains."""
    probed = Probed()
    result = await probed.run()
    assert result.can_run
    assert {it.status for it in result.findings} == {Status.OK}
    assert probed.kafka.cluster.topics == {}


@pytest.mark.parametrize(
    ("reported", "status", "detail"),
    [
        ("86400000", Status.MISSING, "although a longer one was set"),
        (str(MIN_REPARTITION_RETENTION_MS), Status.LIMITED, "although -1 was set"),
        (None, Status.LIMITED, "do not report retention.ms"),
    ],
)
async def test_a_retention_that_the_cluster_changes_is_found(
    reported: str | None, status: Status, detail: str
) -> None:
    """It accepts another value than it then has."""
    probed = Probed()
    probed.admin.reported = {RETENTION_MS: reported}
    result = await probed.run()
    found, said = finding(result, "retention")
    assert (found, result.can_run) == (status, status is not Status.MISSING)
    assert detail in said


async def test_a_cluster_that_refuses_an_unlimited_retention_gets_a_limited_one() -> None:
    """The finding names the setting."""
    probed = Probed()
    probed.admin.refuses_unlimited = True
    result = await probed.run()
    (found,) = [it for it in result.findings if it.name == "retention"]
    assert (found.status, result.can_run) == (Status.LIMITED, True)
    assert "too long" in found.detail
    assert "REPARTITION_RETENTION_DAYS" in found.meaning


@pytest.mark.parametrize(
    ("reported", "detail"),
    [("1048588", "is 1048588, although 1114124 was set"), (None, "do not report max.message")],
)
async def test_a_message_size_that_the_cluster_changes_is_found(
    reported: str | None, detail: str
) -> None:
    """The forwards of the largest records would not fit."""
    probed = Probed()
    probed.admin.reported = {MESSAGE_BYTES: reported}
    result = await probed.run()
    status, said = finding(result, MESSAGE_BYTES)
    assert (status, result.can_run) == (Status.MISSING, False)
    assert detail in said


async def test_a_topic_that_remains_after_a_failure_is_named() -> None:
    """The second topic cannot be created, and the first one cannot be deleted."""
    probed = Probed()
    probed.admin.creates, probed.admin.deletes = 1, False
    with pytest.raises(ClusterError, match="no more topics"):
        await probed.run()
    (remaining,) = probed.kafka.cluster.topics
    left_behind = probed.probe.topics.left_behind
    assert left_behind == f"{remaining}, {remaining}.changelog may remain: no right"


async def test_a_topic_that_exists_after_an_error_is_deleted() -> None:
    """The brokers answer with an error, for example a timeout, but have created the topic."""
    probed = Probed()
    probed.admin.times_out_at_creates = True
    with pytest.raises(ClusterError, match="RequestTimedOutError"):
        await probed.run()
    assert probed.kafka.cluster.topics == {}
    assert not probed.probe.topics.left_behind


async def test_topics_that_remain_after_a_signal_are_named() -> None:
    """The signal comes while they are deleted."""
    probed = Probed()
    probed.admin.hangs_at_clean_up = True
    running = asyncio.create_task(probed.run())
    async with asyncio.timeout(10):
        await probed.admin.deleting.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    topics = ", ".join(probed.kafka.cluster.topics)
    assert topics
    assert probed.probe.topics.left_behind == f"{topics} may remain: their deletion was interrupted"


async def test_after_the_total_time_the_rest_is_unknown() -> None:
    """Each test without a result is named, and the topics are deleted."""
    probed = Probed(SHORT_SECONDS)
    probed.admin.hangs_at_deletes = True
    result = await probed.run()
    unknown = {it.name for it in result.findings if it.status is Status.UNKNOWN}
    assert unknown == {"DeleteRecords", "DescribeProducers"}
    assert finding(result, "DeleteRecords")[1] == f"not finished within {SHORT_SECONDS} s"
    assert finding(result, "transactions")[0] is Status.OK
    assert result.can_run  # neither is required
    assert probed.kafka.cluster.topics == {}
