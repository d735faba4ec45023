"""What only an operator can fix ends the process soon, with the line that the runbook has."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    ResourceType,
)

from dev.free_ports import free_ports
from dev.kafka import LocalKafka
from dev.kafka_settings import CLIENTS, HOST
from tests.integration.limited_service import limited
from tests.integration.skewed_service import skewed
from tests.integration.tuned_service import tuned
from tests.support.cluster import Cluster
from tests.support.command_line import run_at_once
from tests.support.deployment import Deployment
from tests.support.fault_table import documented_faults
from tests.support.records import checkpoint, numbered_ids, scattered
from tests.support.secured_kafka import PASSWORD, Acl, SecuredKafka
from tests.support.silent_servers import black_hole
from tests.support.topics import Names
from tests.support.verdicts import assert_exactly_once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.service_process import ServiceProcess

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("local_brokers")]

PROGRAM = "checkpoint-ready: "
GRACE_SECONDS = 5.0  # instead of a minute, in all tests but one
GRACE = {"kafka__cluster_faults__GRACE_SECONDS": GRACE_SECONDS}
END_SECONDS = 60.0
SHARDS = 3
MANY_SHARDS = 24
SESSION_MS = 45_000
HOUR_SECONDS = 3_600
UNRESOLVED = "UNRESOLVED"
OTHER_PASSWORD = "another horse battery"
EVERYTHING = [
    Acl("TOPIC", "*", "ALL"),
    Acl("GROUP", "*", "ALL"),
    Acl("TRANSACTIONAL_ID", "*", "ALL"),
]


class Ended(NamedTuple):
    """A process that has ended by an error."""

    line: str
    seconds: float


def impatient() -> list[str]:
    """Return the command of a service with a short grace."""
    return tuned(**GRACE)


def assert_documented(fault: str, line: str) -> None:
    """Check that the runbook has this line."""
    documented = documented_faults()[fault]
    assert documented.matches(line), (line, documented.line)


def assert_ends(fault: str, service: ServiceProcess, since: str = "starting") -> Ended:
    """Wait until the process has ended by this fault: exit code and last line of the runbook.

    The time counts from the last log line with the event `since`.
    """
    exit_code = service.wait(END_SECONDS + 30)
    assert exit_code == documented_faults()[fault].exit_code, service.tail()
    seconds = logged_at(service, "stopping") - logged_at(service, since)
    texts = [line["text"] for line in service.lines if "text" in line]
    assert len(texts) == 1, texts  # no traceback
    line = texts[0].removeprefix(PROGRAM)
    assert_documented(fault, line)
    assert not service.logged("watchdog")
    print(f"{fault}: {seconds:.1f} s: {line}")  # noqa: T201 - the figure
    return Ended(line, seconds)


def logged_at(service: ServiceProcess, event: str) -> float:
    """Return the time of the last line of an event, in seconds since the epoch."""
    return datetime.fromisoformat(service.logged(event)[-1]["timestamp"]).timestamp()


@contextmanager
def broker(**properties: str) -> Iterator[Cluster]:
    """Run a broker with these settings."""
    with LocalKafka(properties=properties) as kafka:
        yield Cluster(kafka.bootstrap_servers)


@pytest.fixture(scope="module")
def without_coordinators(local_brokers: None) -> Iterator[tuple[Deployment, str]]:  # noqa: ARG001 - for its effect
    """Start a broker without coordinators; return topics, and a listener that nobody can reach."""
    (port,) = free_ports(1)
    properties = {
        "offsets.topic.replication.factor": "3",
        "transaction.state.log.replication.factor": "3",
        "advertised.listeners": (
            f"{CLIENTS}://{HOST}:{port},{UNRESOLVED}://no-such-host.invalid:9092"
        ),
    }
    with (
        LocalKafka(
            port=port, properties=properties, extra_listeners={UNRESOLVED: "PLAINTEXT"}
        ) as kafka,
        Deployment(Cluster(kafka.bootstrap_servers), Names("uncoordinated")) as deployment,
    ):
        yield deployment, kafka.listener(UNRESOLVED)


class Patient(NamedTuple):
    """Processes that end late: the other tests run meanwhile."""

    without_coordinator: ServiceProcess
    unresolving: ServiceProcess


@pytest.fixture(scope="module", autouse=True)
def patient(without_coordinators: tuple[Deployment, str]) -> Patient:
    """Start a process with the real grace, and one that cannot reach the broker."""
    deployment, elsewhere = without_coordinators
    return Patient(deployment.start(), deployment.start(BOOTSTRAP_SERVERS=elsewhere))


@pytest.fixture(scope="module")
def strict_broker(local_brokers: None) -> Iterator[Cluster]:  # noqa: ARG001 - for its effect
    """Start a broker without transaction coordinators, and with long sessions only."""
    settings = {
        "transaction.state.log.replication.factor": "3",
        "group.min.session.timeout.ms": "30000",
    }
    with broker(**settings) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def small_broker(local_brokers: None) -> Iterator[Cluster]:  # noqa: ARG001 - for its effect
    """Start a broker that forbids long transactions."""
    with broker(**{"transaction.max.timeout.ms": "10000"}) as cluster:
        yield cluster


def test_no_transaction_coordinator(strict_broker: Cluster, names: Names) -> None:
    """InitProducerId is never answered: the line names the setting of the broker."""
    with Deployment(strict_broker, names, SESSION_TIMEOUT_MS=SESSION_MS) as deployment:
        service = deployment.start(command=impatient())
        assert_ends("No transaction coordinator", service)


def test_a_session_timeout_that_the_brokers_refuse(strict_broker: Cluster, names: Names) -> None:
    """The group refuses the member at once."""
    with Deployment(strict_broker, names) as deployment:
        ended = assert_ends("Session timeout", deployment.start())
        assert ended.seconds < GRACE_SECONDS * 3
        checked = deployment.run("topics", "check")
        assert checked.exit_code == 1
        assert "transaction.state.log.replication.factor is 3" in checked.complaints[0]
        assert "30000 (group.min.session.timeout.ms)" in checked.complaints[1]


def test_a_transaction_timeout_that_the_brokers_refuse(small_broker: Cluster, names: Names) -> None:
    """The first fence is refused at once."""
    with Deployment(small_broker, names, TRANSACTION_TIMEOUT_MS=15_000) as deployment:
        ended = assert_ends("Transaction timeout", deployment.start())
        assert ended.seconds < GRACE_SECONDS * 3
        checked = deployment.run("topics", "check")
        assert checked.exit_code == 1
        assert "transaction.max.timeout.ms of the brokers is 10000" in checked.complaint
        assert deployment.run("topics", "check", TRANSACTION_TIMEOUT_MS=10_000).exit_code == 0


def test_no_open_files(small_broker: Cluster, names: Names) -> None:
    """The hard limit is too low for the shards, and the line has the number that is needed."""
    settings: dict[str, Any] = {"SHARDS": MANY_SHARDS, "TRANSACTION_TIMEOUT_MS": 10_000}
    with Deployment(small_broker, names, **settings) as deployment:
        service = deployment.start(command=limited(48, 64, **GRACE))
        ended = assert_ends("No open files", service)
        needed = service.wait_for_log("open_files_limit_too_low")["needed"]
        assert f"to {needed} or more" in ended.line


def test_the_broker_limits_connections(small_broker: Cluster, names: Names) -> None:
    """It closes connections beyond its limit at once; `topics check` warns of the limit."""
    settings: dict[str, Any] = {"SHARDS": MANY_SHARDS, "TRANSACTION_TIMEOUT_MS": 10_000}
    with (
        Deployment(small_broker, names, **settings) as deployment,
        broker_setting(small_broker, "max.connections.per.ip", "40"),
    ):
        checked = deployment.run("topics", "check")
        assert checked.exit_code == 0
        assert "warning: max.connections.per.ip of the brokers is 40" in checked.complaint
        service = deployment.start(command=impatient())
        assert_ends("Connection limit", service)


def test_a_clock_that_is_ahead(small_broker: Cluster, names: Names, tmp_path: Path) -> None:
    """A command that writes timestamps to a topic of others says what is wrong.

    The service writes none that a broker checks (`test_clocks.py`).
    """
    file = tmp_path / "checkpoints.jsonl"
    file.write_bytes(checkpoint("ahead"))
    with Deployment(small_broker, names, TRANSACTION_TIMEOUT_MS=10_000) as deployment:
        ahead = skewed(2 * HOUR_SECONDS, command=["backfill", str(file), "--execute"])
        command = deployment.start(command=ahead)
        assert command.wait(END_SECONDS) == 1
        line = command.lines[-1]["text"].removeprefix(PROGRAM)
        assert_documented("Clock ahead", line)
        assert small_broker.read(deployment.input_topic) == []


def test_one_of_three_brokers_cannot_be_reached(names: Names) -> None:
    """The process goes on, and a warning names the broker. If none can be reached, it does not."""
    closed, dropped = free_ports(2)
    listener, firewall = "OUTSIDE", "FIREWALL"
    with (
        LocalKafka(
            3,
            extra_listeners={listener: "PLAINTEXT", firewall: "PLAINTEXT"},
            advertised_ports={listener: {3: closed}, firewall: dict.fromkeys((1, 2, 3), dropped)},
        ) as kafka,
        Deployment(
            Cluster(kafka.bootstrap_servers),
            names,
            BOOTSTRAP_SERVERS=",".join(kafka.listener(listener).split(",")[:2]),
            create_topics=False,
            CREATE_TOPICS=True,
        ) as deployment,
    ):
        service = deployment.start()
        warning = service.wait_for_log("cluster_fault")
        assert warning["level"] == "warning"
        assert f"broker 3 cannot be reached at {HOST}:{closed}" in warning["error"]
        assert "advertised.listeners" in warning["error"]
        assert not service.has_ended
        assert deployment.run("topics", "check").exit_code == 0
        assert service.terminate() == 0
        servers = kafka.listener(firewall)
        with black_hole(HOST, dropped):
            finished = deployment.run("topics", "check", BOOTSTRAP_SERVERS=servers)
        assert finished.exit_code == 1
        assert f"cannot be reached at {HOST}:{dropped}" in finished.complaint
        assert_documented("Broker unreachable", finished.complaint.removeprefix(PROGRAM))


def test_a_password_that_is_rotated_only_at_the_brokers(tmp_path: Path, names: Names) -> None:
    """The shards retry, and the new password in the file helps; without it the process ends."""
    secured = SecuredKafka(tmp_path)
    with secured.kafka as kafka:
        secured.add_user("service", EVERYTHING)
        password = tmp_path / "password"
        password.write_text(PASSWORD)
        login = {**secured.login("service"), "SASL_PASSWORD": "", "SASL_PASSWORD_FILE": password}
        cluster = secured.cluster()
        with Deployment(cluster, names) as deployment:
            service = deployment.start(
                command=tuned(kafka__cluster_faults__GRACE_SECONDS=12.0), **login
            )
            deployment.wait_until_running(SHARDS, service)
            secured.set_password("service", OTHER_PASSWORD)
            kafka.restart(1)
            service.wait_for_log("cluster_fault")
            password.write_text(OTHER_PASSWORD)
            lines = len(service.lines)
            ids = numbered_ids(5)
            cluster.produce(deployment.input_topic, scattered(ids))
            assert_exactly_once(cluster, names, ids)
            secured.set_password("service", PASSWORD)
            kafka.restart(1)
            service.wait_for_log("cluster_fault", after=lines)
            ended = assert_ends("Login refused", service, "transaction_committed")
            assert OTHER_PASSWORD not in ended.line


def test_the_advertised_address_cannot_be_resolved(
    without_coordinators: tuple[Deployment, str], patient: Patient
) -> None:
    """Each command names the host, the port and the setting of the broker."""
    deployment, elsewhere = without_coordinators
    checked, tailed = run_at_once(
        lambda: deployment.run("topics", "check", BOOTSTRAP_SERVERS=elsewhere),
        lambda: deployment.run("tail", BOOTSTRAP_SERVERS=elsewhere),
    )
    for finished in (checked, tailed):
        assert finished.exit_code == 1
        assert "no-such-host.invalid:9092" in finished.complaint
        assert "advertised.listeners (" in finished.complaint
    assert_documented("Broker unreachable", checked.complaint.removeprefix(PROGRAM))
    assert_ends("Broker unreachable", patient.unresolving)


def test_no_group_coordinator(
    without_coordinators: tuple[Deployment, str], patient: Patient
) -> None:
    """The offsets topic cannot be created; this process has the real grace."""
    checked = without_coordinators[0].run("topics", "check")
    assert checked.exit_code == 1
    assert "offsets.topic.replication.factor is 3" in checked.complaints[0]
    assert "transaction.state.log.replication.factor is 3" in checked.complaints[1]
    ended = assert_ends("No group coordinator", patient.without_coordinator)
    assert ended.seconds > END_SECONDS


@contextmanager
def broker_setting(cluster: Cluster, name: str, value: str) -> Iterator[None]:
    """Change a dynamic setting of the broker for a time."""

    def change(operation: AlterConfigOpType) -> None:
        entry = ConfigEntry(
            name,
            value,
            source=ConfigSource.DYNAMIC_BROKER_CONFIG,
            incremental_operation=operation,
        )
        resource = ConfigResource(ResourceType.BROKER, "1", incremental_configs=[entry])
        admin = cluster.admin
        for changed in admin.incremental_alter_configs([resource]).values():
            changed.result(END_SECONDS)

    change(AlterConfigOpType.SET)
    try:
        yield
    finally:
        change(AlterConfigOpType.DELETE)
