"""The network between the service and its brokers: addresses that change, hang or are forgotten."""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from dev.kafka import LocalKafka
from dev.kafka_settings import HOST
from tests.chaos.effects import Effect, Link
from tests.chaos.proxy import Proxy
from tests.integration.unresolving_service import asked_file, unresolving
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.records import numbered_ids, scattered
from tests.support.secured_kafka import PASSWORD, Acl, SecuredKafka
from tests.support.verdicts import assert_exactly_once
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.topics import Names

LINK = Link(place=1, node=1)
OTHER_LINK = LINK._replace(address=1)
FORGOTTEN_SECONDS = 6.0
DISCOVERY_SECONDS = 3.0
SHARDS = 3
STOP_SECONDS = 5.0
QUIET_SECONDS = 5.0
REAUTH_MS = 4000
OTHER_PASSWORD = "another horse battery"
EVERYTHING = [
    Acl("TOPIC", "*", "ALL"),
    Acl("GROUP", "*", "ALL"),
    Acl("TRANSACTIONAL_ID", "*", "ALL"),
    Acl("CLUSTER", "kafka-cluster", "ALL"),
]


def published(cluster: Cluster, deployment: Deployment) -> int:
    """Return the number of ready events."""
    return len(cluster.read(deployment.ready_topic))


def is_published(cluster: Cluster, deployment: Deployment, events: int) -> bool:
    """Return whether there are this many ready events."""
    return published(cluster, deployment) == events


@contextmanager
def proxied_kafka(**properties: str) -> Iterator[tuple[LocalKafka, Proxy]]:
    """Run a broker with a listener whose clients are sent through a proxy."""
    with Proxy([LINK]) as proxy:
        ports = {"PROXIED": {LINK.node: proxy.port(LINK)}}
        listeners = {"PROXIED": "PLAINTEXT"}
        with LocalKafka(
            extra_listeners=listeners, advertised_ports=ports, properties=properties
        ) as kafka:
            proxy.start({LINK: int(kafka.listener("PROXIED").rpartition(":")[2])})
            yield kafka, proxy


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("local_brokers")
def test_the_first_event_after_rest_is_quick_behind_a_gateway(names: Names) -> None:
    """A gateway forgets idle connections silently. No shard restarts, and no event is late."""
    with proxied_kafka() as (kafka, proxy):
        cluster = Cluster(kafka.bootstrap_servers)
        with Deployment(
            cluster,
            names,
            input_partitions=SHARDS,
            BOOTSTRAP_SERVERS=proxy.addresses(LINK.place),
            CONNECTIONS_MAX_IDLE_MS=int(FORGOTTEN_SECONDS * 500),
            create_topics=False,
            CREATE_TOPICS=True,
        ) as deployment:
            service = deployment.start()
            deployment.wait_until_running(SHARDS, service)
            cluster.produce(deployment.input_topic, scattered(numbered_ids(20, "before")))
            wait_until(lambda: published(cluster, deployment) == 20)
            lines = len(service.lines)
            with proxy.trouble(Effect(forgets_after_seconds=FORGOTTEN_SECONDS)):
                rested = time.monotonic() + FORGOTTEN_SECONDS * 2
                wait_until(lambda: time.monotonic() > rested, FORGOTTEN_SECONDS * 3)
                begin = time.monotonic()
                cluster.produce(deployment.input_topic, scattered(numbered_ids(20, "after")))
                wait_until(lambda: published(cluster, deployment) == 40)
                seconds = time.monotonic() - begin
            print(f"first events after rest: {seconds:.2f} s")  # noqa: T201 - a figure
            # Without an idle timeout of its own the service would wait for its request timeout.
            assert seconds < 4.0
            assert not service.logged("task_failed", after=lines)
            assert proxy.forgotten == 0
            assert service.terminate() == 0


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("local_brokers")
def test_a_connection_that_is_silent_is_replaced(names: Names) -> None:
    """A gateway forgets connections that the service does not close in time: it goes on later."""
    with proxied_kafka() as (kafka, proxy):
        cluster = Cluster(kafka.bootstrap_servers)
        with Deployment(
            cluster,
            names,
            input_partitions=SHARDS,
            BOOTSTRAP_SERVERS=proxy.addresses(LINK.place),
            DISCOVERY_INTERVAL_MS=int(DISCOVERY_SECONDS * 1000),
            WATCHDOG_SECONDS=0,
            create_topics=False,
            CREATE_TOPICS=True,
        ) as deployment:
            service = deployment.start()
            deployment.wait_until_running(SHARDS, service)
            with proxy.trouble(Effect(forgets_after_seconds=DISCOVERY_SECONDS / 2)):
                wait_until(lambda: proxy.forgotten, what="a forgotten connection")
                cluster.add_partitions(deployment.input_topic, SHARDS + 1)
            # Only discovery finds the new partition, by connections that are forgotten now.
            service.wait_for_log("sources_added", 60)
            ids = numbered_ids(40)
            cluster.produce(deployment.input_topic, scattered(ids))
            assert_exactly_once(cluster, names, ids)
            assert service.terminate() == 0


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("local_brokers")
def test_all_advertised_addresses_change(names: Names) -> None:
    """The bootstrap address stays; the service finds the brokers again without a new process."""
    with Proxy([LINK, OTHER_LINK]) as proxy:
        ports = {"PROXIED": {LINK.node: proxy.port(LINK)}}
        with LocalKafka(extra_listeners={"PROXIED": "PLAINTEXT"}, advertised_ports=ports) as kafka:
            broker = int(kafka.listener("PROXIED").rpartition(":")[2])
            proxy.start({LINK: broker, OTHER_LINK: broker})
            cluster = Cluster(kafka.bootstrap_servers)
            with Deployment(
                cluster, names, input_partitions=SHARDS, WATCHDOG_SECONDS=0,
                BOOTSTRAP_SERVERS=kafka.listener("PROXIED"),
                create_topics=False, CREATE_TOPICS=True,
            ) as deployment:  # fmt: skip
                service = deployment.start()
                deployment.wait_until_running(SHARDS, service)
                first = numbered_ids(20, "before")
                cluster.produce(deployment.input_topic, scattered(first))
                wait_until(lambda: published(cluster, deployment) == 20)
                kafka.advertise({"PROXIED": {LINK.node: proxy.port(OTHER_LINK)}})
                kafka.restart(LINK.node)
                proxy.serve_only(OTHER_LINK.address)
                second = numbered_ids(20, "after")
                cluster.produce(deployment.input_topic, scattered(second))
                assert_exactly_once(cluster, names, first + second)
                assert service.terminate() == 0


def test_a_bootstrap_address_that_swallows_everything(cluster: Cluster, names: Names) -> None:
    """The first server accepts and never answers, the second name has no listener: still quick."""
    with socket.create_server((HOST, 0)) as silent:
        port = silent.getsockname()[1]
        servers = f"{HOST}:{port},{HOST}:1,{cluster.bootstrap_servers}"
        with Deployment(cluster, names, BOOTSTRAP_SERVERS=servers) as deployment:
            begin = time.monotonic()
            service = deployment.start()
            deployment.wait_until_running(SHARDS, service)
            print(f"running after {time.monotonic() - begin:.1f} s")  # noqa: T201 - a figure
            cluster.produce(deployment.input_topic, scattered(numbered_ids(10)))
            assert_exactly_once(cluster, names, numbered_ids(10))
            assert not service.logged("task_failed")
            assert service.terminate() == 0


def test_a_stop_does_not_wait_for_the_name_server(
    cluster: Cluster, names: Names, tmp_path: Path
) -> None:
    """The name server hangs: SIGTERM ends the process at once, with exit code 0."""
    hanging = tmp_path / "hanging"
    hanging.touch()
    servers = cluster.bootstrap_servers.replace(HOST, "localhost")
    with Deployment(cluster, names, BOOTSTRAP_SERVERS=servers) as deployment:
        service = deployment.start(command=unresolving(hanging))
        service.wait_for_log("starting")
        wait_until(asked_file(hanging).exists, what="a question to the name server")
        begin = time.monotonic()
        assert service.terminate() == 0
        assert time.monotonic() - begin < STOP_SECONDS


def test_the_service_starts_when_the_name_server_is_back(
    cluster: Cluster, names: Names, tmp_path: Path
) -> None:
    """A name server that hangs at the start delays the start, and nothing else."""
    hanging = tmp_path / "hanging"
    hanging.touch()
    servers = cluster.bootstrap_servers.replace(HOST, "localhost")
    with Deployment(cluster, names, BOOTSTRAP_SERVERS=servers) as deployment:
        service = deployment.start(command=unresolving(hanging))
        service.wait_for_log("starting")
        wait_until(asked_file(hanging).exists, what="a question to the name server")
        hanging.unlink()
        deployment.wait_until_running(SHARDS, service)
        assert service.terminate() == 0


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("local_brokers")
def test_a_deleted_input_is_not_created_by_the_service(names: Names) -> None:
    """Brokers that create topics automatically do not do it for the service's own requests."""
    with LocalKafka(properties={"auto.create.topics.enable": "true"}) as kafka:
        cluster = Cluster(kafka.bootstrap_servers)
        with Deployment(cluster, names, DISCOVERY_INTERVAL_MS=200) as deployment:
            service = deployment.start()
            deployment.wait_until_running(SHARDS, service)
            cluster.produce(deployment.input_topic, scattered(numbered_ids(5)))
            assert_exactly_once(cluster, names, numbered_ids(5))
            lines = len(service.lines)
            # The client that has produced to the topic would itself create it again.
            observer = Cluster(kafka.bootstrap_servers)
            del cluster.admin
            observer.delete_topics(deployment.input_topic)
            # Each shard finds out, and asks for the topic again.
            service.wait_for_log("task_failed", after=lines)
            checks = time.monotonic() + QUIET_SECONDS
            while time.monotonic() < checks:
                assert deployment.input_topic not in observer.topics()


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("local_brokers")
def test_a_rotated_password_is_used_by_new_connections(names: Names, tmp_path: Path) -> None:
    """The password changes, in its file too; then the broker restarts. Nothing else is needed."""
    secured = SecuredKafka(tmp_path)
    with secured.kafka as kafka:
        secured.add_user("service", EVERYTHING)
        cluster = secured.cluster()
        password = tmp_path / "password"
        password.write_text(PASSWORD)
        login = {**secured.login("service"), "SASL_PASSWORD": "", "SASL_PASSWORD_FILE": password}
        with Deployment(cluster, names) as deployment:
            service = deployment.start(WATCHDOG_SECONDS=0, **login)
            deployment.wait_until_running(SHARDS, service)
            cluster.produce(deployment.input_topic, scattered(numbered_ids(5, "before")))
            assert_exactly_once(cluster, names, numbered_ids(5, "before"))
            secured.set_password("service", OTHER_PASSWORD)
            replaced = tmp_path / "password.new"
            replaced.write_text(f"{OTHER_PASSWORD}\n")
            replaced.rename(password)
            for node in kafka.nodes:
                kafka.restart(node)
            cluster.produce(deployment.input_topic, scattered(numbered_ids(5, "after")))
            ids = numbered_ids(5, "before") + numbered_ids(5, "after")
            assert_exactly_once(cluster, names, ids)
            assert service.terminate() == 0


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("local_brokers")
def test_logins_are_renewed_before_they_end(names: Names, tmp_path: Path) -> None:
    """A broker that ends each login after seconds closes no connection, and no shard restarts."""
    secured = SecuredKafka(tmp_path, **{"connections.max.reauth.ms": str(REAUTH_MS)})
    with secured.kafka:
        secured.add_user("service", EVERYTHING)
        cluster = secured.cluster()
        with Deployment(cluster, names) as deployment:
            service = deployment.start(**secured.login("service"))
            deployment.wait_until_running(SHARDS, service)
            lines = len(service.lines)
            ends_at = time.monotonic() + REAUTH_MS / 1000 * 4
            rounds = 0
            while time.monotonic() < ends_at:
                cluster.produce(
                    deployment.input_topic, scattered(numbered_ids(5, f"round-{rounds}"))
                )
                rounds += 1
                wait_until(partial(is_published, cluster, deployment, rounds * 5))
            ids = [one for number in range(rounds) for one in numbered_ids(5, f"round-{number}")]
            assert_exactly_once(cluster, names, ids)
            unwanted = [
                line for line in service.lines[lines:] if line["level"] in {"warning", "error"}
            ]
            assert unwanted == []
            assert service.terminate() == 0


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("local_brokers")
def test_records_are_read_in_the_own_rack(names: Names) -> None:
    """With CLIENT_RACK a follower in the same rack serves the fetches, and nothing is lost."""
    selector = "org.apache.kafka.common.replica.RackAwareReplicaSelector"
    with LocalKafka(
        3, properties={"replica.selector.class": selector}, racks={1: "a", 2: "b", 3: "c"}
    ) as kafka:
        cluster = Cluster(kafka.bootstrap_servers)
        with Deployment(cluster, names, CLIENT_RACK="c") as deployment:
            first = deployment.start()
            deployment.wait_until_running(SHARDS, first)
            ids = numbered_ids(300)
            cluster.produce(deployment.input_topic, scattered(ids[:150]))
            assert_exactly_once(cluster, names, ids[:150])
            first.kill()
            second = deployment.restart(first)
            cluster.produce(deployment.input_topic, scattered(ids))
            assert_exactly_once(cluster, names, ids)
            assert second.terminate() == 0
