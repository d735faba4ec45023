"""What waits behind a producer's open transaction is seen, though it is no lag."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from consumer.cli.tail import Period, tail
from consumer.config import PREFIX, Settings
from consumer.jobs import held_back
from dev.free_ports import free_ports
from dev.kafka_jars import kafka_version
from tests.integration.open_transaction import open_transaction
from tests.integration.tuned_service import tuned
from tests.support.deployment import Deployment
from tests.support.http_client import Observed
from tests.support.kafka_tools import KafkaTools
from tests.support.records import NewRecord, checkpoint, numbered_ids
from tests.support.verdicts import assert_exactly_once
from tests.support.waiting import wait_until, wait_until_async

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.topics import Names

RECORDS = 2_000


def test_an_open_transaction_on_an_input(cluster: Cluster, names: Names) -> None:
    """2,000 committed records wait behind it: gauges, page and a warning say so, until it ends."""
    ids = numbered_ids(RECORDS)
    with Deployment(cluster, names) as deployment:
        port = free_ports(1)[0]
        command = tuned(kafka__held_back__WARN_AFTER_SECONDS=2.0)
        seen = Observed(deployment.start(command=command, HTTP_PORT=port), port)
        deployment.wait_until_running(3, seen.service)
        topic = deployment.input_topic
        labels = {"topic": topic, "partition": "0"}
        wait_until(lambda: seen.metric("held_back_seconds", **labels) == 0)
        with open_transaction(cluster, names.group("poller"), topic, [checkpoint("aborted")]):
            cluster.produce(topic, [NewRecord(checkpoint(one), None, 0) for one in ids])
            line = seen.service.wait_for_log("input_held_back")
            assert (line["topic"], line["partition"], line["records"]) == (topic, 0, RECORDS + 1)
            assert line["seconds"] >= 2
            command_line = f"describe-producers --topic {topic} --partition 0"
            assert f"{cluster.bootstrap_servers} {command_line}" in line["hint"]
            assert len(KafkaTools(cluster.bootstrap_servers, kafka_version()).producers(topic, 0))
            assert seen.metric("held_back_records", **labels) == RECORDS + 1
            assert (seen.metric("held_back_seconds", **labels) or 0) >= 2
            assert seen.metric("lag_records", **labels) == 0
            assert seen.status("/readyz") == 200
            wait_until(lambda: f"{RECORDS + 1:,} for" in seen.get("/").text, what="the page")
        seen.service.wait_for_log("input_no_longer_held_back", topic=topic, partition=0)
        wait_until(lambda: seen.metric("held_back_records", **labels) == 0)
        assert seen.metric("held_back_seconds", **labels) == 0
        assert_exactly_once(cluster, names, ids)
        assert len(seen.service.logged("input_held_back")) == 1


@pytest.mark.parametrize(
    ("role", "command"), [("ready", ("tail", "--all")), ("dead-letters", ("dead-letters", "list"))]
)
def test_a_command_says_what_it_leaves_out(
    cluster: Cluster, names: Names, role: str, command: tuple[str, ...]
) -> None:
    """A list that ends at an open transaction is not complete, and standard error says so."""
    with Deployment(cluster, names) as deployment:
        topic = names.topic(role)
        with open_transaction(cluster, names.group("foreign"), topic, [b"open"]):
            cluster.produce(topic, [NewRecord(b"committed", None, 0)] * 3)
            done = deployment.run(*command)
            said = f"{topic}/0: 4 records from offset 0 on are left out, because an open"
            assert done.exit_code == 0
            assert said in done.stderr
        assert "left out" not in deployment.run(*command).stderr


async def test_a_command_that_follows_says_that_it_waits(
    cluster: Cluster,
    names: Names,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing comes, and that is not because nothing is published."""
    topic = names.topic("ready")
    cluster.create_topics({topic: 1})
    monkeypatch.setattr(held_back, "WARN_AFTER_SECONDS", 0.5)
    servers = {f"{PREFIX}BOOTSTRAP_SERVERS": cluster.bootstrap_servers}
    settings = Settings.load({**servers, f"{PREFIX}OUTPUT_TOPIC": topic})
    following = asyncio.ensure_future(
        tail(settings, print, period=Period.PAST_AND_FUTURE, max_events=None, live_table=False)
    )
    said = ""

    def says_so() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return f"{topic}/0: 1 records wait, because an open transaction" in said

    with open_transaction(cluster, names.group("foreign"), topic, [b"open"]):
        await wait_until_async(says_so, what="the notice")
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
