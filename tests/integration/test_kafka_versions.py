"""The core of the promises on each supported Kafka, and with both versions of transactions.

All other tests run on one version (KAFKA_VERSION). `make test-versions` runs many of them on each.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest
from aiokafka import TopicPartition
from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from consumer.shard.events import Step
from dev.kafka import LocalKafka
from dev.kafka_jars import TESTED_VERSIONS, kafka_version
from tests.integration.crashing_service import crashing_at
from tests.integration.hanging_transaction import FORGED, abort_as_logged, leave_open
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.kafka_tools import KafkaTools
from tests.support.records import numbered_ids, scattered
from tests.support.stream import Stream
from tests.support.verdicts import assert_exactly_once, event_id
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.topics import Names

SECONDS = 30.0
FEATURE = "transaction.version"
VERIFICATION = "transaction.partition.verification.enable"
NEWEST = TESTED_VERSIONS[0]
SHARDS = 3


class Variant(NamedTuple):
    """A version of Kafka, and the version of transactions (KIP-890) that the brokers use."""

    version: str
    transaction_version: int

    @property
    def is_default(self) -> bool:
        """Whether a new cluster of this version uses this version of transactions."""
        return self.transaction_version == default_transaction_version(self.version)


def default_transaction_version(version: str) -> int:
    """Return the version of transactions in new clusters: 2 since Kafka 4.0."""
    return 2 if int(version.partition(".")[0]) >= 4 else 0


def variants() -> list[Variant]:
    """Return the variants that the other tests do not run on."""
    others = [version for version in TESTED_VERSIONS if version != kafka_version()]
    return [
        *(Variant(version, default_transaction_version(version)) for version in others),
        Variant(NEWEST, 0),
    ]


class Started(NamedTuple):
    """A broker of one variant."""

    variant: Variant
    kafka: LocalKafka
    cluster: Cluster

    @property
    def tools(self) -> KafkaTools:
        """Kafka's own tools, of the same version."""
        return KafkaTools(self.cluster.bootstrap_servers, self.variant.version)


@pytest.fixture(
    scope="module", params=variants(), ids=lambda it: f"{it.version}-tv{it.transaction_version}"
)
def started(request: pytest.FixtureRequest, local_brokers: None) -> Iterator[Started]:  # noqa: ARG001 - for its effect
    """Start a broker of one version after the other."""
    variant: Variant = request.param
    features = {} if variant.is_default else {FEATURE: variant.transaction_version}
    with LocalKafka(version=variant.version, features=features) as kafka:
        yield Started(variant, kafka, Cluster(kafka.bootstrap_servers))


def test_the_broker_is_of_the_variant(started: Started) -> None:
    """The broker has the version and the version of transactions that the tests below are for."""
    assert f"Kafka version: {started.variant.version}\n" in started.kafka.log(1).read_text()
    # Kafka 3.9 does not list a feature at level 0.
    level = started.tools.feature_levels().get(FEATURE, 0)
    assert level == started.variant.transaction_version


def test_killed_in_a_commit_and_fenced(started: Started, names: Names) -> None:
    """A process killed in a commit, restored, and fenced later loses and repeats nothing."""
    cluster = started.cluster
    with Deployment(cluster, names) as deployment:
        with Stream(cluster, deployment.input_topic) as stream:
            crashing = deployment.start(
                "one", command=crashing_at(Step.COMMITTING, 6, delay_ms=0.5)
            )
            assert crashing.wait() == -signal.SIGKILL, crashing.tail()
            assert crashing.logged("transaction_committed")
            service = deployment.start("one")
            service.wait_for_log("transaction_committed")
            deployment.wait_until_running(SHARDS, service)
            fence(cluster, deployment.configuration.transactional_id(0))
            service.wait_for_log("task_fenced", shard=0)
            deployment.wait_until_running(SHARDS, service)
            stream.wait_for_more(20)
        assert_exactly_once(cluster, names, stream.ids)
        assert service.terminate() == 0


def test_a_hanging_transaction_and_a_replay(started: Started, names: Names) -> None:
    """A shard waits over a hanging transaction until Kafka's tool ends it; a replay works too."""
    cluster = started.cluster
    ids = numbered_ids(60)
    with Deployment(cluster, names) as deployment, unverified(cluster):
        place = TopicPartition(deployment.ready_topic, 0)
        owner = deployment.configuration.transactional_id(0)
        asyncio.run(leave_open(cluster, owner, place))
        service = deployment.start()
        hanging = service.wait_for_log("transaction_hangs", shard=0)
        wait_until(lambda: service.running_shards() == {1, 2}, what="the other shards")
        version = started.variant.version
        abort_as_logged(cluster.bootstrap_servers, version, hanging["error"])
        cluster.produce(deployment.input_topic, scattered(ids))
        deployment.wait_until_running(SHARDS, service)
        assert_exactly_once(cluster, names, ids)
        assert FORGED not in {record.value for record in cluster.read(place.topic)}
        assert service.terminate() == 0
        assert deployment.run("replay", "--name", "all", "--execute").exit_code == 0
        replayed = cluster.read(f"{deployment.ready_topic}.replay")
        assert sorted(map(event_id, replayed)) == sorted(ids)
        assert not started.tools.open_transactions(deployment.group)


def fence(cluster: Cluster, transactional_id: str) -> None:
    """Take a transactional id over, as another producer would."""
    Producer({**cluster.settings, "transactional.id": transactional_id}).init_transactions(SECONDS)


@contextmanager
def unverified(cluster: Cluster) -> Iterator[None]:
    """Let the broker take records of a transaction unasked, as all brokers did before KIP-890."""
    set_verification(cluster, AlterConfigOpType.SET)
    try:
        yield
    finally:
        set_verification(cluster, AlterConfigOpType.DELETE)


def set_verification(cluster: Cluster, operation: AlterConfigOpType) -> None:
    """Turn the verification of transactions off (SET), or on again (DELETE)."""
    entry = ConfigEntry(VERIFICATION, "false", incremental_operation=operation)
    broker = ConfigResource(ResourceType.BROKER, "1", incremental_configs=[entry])
    for future in cluster.admin.incremental_alter_configs([broker]).values():
        future.result(SECONDS)
    wanted = "false" if operation is AlterConfigOpType.SET else "true"
    wait_until(lambda: verification(cluster) == wanted, SECONDS, what="the setting of the broker")


def verification(cluster: Cluster) -> str | None:
    """Return whether the broker verifies transactions, as it applies the setting now."""
    (future,) = cluster.admin.describe_configs([ConfigResource(ResourceType.BROKER, "1")]).values()
    value: str | None = future.result(SECONDS)[VERIFICATION].value
    return value
