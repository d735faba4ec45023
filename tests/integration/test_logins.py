"""Logins to a real broker that change or end while the service runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.logins.counted_service import EVENT, MODULE
from tests.support.cluster import Cluster
from tests.support.deployment import Deployment
from tests.support.paced_sender import PacedSender, append_times, pauses_by_shard
from tests.support.records import numbered_ids, scattered
from tests.support.secured_kafka import MECHANISM, PASSWORD, SASL, Acl, SecuredKafka
from tests.support.single_sender import SingleSender
from tests.support.verdicts import assert_exactly_once
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.topics import Names

SHARDS = 3
# Logins are renewed after 7 to 8.5 s. The rest is the margin for a busy machine.
REAUTH_MS = 10_000
USER = "service"
OTHER_PASSWORD = "another horse battery"
MOST_LONGER_SECONDS = 10.0
EVERYTHING = [
    Acl("TOPIC", "*", "ALL"),
    Acl("GROUP", "*", "ALL"),
    Acl("TRANSACTIONAL_ID", "*", "ALL"),
    Acl("CLUSTER", "kafka-cluster", "ALL"),
]


LOGIN: dict[str, Any] = {
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": MECHANISM,
    "sasl.username": USER,
    "sasl.password": PASSWORD,
}


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("local_brokers")
def test_a_rotated_password_is_used_by_new_connections(names: Names, tmp_path: Path) -> None:
    """The password changes, in its file too; then the broker restarts. Nothing else is needed.

    A program with librdkafka must set the new password itself.
    """
    secured = SecuredKafka(tmp_path)
    with secured.kafka as kafka:
        secured.add_user(USER, EVERYTHING)
        cluster = secured.cluster()
        topic = names.topic("beside")
        cluster.create_topics({topic: 1})
        password = tmp_path / "password"
        password.write_text(PASSWORD)
        login = {**secured.login(USER), "SASL_PASSWORD": "", "SASL_PASSWORD_FILE": password}
        with (
            Deployment(cluster, names) as deployment,
            SingleSender(kafka.listener(SASL), topic, LOGIN) as single,
            cluster.subscriber(deployment.ready_topic) as reader,
        ):
            service = deployment.start(WATCHDOG_SECONDS=0, **login)
            deployment.wait_until_running(SHARDS, service)
            cluster.produce(deployment.input_topic, scattered(numbered_ids(5, "before")))
            assert_exactly_once(cluster, names, numbered_ids(5, "before"))
            secured.set_password(USER, OTHER_PASSWORD)
            replaced = tmp_path / "password.new"
            replaced.write_text(f"{OTHER_PASSWORD}\n")
            replaced.rename(password)
            single.use_password(USER, OTHER_PASSWORD)
            for node in kafka.nodes:
                kafka.restart(node)
            begin = time.monotonic()
            single.send()
            cluster.produce(deployment.input_topic, scattered(numbered_ids(5, "after")))
            reader.wait_for(10)
            ours = time.monotonic() - begin
            theirs = wait_until(lambda: single.seconds, 60, what="a delivery of librdkafka")
            print(  # noqa: T201 - figures
                f"another password: librdkafka {theirs:.1f} s, service {ours:.1f} s after the "
                "broker is back"
            )
            ids = numbered_ids(5, "before") + numbered_ids(5, "after")
            assert_exactly_once(cluster, names, ids)
            assert ours < theirs + MOST_LONGER_SECONDS
            assert service.terminate() == 0


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("local_brokers")
def test_logins_are_renewed_before_they_end(names: Names, tmp_path: Path) -> None:
    """A broker that ends each login after seconds closes no connection, and no shard restarts.

    Some connection has renewed its login twice at the end, so the first session is over.
    """
    secured = SecuredKafka(tmp_path, **{"connections.max.reauth.ms": str(REAUTH_MS)})
    with secured.kafka:
        secured.add_user(USER, EVERYTHING)
        cluster = secured.cluster()
        with Deployment(cluster, names) as deployment:
            append_times(cluster, deployment.ready_topic)
            service = deployment.start(command=[MODULE], **secured.login(USER))
            deployment.wait_until_running(SHARDS, service)
            lines = len(service.lines)

            def has_renewed_twice() -> bool:
                logins = [line["renewed"] for line in service.logged(EVENT)]
                return logins.count(True) > logins.count(False) > 0

            beside = Cluster(secured.kafka.listener(SASL), LOGIN)
            with PacedSender(beside, deployment.input_topic, SHARDS) as paced:
                wait_until(has_renewed_twice, 60, what="a second renewal of a login")
            assert_exactly_once(cluster, names, paced.sent)
            unwanted = [
                line for line in service.lines[lines:] if line["level"] in {"warning", "error"}
            ]
            assert unwanted == []
            theirs = paced.longest_pause()
            ours = pauses_by_shard(cluster, deployment.ready_topic, SHARDS)
            print(f"longest pause: librdkafka {theirs:.1f} s, shards {ours}")  # noqa: T201 - figures
            assert max(ours.values()) <= theirs + MOST_LONGER_SECONDS
            assert service.terminate() == 0
