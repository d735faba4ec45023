"""The network between the service and its brokers: addresses that change, hang or are forgotten."""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from confluent_kafka.admin import AdminClient

from dev.kafka import LocalKafka
from dev.kafka_settings import HOST
from tests.chaos.effects import Effect
from tests.integration.multihomed_service import multihomed
from tests.integration.proxied_kafka import (
    BESIDE,
    SERVICE,
    SHARDS,
    ProxiedKafka,
    advertised,
    proxied_kafka,
)
from tests.integration.unresolving_service import asked_file, unresolving
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.records import numbered_ids, scattered
from tests.support.service_process import RUN
from tests.support.silent_servers import black_hole, silent_server
from tests.support.single_sender import SingleSender
from tests.support.verdicts import assert_exactly_once, wait_until_handled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.support.reader import Reader
    from tests.support.topics import Names

FORGOTTEN_SECONDS = 6.0
IDLE_MS = int(FORGOTTEN_SECONDS * 500)
REST_SECONDS = FORGOTTEN_SECONDS * 2
EVENTS = 20
# A step of a transaction that is sent on a forgotten connection waits 7.5 s for its answer. So much
# less shows that none was, also on a machine that is busy at that moment.
AMPLE_SECONDS = 3.0
DISCOVERY_SECONDS = 3.0
FIRST_HOST = "127.0.0.2"
NAME = "kafka.test"
MOST_LONGER_SECONDS = 10.0
METADATA_SECONDS = 60.0
BOOTSTRAP_TRIES = 4
STOP_SECONDS = 5.0
QUIET_SECONDS = 5.0


class Published(NamedTuple):
    """How long some new ids took from the sending to a read_committed subscriber."""

    first_seconds: float
    all_seconds: float


def publish(deployment: Deployment, reader: Reader, prefix: str) -> Published:
    """Send ids of all shards, and wait for their ready events."""
    known = len(reader.records)
    begin = time.monotonic()
    deployment.cluster.produce(deployment.input_topic, scattered(numbered_ids(EVENTS, prefix)))
    reader.wait_for(known + 1)
    first = time.monotonic() - begin
    reader.wait_for(known + EVENTS)
    return Published(first, time.monotonic() - begin)


@pytest.fixture(scope="module")
def gateway(local_brokers: None) -> Iterator[ProxiedKafka]:  # noqa: ARG001 - for its effect
    """Run a broker behind a proxy for the tests of this module."""
    with proxied_kafka() as running:
        yield running


@contextmanager
def forgetting(gateway: ProxiedKafka, rest_seconds: float) -> Iterator[None]:
    """Let the gateway forget connections, first for some time without any record."""
    with gateway.proxy.trouble(Effect(forgets_after_seconds=FORGOTTEN_SECONDS)):
        rested = time.monotonic() + rest_seconds
        wait_until(lambda: time.monotonic() > rested, rest_seconds * 2)
        yield


@contextmanager
def sender(gateway: ProxiedKafka, names: Names, **settings: object) -> Iterator[SingleSender]:
    """Run a producer of librdkafka behind the gateway. `_` in a name of `settings` is a dot."""
    topic = names.topic(f"beside-{len(settings)}")
    gateway.cluster.create_topics({topic: 1})
    named = {name.replace("_", "."): value for name, value in settings.items()}
    with SingleSender(gateway.proxy.addresses(BESIDE), topic, named) as running:
        yield running


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "settings",
    [{"CONNECTIONS_MAX_IDLE_MS": IDLE_MS}, {"TCP_KEEPALIVE_SECONDS": 1}],
    ids=["idle-bound", "keep-alive"],
)
def test_the_first_event_after_rest_is_quick_behind_a_gateway(
    gateway: ProxiedKafka, names: Names, settings: dict[str, object]
) -> None:
    """A gateway forgets idle connections silently, but no connection of the service.

    The service closes them before, or TCP keeps them alive. So no shard restarts, and no event is
    late. The connection of librdkafka with its default settings is forgotten meanwhile.
    """
    with (
        gateway.service(names, **settings) as (deployment, service),
        sender(gateway, names, connections_max_idle_ms=IDLE_MS) as bounded,
        sender(gateway, names) as unbounded,
        gateway.cluster.subscriber(names.topic("ready")) as reader,
    ):
        before = publish(deployment, reader, "before")
        lines = len(service.lines)
        ours, theirs = gateway.forgotten(SERVICE), gateway.forgotten(BESIDE)
        with forgetting(gateway, REST_SECONDS):
            unbounded.send()
            bounded.send()
            after = publish(deployment, reader, "after")
            beside = wait_until(lambda: bounded.seconds, what="a delivery of librdkafka")
        print(  # noqa: T201 - figures
            f"first event after rest: librdkafka with a bound {beside:.2f} s, without one "
            f"{'not yet' if unbounded.seconds is None else unbounded.seconds}, service "
            f"{after.first_seconds:.2f} s (before the rest {before.first_seconds:.2f} s), "
            f"all {EVENTS} {after.all_seconds:.2f} s ({before.all_seconds:.2f} s)"
        )
        assert gateway.forgotten(SERVICE) == ours
        assert gateway.forgotten(BESIDE) > theirs
        assert not service.logged("task_failed", after=lines)
        assert after.all_seconds < before.all_seconds + beside + AMPLE_SECONDS


@pytest.mark.timeout(300)
def test_a_connection_that_is_silent_is_replaced(gateway: ProxiedKafka, names: Names) -> None:
    """A gateway forgets connections, and neither a bound nor TCP prevents that: it goes on later.

    It is not much later than librdkafka with its default settings. The discovery of new partitions
    goes on too.
    """
    settings = {
        "TCP_KEEPALIVE_SECONDS": 0,
        "DISCOVERY_INTERVAL_MS": int(DISCOVERY_SECONDS * 1000),
        "WATCHDOG_SECONDS": 0,
    }
    with (
        gateway.service(names, **settings) as (deployment, service),
        sender(gateway, names) as unbounded,
        gateway.cluster.subscriber(names.topic("ready")) as reader,
    ):
        publish(deployment, reader, "before")
        ours = gateway.forgotten(SERVICE)
        with forgetting(gateway, REST_SECONDS):
            assert gateway.forgotten(SERVICE) > ours
            unbounded.send()
            after = publish(deployment, reader, "after")
            beside = unbounded.seconds
        print(  # noqa: T201 - figures
            f"events after rest on forgotten connections: service {after.first_seconds:.1f} to "
            f"{after.all_seconds:.1f} s, librdkafka {'later' if beside is None else beside}"
        )
        assert beside is None or after.all_seconds < beside + AMPLE_SECONDS
        effect = Effect(forgets_after_seconds=DISCOVERY_SECONDS / 2)
        with gateway.proxy.trouble(effect):
            ours = gateway.forgotten(SERVICE)
            wait_until(lambda: gateway.forgotten(SERVICE) > ours, what="a forgotten connection")
            gateway.cluster.add_partitions(deployment.input_topic, SHARDS + 1)
        # Only discovery finds the new partition, by connections that are forgotten now.
        service.wait_for_log("sources_added", 60)
        ids = [one for prefix in ("before", "after") for one in numbered_ids(EVENTS, prefix)]
        last = numbered_ids(40)
        gateway.cluster.produce(deployment.input_topic, scattered(last))
        assert_exactly_once(gateway.cluster, names, ids + last)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("local_brokers")
def test_all_advertised_addresses_change(names: Names) -> None:
    """The bootstrap address stays; the service finds the brokers again without a new process.

    Nothing is sent while the only broker restarts: it would leave transactions without an end
    (docs/operations/runbook.md, "When a transaction hangs").
    """
    with proxied_kafka(addresses=2) as proxied:
        servers = proxied.bootstrap_servers(SERVICE)
        topic = names.topic("beside")
        proxied.cluster.create_topics({topic: 1})
        with (
            proxied.service(names, WATCHDOG_SECONDS=0, BOOTSTRAP_SERVERS=servers) as (
                deployment,
                service,
            ),
            SingleSender(proxied.bootstrap_servers(BESIDE), topic, {}) as single,
            proxied.cluster.subscriber(names.topic("ready")) as reader,
        ):
            publish(deployment, reader, "before")
            wait_until_handled(proxied.cluster, names)
            proxied.kafka.advertise(advertised(proxied.proxy, 1, address=1))
            proxied.proxy.serve_only(1)
            proxied.kafka.restart(1)
            single.send()
            after = publish(deployment, reader, "after")
            theirs = wait_until(lambda: single.seconds, 60, what="a delivery of librdkafka")
            print(  # noqa: T201 - figures
                f"other addresses: librdkafka {theirs:.1f} s, service {after.first_seconds:.1f} to "
                f"{after.all_seconds:.1f} s after the broker is back"
            )
            ids = [one for prefix in ("before", "after") for one in numbered_ids(EVENTS, prefix)]
            assert_exactly_once(proxied.cluster, names, ids)
            assert not service.has_ended
            assert after.all_seconds < theirs + MOST_LONGER_SECONDS


@pytest.mark.parametrize("fault", [black_hole, silent_server])
def test_a_bootstrap_name_whose_first_address_is_dead(
    cluster: Cluster, names: Names, fault: Callable[[str, int], AbstractContextManager[None]]
) -> None:
    """The name has two addresses. The first one accepts nothing, or accepts and never answers."""
    host, _, port = cluster.bootstrap_servers.split(",")[0].rpartition(":")
    with Deployment(cluster, names) as deployment:
        plain = seconds_to_run(deployment)
        with fault(FIRST_HOST, int(port)):
            command = multihomed(NAME, FIRST_HOST, host)
            ours = seconds_to_run(deployment, command, BOOTSTRAP_SERVERS=f"{NAME}:{port}")
            theirs = seconds_to_bootstrap(f"{FIRST_HOST}:{port},{host}:{port}")
        print(  # noqa: T201 - figures
            f"{fault.__name__}: librdkafka (a list of both) {theirs:.1f} s, service {ours:.1f} s, "
            f"without the dead address {plain:.1f} s"
        )
        assert ours < plain + MOST_LONGER_SECONDS


def seconds_to_run(
    deployment: Deployment,
    command: Sequence[str] = RUN,
    **settings: Any,  # noqa: ANN401 - variables
) -> float:
    """Return how long a new process needs until all shards run, and end it."""
    begin = time.monotonic()
    service = deployment.start(command=command, **settings)
    deployment.wait_until_running(SHARDS, service)
    seconds = time.monotonic() - begin
    assert not service.logged("task_failed")
    assert service.terminate() == 0
    return seconds


def seconds_to_bootstrap(servers: str) -> float:
    """Return how long librdkafka needs until it has metadata, at most.

    It asks the servers of a list in random order.
    """
    settings: dict[str, Any] = {
        "bootstrap.servers": servers,
        "broker.address.family": "v4",
        "log_level": 2,
    }
    seconds = []
    for _ in range(BOOTSTRAP_TRIES):
        begin = time.monotonic()
        AdminClient(settings).list_topics(timeout=METADATA_SECONDS)
        seconds.append(time.monotonic() - begin)
    return max(seconds)


def test_a_bootstrap_address_that_swallows_everything(cluster: Cluster, names: Names) -> None:
    """The first server accepts and never answers, the second name has no listener: still quick."""
    with Deployment(cluster, names) as deployment, socket.create_server((HOST, 0)) as silent:
        plain = seconds_to_run(deployment)
        servers = f"{HOST}:{silent.getsockname()[1]},{HOST}:1,{cluster.bootstrap_servers}"
        ours = seconds_to_run(deployment, BOOTSTRAP_SERVERS=servers)
        theirs = seconds_to_bootstrap(servers)
        print(  # noqa: T201 - figures
            f"a list: librdkafka {theirs:.1f} s, service {ours:.1f} s, "
            f"without the dead addresses {plain:.1f} s"
        )
        assert ours < plain + MOST_LONGER_SECONDS
        service = deployment.start(BOOTSTRAP_SERVERS=servers)
        cluster.produce(deployment.input_topic, scattered(numbered_ids(10)))
        assert_exactly_once(cluster, names, numbered_ids(10))
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
    """Brokers that create topics automatically do not do it for the service's own requests.

    They do it for a producer of librdkafka.
    """
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
            begin = time.monotonic()
            with SingleSender(kafka.bootstrap_servers, deployment.input_topic, {}):
                assert deployment.input_topic in observer.topics()
            seconds = time.monotonic() - begin
            print(f"a producer of librdkafka creates it within {seconds:.1f} s")  # noqa: T201 - a figure
