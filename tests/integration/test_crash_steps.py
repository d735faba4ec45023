"""The process is killed at each step of a start and of a transaction: no loss, nothing twice."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from consumer.shard.events import Step
from tests.integration.crashing_service import crashing_at
from tests.support.deployment import Deployment
from tests.support.records import numbered_ids, scattered
from tests.support.stream import Stream
from tests.support.verdicts import assert_exactly_once

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.topics import Names

STARTS = [Step.FENCED, Step.BARRIER_SET, Step.RESTORED]
TRANSACTIONS = [
    (Step.DECIDED, 0),
    (Step.SENT, 0),
    *((Step.COMMITTING, delay_ms) for delay_ms in (0, 0.2, 0.5, 2, 4)),
    (Step.COMMITTED, 0),
]


def test_killed_at_each_step_of_the_very_first_start(cluster: Cluster, names: Names) -> None:
    """Starts that die at one step after the other on empty topics leave a group that works."""
    ids = numbered_ids(200)
    with Deployment(cluster, names) as deployment:
        cluster.produce(deployment.input_topic, scattered(ids))
        for step in STARTS:
            crashing = deployment.start("one", command=crashing_at(step))
            assert crashing.wait() == -signal.SIGKILL, crashing.tail()
            assert not crashing.logged("transaction_committed")
        deployment.start("one")
        assert_exactly_once(cluster, names, ids)


@pytest.mark.parametrize("step", STARTS)
def test_killed_at_a_step_of_a_restart(cluster: Cluster, names: Names, step: Step) -> None:
    """A process killed at work and again at a step of its restart loses and repeats nothing."""
    with Deployment(cluster, names) as deployment:
        with Stream(cluster, deployment.input_topic) as stream:
            service = deployment.start("one")
            service.wait_for_log("transaction_committed")
            stream.wait_for_more(20)
            service.kill()
            crashing = deployment.start("one", command=crashing_at(step, 2))
            assert crashing.wait() == -signal.SIGKILL, crashing.tail()
            deployment.start("one").wait_for_log("transaction_committed")
            stream.wait_for_more(20)
        assert_exactly_once(cluster, names, stream.ids)


@pytest.mark.parametrize(("step", "delay_ms"), TRANSACTIONS)
def test_killed_at_a_step_of_a_transaction(
    cluster: Cluster, names: Names, step: Step, delay_ms: float
) -> None:
    """A process killed in a transaction leaves it whole or undone for the one in its place."""
    with Deployment(cluster, names) as deployment:
        with Stream(cluster, deployment.input_topic) as stream:
            # Some transactions in, so that there are ids to forget and forwards on their way.
            crashing = deployment.start("one", command=crashing_at(step, 6, delay_ms=delay_ms))
            assert crashing.wait() == -signal.SIGKILL, crashing.tail()
            assert crashing.logged("transaction_committed")
            deployment.start("one").wait_for_log("transaction_committed")
            stream.wait_for_more(20)
        assert_exactly_once(cluster, names, stream.ids)
