"""The local Kafka of dev/kafka.py: it starts, survives what tests do to it, and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from dev.kafka import LocalKafka
from dev.kafka_jars import LocalKafkaError, class_archive, kafka_jars
from tests.integration.open_transaction import open_transaction
from tests.support.cluster import Cluster
from tests.support.records import NewRecord, send
from tests.support.topics import Names
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.cluster import RunningKafka

pytestmark = pytest.mark.usefixtures("local_brokers")

ROOT = Path(__file__).resolve().parents[2]


def process_lives(pid: int) -> bool:
    """Say whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    # One that has ended and waits for somebody to take note of it is still found by its number.
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_committed_transaction_is_read_back(cluster: Cluster, names: Names) -> None:
    """Records keep partition, key, headers and timestamp on the way through one node."""
    topic = names.topic()
    cluster.create_topics({topic: 3})
    sent = [
        NewRecord(b"value %d" % n, b"key", n % 3, [("h", b"1"), ("none", None)], 1_700_000_000_000)
        for n in range(6)
    ]
    placed = cluster.produce(topic, sent, transactional_id=names.group("txn"))
    read = cluster.read(topic)
    assert sorted(placed) == sorted((record.partition, record.offset) for record in read)
    assert {record.value for record in read} == {record.value for record in sent}
    assert {record.timestamp_ms for record in read} == {1_700_000_000_000}
    assert read[0].headers == [("h", b"1"), ("none", None)]
    assert cluster.end_offsets(topic) == {0: 3, 1: 3, 2: 3}  # two records and a marker each


def test_an_aborted_transaction_is_not_read(cluster: Cluster, names: Names) -> None:
    """A read_committed reader reaches the end behind aborted records and sees none of them."""
    topic = names.topic()
    cluster.create_topics({topic: 1})
    producer = Producer({**cluster.settings, "transactional.id": names.group("txn")})
    producer.init_transactions(20)
    producer.begin_transaction()
    send(producer, topic, [NewRecord(b"aborted")])
    producer.abort_transaction(20)
    assert cluster.read(topic) == []
    assert [r.value for r in cluster.read(topic, committed_only=False)] == [b"aborted"]


def test_reading_to_the_end_waits_for_an_open_transaction(cluster: Cluster, names: Names) -> None:
    """An end that stops at the last stable offset would hide records whose commit is on its way."""
    topic = names.topic()
    cluster.create_topics({topic: 1})
    with (
        open_transaction(cluster, names.group("txn"), topic, [b"open"]),
        cluster.subscriber(topic) as subscriber,
        pytest.raises(AssertionError, match="not at the end"),
    ):
        subscriber.read_to_end(0.2)
    assert cluster.read(topic) == []


def test_topics_are_changed_and_groups_deleted(cluster: Cluster, names: Names) -> None:
    """The helpers of the tests do what they say: settings, partitions, records, topics."""
    topic = names.topic()
    cluster.create_topics({topic: 1}, {"cleanup.policy": "compact"})
    cluster.set_config(topic, max_message_bytes="1234")
    assert cluster.config(topic)["max.message.bytes"] == "1234"
    assert cluster.config(topic)["cleanup.policy"] == "compact"
    with closing(cluster.subscriber(topic)) as subscriber:
        cluster.add_partitions(topic, 3)
        cluster.produce(topic, [NewRecord(b"x", b"k", partition) for partition in range(3)])
        assert len(subscriber.read_to_end()) == cluster.partitions(topic) == 3
    cluster.delete_topics(topic)
    assert cluster.partitions(topic) == 0
    assert cluster.group_members(names.group()) == []


def test_three_nodes_survive_the_kill_of_one(three_nodes: LocalKafka, names: Names) -> None:
    """Transactions go on with two nodes of three, and the third comes back to its data."""
    cluster = Cluster(three_nodes.bootstrap_servers)
    topic = names.topic()
    cluster.create_topics({topic: 3})
    batch = [NewRecord(b"x", b"k", partition) for partition in range(3)]
    cluster.produce(topic, batch, transactional_id=names.group("before"))
    three_nodes.kill(2)
    assert three_nodes.pid(2) is None
    cluster.produce(topic, batch, transactional_id=names.group("while"))
    three_nodes.restart(2)
    three_nodes.pause(1)
    three_nodes.resume(1)
    cluster.produce(topic, batch, transactional_id=names.group("after"))
    assert len(cluster.read(topic)) == 9


def test_data_survive_in_a_named_folder(tmp_path: Path, names: Names) -> None:
    """A cluster started again on the same folder is the same cluster, with the same records."""
    with LocalKafka(data_dir=tmp_path) as first:
        cluster = Cluster(first.bootstrap_servers)
        cluster.create_topics({names.topic(): 1})
        cluster.produce(names.topic(), [NewRecord(b"kept")])
        first.kill(1)
    with LocalKafka(data_dir=tmp_path) as again:
        assert again.cluster_id == first.cluster_id
        cluster = Cluster(again.bootstrap_servers)
        assert [record.value for record in cluster.read(names.topic())] == [b"kept"]


def test_a_secured_listener_wants_a_login(names: Names) -> None:
    """One more listener takes SASL/PLAIN, and the authorizer knows who came."""
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    properties = {
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl.plain.sasl.jaas.config": f'{login} user_ada="secret";',
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    secured = {"SASL": "SASL_PLAINTEXT"}
    with LocalKafka(properties=properties, extra_listeners=secured) as local:
        Cluster(local.bootstrap_servers).create_topics({names.topic(): 1})
        ada = Cluster(
            local.listener("SASL"),
            {
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "PLAIN",
                "sasl.username": "ada",
                "sasl.password": "secret",
            },
        )
        assert names.topic() not in ada.topics()  # she may log in and describe nothing


def test_no_broker_outlives_a_killed_parent() -> None:
    """SIGKILL of the process that started a broker ends the broker, and its data go too."""
    program = (
        "import sys; from dev.kafka import LocalKafka; kafka = LocalKafka().start();"
        "print(kafka.pid(1), kafka.log(1), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid, log = parent.stdout.readline().split()
        assert process_lives(int(pid))
        os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: not process_lives(int(pid)), 10, what="the end of the broker")
    wait_until(lambda: not Path(log).parents[1].exists(), 10, what="the end of its data")


def test_a_stop_leaves_nothing() -> None:
    """After stop() neither the process nor the folder is there.

    On its way the start took what Java has archived of its classes, where there is such an archive
    (`make test` sees to it).
    """
    local = LocalKafka().start()
    pid, log = local.pid(1), local.log(1)
    assert pid is not None
    archive = class_archive(kafka_jars(local.version))
    assert "[cds]" not in log.read_text(), f"Java refuses {archive}: remove it"
    local.stop()
    assert not process_lives(pid)
    assert not log.parents[1].exists()


def test_a_broker_that_cannot_start_says_why() -> None:
    """A bad setting ends in one exception with the broker's own words."""
    with pytest.raises(LocalKafkaError, match="not a number"):
        LocalKafka(properties={"num.io.threads": "not a number"}).start()


def test_the_session_broker_keeps_running(kafka: RunningKafka, cluster: Cluster) -> None:
    """None of the above touched the broker that the other tests share."""
    assert cluster.bootstrap_servers == kafka.bootstrap_servers
    assert isinstance(cluster.topics(), set)
