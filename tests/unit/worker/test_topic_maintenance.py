"""What the service does if the settings of its topics change while it runs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import structlog

from consumer.kafka.topics import Topology
from consumer.worker.topic_maintenance import TopicMaintenance
from tests.support.fake_deployment import FakeDeployment

DEADLINE_SECONDS = 10.0


class Running:
    """The checks of a running service, every 100 ms."""

    def __init__(self, deployment: FakeDeployment) -> None:
        self.deployment = deployment
        self.topologies: asyncio.Queue[Topology] = asyncio.Queue()
        self.maintenance = TopicMaintenance(
            deployment.kafka.admin("maintenance"),
            deployment.settings,
            lambda topology, _: self.topologies.put_nowait(topology),
            lambda: (),
        )

    def set(self, setting: str, value: str) -> None:
        """Change a setting of the repartition topic."""
        topic = self.deployment.cluster.topics[self.deployment.settings.repartition_topic]
        topic.configs[setting] = value

    async def next_topology(self) -> Topology:
        """Return the next topology that a check accepts."""
        while not self.topologies.empty():
            self.topologies.get_nowait()
        return await asyncio.wait_for(self.topologies.get(), DEADLINE_SECONDS)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    """Run the checks."""
    variables = {"DISCOVERY_INTERVAL_MS": "100"}
    made = Running(await FakeDeployment.create(variables=variables))
    await made.maintenance.prepare()
    checking = asyncio.create_task(made.maintenance.discover_partitions())
    yield made
    checking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await checking


@pytest.mark.parametrize(
    ("setting", "value", "right"),
    [
        ("retention.ms", "3600000", "-1"),
        ("retention.bytes", "1000", "-1"),
        ("cleanup.policy", "compact", "delete"),
    ],
)
async def test_wrong_settings_are_an_error_that_is_said_once(
    running: Running, setting: str, value: str, right: str
) -> None:
    """The log has the fix, and says when the settings are right again."""
    with structlog.testing.capture_logs() as logged:
        await running.next_topology()
        running.set(setting, value)
        await running.deployment.wait_until(lambda: bool(logged), "the error")
        running.set(setting, right)
        await running.next_topology()
    refused, accepted = logged
    assert (refused["event"], refused["log_level"]) == ("topics_refused", "error")
    assert f"{setting} is {value}; set it to {right}" in refused["error"]
    assert accepted["event"] == "topics_accepted_again"
