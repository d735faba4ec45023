"""Replay, backfill and redrive live through the loss of the broker, and each does its work once."""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from consumer.jobs.retry import RETRYING
from consumer.shard.events import Step
from dev.kafka import LocalKafka
from tests.integration.open_transaction import NO_TIMED_OUT_TRANSACTIONS
from tests.integration.signalled_tool import tool_signalled_at
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.records import NewRecord, checkpoint, numbered_ids, scattered
from tests.support.verdicts import assert_exactly_once, event_id, wait_until_handled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.topics import Names

# More than a transaction of each: a redrive's has 1,000, whatever the settings.
IDS, LETTERS = 200, 1_500
THIRD = 3  # after the mark of the start and one that is committed
END_SECONDS = 60.0


@pytest.mark.timeout(300)
def test_each_goes_on_when_the_broker_is_back(
    local_brokers: None,  # noqa: ARG001 - for its effect
    names: Names,
    tmp_path: Path,
) -> None:
    """The broker is killed while a tool has a transaction open, and back after a failed try."""
    old, new = numbered_ids(IDS, "old"), numbered_ids(IDS, "new")
    poison = [b"no json %d" % number for number in range(LETTERS)]
    file = tmp_path / "file"
    file.write_bytes(b"\n".join(map(checkpoint, new)))
    commands = [
        ("replay", "--name", "outage", "--execute"),
        ("backfill", str(file), "--execute"),
        ("dead-letters", "redrive", "--execute"),
    ]
    with LocalKafka(properties=NO_TIMED_OUT_TRANSACTIONS) as kafka:
        cluster = Cluster(kafka.bootstrap_servers)
        with Deployment(cluster, names, MAX_TRANSACTION_RECORDS=20) as deployment:
            service = deployment.start()
            records = [*scattered(old), *map(NewRecord, poison)]
            cluster.produce(deployment.input_topic, records)
            wait_until_handled(cluster, names)
            assert service.terminate() == 0
            # One after the other: a replay's range would take in what a backfill commits before it,
            # and an open transaction of one holds up the journal for the next.
            for command in commands:
                tool = deployment.start(
                    command=tool_signalled_at(signal.SIGSTOP, Step.SENT, THIRD, *command)
                )
                wait_until(lambda tool=tool: tool.is_frozen, what="an open transaction")  # type: ignore[misc]
                kafka.kill(1)
                tool.resume()
                wait_until(lambda tool=tool: RETRYING in tool.tail(), what="a failed try")  # type: ignore[misc]
                kafka.restart(1)
                assert tool.wait(END_SECONDS) == 0, tool.tail()

            deployment.restart(service)
            assert_exactly_once(cluster, names, [*old, *new])
            replayed = cluster.read(f"{deployment.ready_topic}.replay")
            assert sorted(map(event_id, replayed)) == sorted(old)
            found = Counter(record.value for record in cluster.read(deployment.input_topic))
            assert all(found[checkpoint(one)] == 1 for one in new)
            assert all(found[value] == 2 for value in poison)  # produced once, put back once
