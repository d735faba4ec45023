"""The answers of probes change when they should; a process whose port is taken does not start."""

from __future__ import annotations

import socket

from consumer.config import PREFIX
from consumer.service.health import SPARE
from dev.kafka import LocalKafka
from tests.integration.test_restore import open_transaction
from tests.support.cluster import Cluster
from tests.support.command_line import run_command
from tests.support.deployment import Deployment
from tests.support.http_client import start_observed
from tests.support.records import numbered_ids, scattered
from tests.support.topics import Names
from tests.support.verdicts import assert_exactly_once
from tests.support.waiting import wait_until

OUTAGE_SECONDS = 40.0


def test_a_start_is_not_over_before_its_restore(cluster: Cluster, names: Names) -> None:
    """While a shard waits in its restore the probe names it. Then the start-up is over for good."""
    with Deployment(cluster, names) as deployment:
        foreign = open_transaction(deployment, 1)
        seen = start_observed(deployment)
        wait_until(lambda: seen.status("/readyz") == 503, what="an answer before the shards run")
        wait_until(lambda: "shard 1 is restoring: " in seen.get("/startupz").text)
        wait_until(lambda: seen.metric("shards", state="running") == 2)
        start_up, ready = seen.get("/startupz"), seen.get("/readyz")
        assert (start_up.status, ready.status, seen.status("/livez")) == (503, 503, 200)
        assert start_up.text == ready.text
        assert seen.metric("restore_progress_ratio", shard="1") < 1  # type: ignore[operator]
        foreign.commit_transaction(20)
        wait_until(lambda: seen.status("/startupz") == 200)
        wait_until(lambda: seen.status("/readyz") == 200)
        assert seen.get("/readyz").text == "running: 0, 1, 2\n"
        assert seen.metric("restore_progress_ratio", shard="1") == 1


def test_an_outage_of_the_broker_is_not_ready_and_yet_alive(local_brokers: None) -> None:  # noqa: ARG001 - for its effect
    """A new process would not help, so only the readiness changes; it returns with the broker."""
    ids = numbered_ids(20)
    names = Names("outage")
    with LocalKafka() as kafka:
        cluster = Cluster(kafka.bootstrap_servers)
        with Deployment(cluster, names) as deployment:
            seen = start_observed(deployment)
            wait_until(lambda: seen.status("/readyz") == 200, OUTAGE_SECONDS)
            cluster.produce(deployment.input_topic, scattered(ids))
            assert_exactly_once(cluster, names, ids)
            kafka.kill(1)
            wait_until(lambda: seen.status("/readyz") == 503, OUTAGE_SECONDS)
            assert seen.status("/livez") == 200
            assert seen.status("/startupz") == 200
            assert seen.metric("published_events_total") == 20  # it is scraped all the same
            kafka.restart(1)
            wait_until(lambda: seen.status("/readyz") == 200, OUTAGE_SECONDS)
            assert not seen.service.has_ended


def test_a_spare_is_ready_and_an_end_is_quick(cluster: Cluster, names: Names) -> None:
    """A process without a shard is ready and says that it is a spare; SIGTERM closes its port."""
    with Deployment(cluster, names) as deployment:
        first = start_observed(deployment)
        deployment.wait_until_running(3, first.service)
        others = [start_observed(deployment) for _ in range(3)]
        everyone = [first, *others]
        wait_until(
            lambda: (
                all(seen.status("/readyz") == 200 for seen in everyone)
                and sum(seen.metric("shards", state="running") or 0 for seen in everyone) == 3
            ),
            OUTAGE_SECONDS,
        )
        spares = [s for s in everyone if s.get("/readyz").text == f"{SPARE}\n"]
        assert len(spares) == 1
        assert spares[0].service.terminate() == 0
        assert spares[0].status("/livez") == 0


def test_a_port_in_use_ends_the_start(cluster: Cluster) -> None:
    """The process prints one line and exits with code 2, without a connection to the broker."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = run_command(
            "run", HTTP_PORT=port, BOOTSTRAP_SERVERS=cluster.bootstrap_servers, LOG_FORMAT="json"
        )
    assert finished.exit_code == 2
    assert f"{PREFIX}HTTP_PORT: port {port} cannot be served" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_nothing_is_served_without_a_port(cluster: Cluster, names: Names) -> None:
    """HTTP_PORT 0 disables the server."""
    with Deployment(cluster, names) as deployment:
        service = deployment.start()
        deployment.wait_until_running(3, service)
        assert service.logged("http_served") == []
