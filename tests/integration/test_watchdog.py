"""A process with pending work and no progress ends; one without work, or a slow one, does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from consumer.service.event_loop_watchdog import LOOP_BLOCKED
from dev.kafka import LocalKafka
from tests.integration.hanging_service import hanging
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.records import numbered_ids, scattered
from tests.support.stream import Stream
from tests.support.topics import Names
from tests.support.verdicts import assert_exactly_once

if TYPE_CHECKING:
    from tests.support.service_process import ServiceProcess

LIMIT: dict[str, Any] = {
    "WATCHDOG_SECONDS": 4,
    "TRANSACTION_TIMEOUT_MS": 2000,
    "SESSION_TIMEOUT_MS": 2000,
}
END_SECONDS = 40.0
IDS = numbered_ids(60)


def text(service: ServiceProcess) -> str:
    """Return the lines of a process that are not log lines."""
    return "\n".join(str(line["text"]) for line in service.lines if "text" in line)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("task", "has work and made no progress for"),
        ("failing", "has work and made no progress for"),
        ("loop", LOOP_BLOCKED),
        ("lock", "Timeout (0:00:08)!"),
    ],
)
def test_a_process_that_hangs_ends(cluster: Cluster, names: Names, how: str, said: str) -> None:
    """The exit code is 1, one line says why, and a stack says where; the next process continues."""
    with Deployment(cluster, names, **LIMIT) as deployment:
        cluster.produce(deployment.input_topic, scattered(IDS))
        service = deployment.start(command=hanging(how))
        assert service.wait(END_SECONDS) == 1, service.tail()
        assert said in text(service)
        if how != "failing":  # that one does not hang anywhere
            assert "hanging_service.py" in text(service)
        sound = deployment.start(WATCHDOG_SECONDS=60)  # on a busy machine a start takes long
        sound.wait_for_log("transaction_committed")
        assert_exactly_once(cluster, names, IDS)


def test_rest_and_slow_progress_do_not_end(cluster: Cluster, names: Names) -> None:
    """A process without work, and one with a slow backlog, run for longer than one that hangs."""
    resting = Deployment(cluster, Names(f"{names.prefix}-resting"), **LIMIT)
    slow = Deployment(cluster, Names(f"{names.prefix}-slow"), MAX_TRANSACTION_RECORDS=1, **LIMIT)
    stuck = Deployment(cluster, Names(f"{names.prefix}-stuck"), **LIMIT)
    with resting, slow, stuck:
        at_rest, at_work = resting.start(), slow.start(command=hanging("slow"))
        resting.wait_until_running(3, at_rest)
        cluster.produce(slow.input_topic, scattered(IDS))
        at_work.wait_for_log("transaction_committed")
        cluster.produce(stuck.input_topic, scattered(IDS))
        hung = stuck.start(command=hanging("task"))
        assert hung.wait(END_SECONDS) == 1, hung.tail()
        assert not at_rest.has_ended, at_rest.tail()
        assert not at_work.has_ended, at_work.tail()
        # It still had work, so that it was slow for longer than the limit.
        at_work.wait_for_log("transaction_committed", after=len(at_work.lines))
        assert_exactly_once(cluster, slow.names, IDS)


def test_an_outage_ends_the_process_only_after_the_limit(
    local_brokers: None,  # noqa: ARG001 - for its effect
    names: Names,
) -> None:
    """The process waits out a shorter outage; after a longer one it ends and says why."""
    with LocalKafka() as kafka:
        cluster = Cluster(kafka.bootstrap_servers)
        with Deployment(cluster, names, **{**LIMIT, "WATCHDOG_SECONDS": 8}) as deployment:
            service = deployment.start()
            deployment.wait_until_running(3, service)
            with Stream(cluster, deployment.input_topic) as stream:
                service.wait_for_log("transaction_committed")
                kafka.pause(1)
                service.wait_for_log("task_failed")
                kafka.resume(1)
                service.wait_for_log("transaction_committed", after=len(service.lines))
            with cluster.subscriber(deployment.ready_topic) as subscriber:
                subscriber.wait_for(len(stream.ids))
            assert not service.has_ended, service.tail()
            with Stream(cluster, deployment.input_topic):
                service.wait_for_log("transaction_committed", after=len(service.lines))
                kafka.pause(1)  # now it stays away
                assert service.wait(END_SECONDS) == 1, service.tail()
                kafka.resume(1)
            assert "has work and made no progress for" in text(service)
