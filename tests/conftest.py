"""What holds for every test: the brokers, and what CI demands.

One broker serves all tests, a cluster of three only those that ask for one. Modules run side by
side (`make test`), and each side has brokers of its own. In CI a skip is a failure, and property
tests are repeatable.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import uuid
from typing import TYPE_CHECKING

import pytest
from hypothesis import configuration, settings

from dev.cluster_binaries import are_cached
from dev.kafka import LocalKafka
from dev.kafka_jars import cache_dir
from tests.support.cluster import Cluster, ExternalKafka
from tests.support.topics import Names

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from confluent_kafka.admin import AdminClient

    from tests.support.cluster import RunningKafka

IN_CI = os.environ.get("CI") == "true"
# The one test that may be left out in CI too, for its programs take ten minutes to build; it is not
# skipped, which CI does not let pass, but not collected, and the summary says so.
collect_ignore = [] if are_cached() else ["cluster/test_cluster.py"]

# A shell's background job ignores Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

configuration.set_hypothesis_home_dir(cache_dir() / "hypothesis")
# No deadline in either: a loaded machine with two cores would fail tests for being slow.
settings.register_profile("ci", derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if IN_CI else "dev")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one in CI: what did not run proves nothing."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which is a failure in CI: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Do the same for a module that skips itself while it is collected."""
    report = yield
    if IN_CI and report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"skipped, which is a failure in CI: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out, and how to have it."""
    for module in collect_ignore:
        terminalreporter.write_line(
            f"left out: tests/{module}, for no control plane is in the cache: `make cluster-test`"
            " builds one once (some ten minutes), `make test CLUSTER_TEST_BUILD=1` too"
        )


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


@pytest.fixture(scope="session")
def tidying_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the node of `tidying_cluster`, for tests that look at its files."""
    return tmp_path_factory.mktemp("kafka") / "node-1" / "data"


@pytest.fixture(scope="session")
def tidying_cluster(local_brokers: None, tidying_data: Path) -> Iterator[Cluster]:  # noqa: ARG001 - for its effect
    """A broker that looks many times a minute for what it can compact or delete."""
    eager = {
        "log.cleaner.backoff.ms": "100",
        "log.initial.task.delay.ms": "500",
        "log.retention.check.interval.ms": "500",
    }
    with LocalKafka(data_dir=tidying_data.parents[1], properties=eager) as local:
        yield Cluster(local.bootstrap_servers)


@pytest.fixture(scope="session")
def three_nodes(local_brokers: None) -> Iterator[LocalKafka]:  # noqa: ARG001 - for its effect
    """A cluster of three; whoever kills or freezes a node of it brings the node back."""
    with LocalKafka(3) as local:
        yield local


@pytest.fixture(scope="session")
def three_node_cluster(three_nodes: LocalKafka) -> Cluster:
    """The cluster of three with the verbs of tests/integration/cluster.py."""
    return Cluster(three_nodes.bootstrap_servers)
