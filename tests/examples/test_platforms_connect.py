"""The connector of examples/platforms/kafka-connect, in a real worker on a log with aborted events.

Two connectors read the same topic: the shipped one, and one without its isolation level.
"""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from confluent_kafka import KafkaError, KafkaException

from tests.integration.open_transaction import open_transaction
from tests.support.connect_worker import ConnectorConfig, StandaloneWorker
from tests.support.documents import compact
from tests.support.records import NewRecord
from tests.support.topics import Names
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster import Cluster

EXAMPLE = Path(__file__).parents[2] / "examples/platforms/kafka-connect"
ISOLATION = "consumer.override.isolation.level"
NOT_JSON = b"not JSON"
ABORTED, LATER = ["ftckpt_1", "ftckpt_2"], ["ftckpt_1", "ftckpt_2", "ftckpt_3"]
WORKER_SECONDS = 60.0
NO_COORDINATOR_YET = {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
}
READ_ID = re.compile(r"\bid=(ftckpt_\d)")


class Connectors(NamedTuple):
    """The names of both connectors on one topic, and what they wrote."""

    cluster: Cluster
    topic: str
    committed: str
    uncommitted: str
    folder: Path

    def ids(self, connector: str) -> list[str]:
        """Return the ids that a connector wrote to its file."""
        return READ_ID.findall((self.folder / f"{connector}.txt").read_text())

    def lag(self, connector: str) -> int | None:
        """Return end offset minus committed offset; None if nothing is committed."""
        try:
            offsets = self.cluster.group_offsets(f"connect-{connector}")
        except KafkaException as error:  # a broker that has just started
            if error.args[0].code() not in NO_COORDINATOR_YET:
                raise
            return None
        committed = offsets.get((self.topic, 0))
        return None if committed is None else self.cluster.end_offsets(self.topic)[0] - committed


def _example() -> ConnectorConfig:
    config: ConnectorConfig = json.loads((EXAMPLE / "ready-events.json").read_text())["config"]
    return config


def _worker_settings(cluster: Cluster) -> dict[str, str]:
    lines = (EXAMPLE / "worker.properties").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    return {**settings, "bootstrap.servers": cluster.bootstrap_servers}


def _on(topic: str, name: str, folder: Path) -> ConnectorConfig:
    """Return the shipped configuration for this topic and one broker."""
    return {
        **_example(),
        "topics": topic,
        "file": str(folder / f"{name}.txt"),
        "errors.deadletterqueue.topic.name": f"{name}.dead-letters",
        "errors.deadletterqueue.topic.replication.factor": "1",
    }


def _event(checkpoint_id: str) -> bytes:
    return compact({"specversion": "1.0", "id": checkpoint_id})


def _write_log(cluster: Cluster, topic: str, prefix: str) -> None:
    """Write an aborted transaction, a committed one, and a record that is not JSON."""
    cluster.create_topics({topic: 1})
    with open_transaction(cluster, f"{prefix}.aborted", topic, map(_event, ABORTED)):
        pass
    values = [NOT_JSON, *map(_event, LATER)]
    records = [NewRecord(value, partition=0) for value in values]
    cluster.produce(topic, records, transactional_id=f"{prefix}.committed")


@pytest.fixture(scope="module")
def connectors(
    cluster: Cluster,
    local_brokers: None,  # noqa: ARG001 - it needs a Java
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Connectors]:
    """Both connectors, after they have handled the whole log."""
    names, folder = Names(f"connect-{uuid.uuid4().hex[:8]}"), tmp_path_factory.mktemp("connect")
    topic = names.topic("ready")
    _write_log(cluster, topic, names.prefix)
    both = Connectors(cluster, topic, names.group("committed"), names.group("default"), folder)
    configs = {name: _on(topic, name, folder) for name in (both.committed, both.uncommitted)}
    assert configs[both.uncommitted].pop(ISOLATION) == "read_committed"
    with StandaloneWorker(folder, _worker_settings(cluster), configs) as worker:

        def have_read_all() -> bool:
            assert not worker.has_ended, worker.log_tail
            lags = [both.lag(both.committed), both.lag(both.uncommitted)]
            return None not in lags and set(lags) <= {0, 1}

        wait_until(have_read_all, WORKER_SECONDS, what="the end of the topic")
        yield both


def test_the_shipped_connector_delivers_each_committed_event_once(connectors: Connectors) -> None:
    """The aborted copies are in the log but not in the file."""
    assert connectors.ids(connectors.committed) == LATER


def test_without_the_setting_the_aborted_events_are_delivered_too(connectors: Connectors) -> None:
    """The default of a worker is read_uncommitted."""
    assert connectors.ids(connectors.uncommitted) == ABORTED + LATER


def test_a_record_that_the_converter_cannot_read_is_a_dead_letter(connectors: Connectors) -> None:
    """The connector goes on, and the record is in its dead-letter topic with the reason."""
    (letter,) = connectors.cluster.read(f"{connectors.committed}.dead-letters")
    assert letter.value == NOT_JSON
    assert letter.header("__connect.errors.topic") == connectors.topic.encode()
    assert letter.header("__connect.errors.stage") == b"VALUE_CONVERTER"


def test_a_sink_connector_leaves_a_lag_of_one(connectors: Connectors) -> None:
    """It commits the offset after the last record, which is the offset of the marker."""
    assert connectors.lag(connectors.committed) == 1


def test_a_worker_with_the_policy_none_refuses_the_setting(
    cluster: Cluster,
    local_brokers: None,  # noqa: ARG001 - it needs a Java
    tmp_path: Path,
) -> None:
    """So the setting is never silently ignored."""
    settings = {**_worker_settings(cluster), "connector.client.config.override.policy": "None"}
    with StandaloneWorker(
        tmp_path, settings, {"refused": _on("unused", "refused", tmp_path)}
    ) as one:
        wait_until(lambda: one.has_ended or "does not allow" in one.log, WORKER_SECONDS)
        assert "'None' policy does not allow 'isolation.level' to be overridden" in one.log
