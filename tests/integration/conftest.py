"""The brokers of the integration tests: one for all, clusters of three only where asked for."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from typing import TYPE_CHECKING

import pytest

from dev.kafka import LocalKafka
from tests.integration.cluster import Cluster, ExternalKafka, Names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confluent_kafka.admin import AdminClient

    from tests.integration.cluster import RunningKafka


@pytest.fixture(scope="session")
def kafka() -> Iterator[RunningKafka]:
    """A broker for the whole session: KAFKA_BOOTSTRAP_SERVERS if set, else a local node.

    Tests share it: they use topics and groups of their own (`names`) and never stop it.
    """
    external = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if external:
        yield ExternalKafka(external)
        return
    with LocalKafka() as local:
        yield local


@pytest.fixture(scope="session")
def cluster(kafka: RunningKafka) -> Cluster:
    """The session's broker with the verbs of tests/integration/cluster.py."""
    return Cluster(kafka.bootstrap_servers)


@pytest.fixture(scope="session")
def admin(cluster: Cluster) -> AdminClient:
    """The admin client (librdkafka) of the session's broker."""
    return cluster.admin


@pytest.fixture
def names(request: pytest.FixtureRequest) -> Names:
    """Topic and group names that no other test uses."""
    test = re.sub(r"[^a-z0-9]+", "-", str(request.node.name).lower()).strip("-")[:48]
    return Names(f"{test}-{uuid.uuid4().hex[:8]}")


@pytest.fixture(scope="session")
def local_brokers() -> None:
    """Ask for this where a test starts brokers of its own: there must be a Java to run them."""
    if shutil.which("java") is None:
        pytest.skip("needs a Java: brokers of its own, apart from KAFKA_BOOTSTRAP_SERVERS")


@pytest.fixture(scope="module")
def three_nodes(local_brokers: None) -> Iterator[LocalKafka]:  # noqa: ARG001 - for its effect
    """A cluster of three for one module, whose tests leave every node running."""
    with LocalKafka(3) as local:
        yield local


@pytest.fixture(scope="module")
def three_node_cluster(three_nodes: LocalKafka) -> Cluster:
    """The cluster of three with the verbs of tests/integration/cluster.py."""
    return Cluster(three_nodes.bootstrap_servers)
