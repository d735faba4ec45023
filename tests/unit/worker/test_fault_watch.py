"""When a fault of the cluster ends the process, and when it is only logged."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from consumer.errors import ClusterError, TimedOut
from consumer.kafka.broker_settings import OFFSETS_TOPIC, BrokerSettings
from consumer.kafka.cluster_faults import GRACE_SECONDS, CurrentFault, Fault
from consumer.worker.fault_watch import WARN_AFTER_SECONDS, FaultWatch
from consumer.worker.open_files import needs_of
from tests.support.fake_admin import FakeAdmin
from tests.support.fake_cluster import FakeCluster

ADDRESS = "kafka-1:9092"
NEEDS = needs_of(24, 1)
MISSING = frozenset({OFFSETS_TOPIC})
REPLICATION = "offsets.topic.replication.factor"


class Brokers(FakeAdmin):
    """A cluster with these settings."""

    def __init__(self, found: BrokerSettings) -> None:
        super().__init__(FakeCluster())
        self._found = found

    async def broker_settings(self) -> BrokerSettings:
        """Return the settings."""
        return self._found


def check(*faults: CurrentFault, found: BrokerSettings | None = None) -> list[str]:
    """Check these faults twice; return the logged errors."""
    watch = FaultWatch(Brokers(found or BrokerSettings(1, {})), lambda: NEEDS, lambda: 100.0)
    with capture_logs() as lines:
        for _ in range(2):
            asyncio.run(watch.check(faults))
    assert {line["event"] for line in lines} <= {"cluster_fault"}
    return [line["error"] for line in lines]


def fault(kind: Fault, seconds: float = GRACE_SECONDS, subject: str = "") -> CurrentFault:
    """Return a fault that has lasted for this time."""
    return CurrentFault(kind, subject, "the text", seconds)


@pytest.mark.parametrize("kind", Fault)
def test_a_young_fault_is_logged_once_a_minute(kind: Fault) -> None:
    """Nothing is logged of what ends within seconds, as when a broker restarts."""
    assert check(fault(kind, WARN_AFTER_SECONDS - 1)) == []
    assert len(check(fault(kind, WARN_AFTER_SECONDS))) == 1


@pytest.mark.parametrize(
    ("kind", "subject", "words"),
    [
        (Fault.LOGIN, ADDRESS, f"log in to {ADDRESS}: the text (for 60 s)"),
        (Fault.OPEN_FILES, "", f"open files to {NEEDS.open_files} or more"),
        (Fault.CLOSED_AT_ONCE, ADDRESS, f"up to {NEEDS.connections} connections to a broker"),
    ],
)
def test_a_lasting_fault_ends_the_process(kind: Fault, subject: str, words: str) -> None:
    """The message has what is needed."""
    with pytest.raises(ClusterError) as raised:
        check(fault(kind, subject=subject))
    assert words in str(raised.value)


def test_a_broker_that_cannot_be_reached_does_not_end_the_process() -> None:
    """The other brokers may suffice, and the broker may come back."""
    assert check(fault(Fault.UNREACHABLE, 10 * GRACE_SECONDS, ADDRESS)) == ["the text"]


@pytest.mark.parametrize(
    "found",
    [
        BrokerSettings(1, {}, missing_topics=MISSING),
        BrokerSettings(1, {}, unknown_topics=MISSING),
        BrokerSettings(1, {REPLICATION: "3"}, missing_topics=MISSING),
    ],
    ids=["missing", "not allowed to see it", "too few brokers"],
)
def test_a_coordinator_whose_topic_does_not_exist(found: BrokerSettings) -> None:
    """The message names the setting, also if its value may not be read."""
    with pytest.raises(ClusterError, match=r"offsets\.topic\.replication\.factor"):
        check(fault(Fault.GROUP_COORDINATOR), found=found)


@pytest.mark.parametrize(
    "found",
    [
        BrokerSettings(1, {}),
        BrokerSettings(1, {}, missing_topics=MISSING, unanswered="describe broker settings: late"),
        BrokerSettings(1, {}, unknown_topics=MISSING, unanswered="describe topics: late"),
        BrokerSettings(3, {REPLICATION: "3"}, missing_topics=MISSING),
        BrokerSettings(3, {REPLICATION: "3"}, unknown_topics=MISSING),
    ],
    ids=["it exists", "setting not known", "topic not known", "enough brokers", "hidden topic"],
)
def test_a_coordinator_whose_topic_can_exist(found: BrokerSettings) -> None:
    """The fault may end when its brokers are back, or a query has failed: nothing is proved."""
    assert len(check(fault(Fault.GROUP_COORDINATOR), found=found)) == 1


def test_a_query_that_fails_proves_nothing() -> None:
    """The brokers do not answer now."""

    class Silent(Brokers):
        async def broker_settings(self) -> BrokerSettings:
            raise TimedOut("describe the cluster did not answer within 15 s")

    watch = FaultWatch(Silent(BrokerSettings(1, {})), lambda: NEEDS, lambda: 100.0)
    asyncio.run(watch.check([fault(Fault.GROUP_COORDINATOR)]))
