"""Fixtures and rules for every test: the brokers, and what CI requires.

One broker serves all tests; a cluster of three serves the tests that request it. Modules run in
parallel (`make test`), and each worker has its own brokers. In CI a skip is a failure, and property
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
from tests.support.secured_kafka import SecuredKafka
from tests.support.topics import Names

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from confluent_kafka.admin import AdminClient

    from tests.support.cluster import RunningKafka

IN_CI = os.environ.get("CI") == "true"
# The tests that CI may leave out: the programs of one take ten minutes to build, and PyTorch for
# the other has gigabytes. They are not skipped (a failure in CI) but not collected, and the summary
# says so.
LEFT_OUT = {
    "cluster/test_cluster.py": (
        "the cache has no control plane: `make cluster-test` builds one once (some ten minutes), "
        "`make test CLUSTER_TEST_BUILD=1` too"
    ),
    "examples/test_real_trainings.py": (
        "TRAINERS_PYTHON does not name a Python with torch, transformers, accelerate and lightning"
    ),
}
if are_cached():
    del LEFT_OUT["cluster/test_cluster.py"]
if os.environ.get("TRAINERS_PYTHON"):
    del LEFT_OUT["examples/test_real_trainings.py"]
collect_ignore = list(LEFT_OUT)

# A background job of a shell ignores SIGINT, and every process that a test starts inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

configuration.set_hypothesis_home_dir(cache_dir() / "hypothesis")
# No deadline in either: a loaded machine with two cores would fail tests for being slow.
settings.register_profile("ci", derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if IN_CI else "dev")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one in CI: a test that did not run proves nothing."""
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
    """Print which modules were left out, and why."""
    for module, reason in LEFT_OUT.items():
        terminalreporter.write_line(f"left out: tests/{module}, because {reason}")


@pytest.fixture(scope="session")
def kafka() -> Iterator[RunningKafka]:
    """A broker for the whole session: KAFKA_BOOTSTRAP_SERVERS if set, else a local node.

    Tests share it: they use their own topics and groups (`names`) and never stop it.
    """
    external = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if external:
        yield ExternalKafka(external)
        return
    with LocalKafka() as local:
        yield local


@pytest.fixture(scope="session")
def cluster(kafka: RunningKafka) -> Cluster:
    """The session's broker, with the methods of `tests.support.cluster`."""
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
    """A requirement of tests that start their own brokers: a Java to run them."""
    if shutil.which("java") is None:
        pytest.skip("needs a Java for its own brokers, beside KAFKA_BOOTSTRAP_SERVERS")


@pytest.fixture(scope="module")
def secured_kafka(
    local_brokers: None,  # noqa: ARG001 - for its effect
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SecuredKafka]:
    """A broker of the module's own that authenticates users and authorizes them by ACLs."""
    secured = SecuredKafka(tmp_path_factory.mktemp("certificates"))
    with secured.kafka:
        yield secured


@pytest.fixture(scope="session")
def tidying_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the node of `tidying_cluster`, for tests that read its files."""
    return tmp_path_factory.mktemp("kafka") / "node-1" / "data"


@pytest.fixture(scope="session")
def tidying_cluster(local_brokers: None, tidying_data: Path) -> Iterator[Cluster]:  # noqa: ARG001 - for its effect
    """A broker that compacts and deletes many times a minute."""
    eager = {
        "log.cleaner.backoff.ms": "100",
        "log.initial.task.delay.ms": "500",
        "log.retention.check.interval.ms": "500",
    }
    with LocalKafka(data_dir=tidying_data.parents[1], properties=eager) as local:
        yield Cluster(local.bootstrap_servers)


@pytest.fixture(scope="session")
def three_nodes(local_brokers: None) -> Iterator[LocalKafka]:  # noqa: ARG001 - for its effect
    """A cluster of three; a test that kills or freezes a node restarts the node."""
    with LocalKafka(3) as local:
        yield local


@pytest.fixture(scope="session")
def three_node_cluster(three_nodes: LocalKafka) -> Cluster:
    """The cluster of three, with the methods of `tests.support.cluster`."""
    return Cluster(three_nodes.bootstrap_servers)
