"""One of three brokers hangs (SIGSTOP): it accepts connections and answers nothing.

The shards go on about as soon as other clients do. Kafka itself needs ``broker.session.timeout.ms``
(9 s by default, as here) to give the partitions of the broker to others.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from dev.kafka import LocalKafka
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.paced_sender import (
    PacedSender,
    append_times,
    commit_waits_by_id,
    longest_seconds,
    spans_by_shard,
)
from tests.support.verdicts import assert_exactly_once, wait_until_handled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.topics import Names

SHARDS = 6
FROZEN_SECONDS = 35.0
REAL_SESSION = {"broker.session.timeout.ms": "9000", "broker.heartbeat.interval.ms": "2000"}
# The service's pause contains the pause of the sender, whose records it waits for. Beyond that it
# may need as long again.
MOST_TIMES_THE_SENDER = 2.0
# On a machine that runs other tests too, the restore of the shards may take this long.
BUSY_MACHINE_SECONDS = 5.0


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("local_brokers")
def test_a_broker_that_hangs_costs_little_more_than_it_costs_others(
    names: Names,
) -> None:
    """No shard pauses twice as long as an idempotent producer of librdkafka beside it.

    If the broker hangs while the coordinator sends it the markers of a commit, the transaction
    waits for the coordinator (30 s). No client can shorten this, so it is not counted.
    """
    with LocalKafka(3, properties=REAL_SESSION) as kafka:
        cluster = Cluster(kafka.bootstrap_servers)
        with Deployment(cluster, names, input_partitions=SHARDS, SHARDS=SHARDS) as deployment:
            append_times(cluster, deployment.ready_topic)
            service = deployment.start()
            deployment.wait_until_running(SHARDS, service)
            with PacedSender(
                cluster, deployment.input_topic, SHARDS, records_per_second=100
            ) as sender:
                wait_until(lambda: len(cluster.read(deployment.ready_topic)) > SHARDS * 5)
                kafka.pause(2)
                frozen_until = time.monotonic() + FROZEN_SECONDS
                wait_until(lambda: time.monotonic() > frozen_until, FROZEN_SECONDS + 10)
                kafka.resume(2)
                goal = len(sender.sent) + SHARDS * 20
                wait_until(lambda: len(sender.sent) > goal, what="records after the freeze")
            wait_until_handled(cluster, names, deadline_seconds=90)
            assert_exactly_once(cluster, names, sender.sent)
            pauses = spans_by_shard(cluster, deployment.ready_topic, SHARDS)
            waits = commit_waits_by_id(cluster)
            theirs = sender.longest_pause()
            longest, ours = {}, {}
            for shard, spans in pauses.items():
                longest[shard] = round(longest_seconds(spans), 1)
                brokers = waits[f"{deployment.group}-{shard}"]
                ours[shard] = round(max(span.seconds_outside(brokers) for span in spans), 1)
            print(  # noqa: T201 - figures
                f"longest pause: librdkafka {theirs:.1f} s, shards {longest}, "
                f"without the brokers' waits for markers {ours}"
            )
            assert not service.has_ended
    assert max(ours.values()) <= theirs * MOST_TIMES_THE_SENDER + BUSY_MACHINE_SECONDS
