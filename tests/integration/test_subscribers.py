"""`subscribers check` finds who reads uncommitted; `subscribers list` counts unread events."""

from __future__ import annotations

import json
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from consumer.cli.subscribers_list import list_subscribers
from consumer.config import PREFIX, Settings
from dev.kafka_jars import kafka_version
from schemas.ready_event import CHECK_TYPE
from tests.integration.open_transaction import open_transaction
from tests.support.child_process import ROOT, ChildProcess
from tests.support.command_line import PROGRAM, environment, run_command, run_in_terminal
from tests.support.deployment import Deployment
from tests.support.records import NewRecord, numbered_ids, scattered
from tests.support.verdicts import READY_TYPE, assert_exactly_once, document
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.cluster import Cluster
    from tests.support.reader import Record
    from tests.support.topics import Names

PARTITIONS = 3
REAL = b'{"type":"fine_tuning.job.checkpoint.ready"}'
FILTERED = "--all-subscribers-filter-by-type"
# The command with a shorter timeout of its transaction: 1 s and the hold.
SHORT_TIMEOUT = (
    "import sys\n"
    "from consumer.cli import main, subscribers_check\n"
    "subscribers_check.TRANSACTION_TIMEOUT_MS = 1000\n"
    "sys.exit(main(sys.argv[1:]))\n"
)
REQUEST_SECONDS = 30.0
# Kafka 3.9 does not offer the protocol of KIP-848 by default.
PROTOCOLS = ("classic",) if kafka_version().startswith("3.") else ("classic", "consumer")


class Topic:
    """A ready topic of its own, and the settings of the commands."""

    def __init__(self, cluster: Cluster, names: Names, partitions: int = PARTITIONS) -> None:
        """Create the topic."""
        self.cluster = cluster
        self.names = names
        self.name = names.topic("ready")
        self.settings: dict[str, Any] = {
            "BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
            "GROUP_ID": names.group(),
            "OUTPUT_TOPIC": self.name,
        }
        cluster.create_topics({self.name: partitions})

    def check(self, *options: str, **settings: object) -> Any:  # noqa: ANN401 - JSON
        """Run a check and return its result."""
        done = run_command("subscribers", "check", *options, **{**self.settings, **settings})
        assert (done.exit_code, done.stderr) == (0, "")
        return done.json

    def list(self) -> Any:  # noqa: ANN401 - JSON
        """List the subscribers."""
        done = run_command("subscribers", "list", **self.settings)
        assert (done.exit_code, done.stderr) == (0, "")
        return done.json

    def publish(self, partition: int = 0) -> None:
        """Publish an event in a transaction, so that a marker follows it."""
        record = NewRecord(REAL, partition=partition)
        self.cluster.produce(self.name, [record], transactional_id=self.names.group("service"))

    def commit_offsets(self, group: str, offsets: dict[int, int]) -> None:
        """Commit offsets of a group without members."""
        places = {(self.name, partition): offset for partition, offset in offsets.items()}
        self.cluster.commit_offsets(group, places)

    @contextmanager
    def member(self, group: str, **settings: object) -> Iterator[Consumer]:
        """Run a member of a group of which every partition is assigned."""
        consumer = Consumer(
            {
                **self.cluster.settings,
                "group.id": group,
                "client.id": f"{group}-client",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                **{name.replace("_", "."): value for name, value in settings.items()},
            }
        )
        consumer.subscribe([self.name])
        partitions = self.cluster.partitions(self.name)
        try:
            wait_until(lambda: _poll(consumer) and len(consumer.assignment()) == partitions)
            yield consumer
        finally:
            consumer.close()


def _poll(consumer: Consumer) -> bool:
    consumer.poll(0.05)
    return True


@pytest.fixture
def topic(cluster: Cluster, names: Names) -> Topic:
    """Create an empty ready topic with three partitions."""
    return Topic(cluster, names)


def checks(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the check events among these records."""
    return [event for event in map(document, records) if event["type"] == CHECK_TYPE]


class TestCheck:
    """An aborted event, which only uncommitted readers receive."""

    def test_only_an_uncommitted_reader_receives_it(self, topic: Topic) -> None:
        """It is on each partition; a committed reader gets the next real event."""
        result = topic.check()
        uncommitted = topic.cluster.read(topic.name, committed_only=False)
        assert [record.partition for record in sorted(uncommitted)] == [0, 1, 2]
        found = checks(uncommitted)
        assert {event["subject"] for event in found} == {result["check"]}
        assert len({event["id"] for event in found}) == PARTITIONS
        assert all("aborted on purpose" in event["data"]["message"] for event in found)
        assert topic.cluster.read(topic.name) == []
        topic.publish(partition=1)
        (record,) = topic.cluster.read(topic.name)
        assert (record.value, record.offset) == (REAL, 2)
        assert result["events"] == [
            {
                "partition": partition,
                "offset": 0,
                "seen_by_read_uncommitted": True,
                "seen_by_read_committed": False,
            }
            for partition in range(PARTITIONS)
        ]
        assert result["type"] == CHECK_TYPE
        assert result["reads_uncommitted"] is None

    def test_chosen_partitions(self, topic: Topic) -> None:
        """The others stay empty; a partition that does not exist is wrong usage."""
        result = topic.check("--partition", "2", "--partition", "1", "--partition", "2")
        assert [event["partition"] for event in result["events"]] == [1, 2]
        ends = topic.cluster.end_offsets(topic.name)
        assert ends[0] == 0
        refused = run_command("subscribers", "check", "--partition", "3", **topic.settings)
        assert refused.exit_code == 2
        assert f"topic {topic.name} has 3 partitions" in refused.complaint
        assert topic.cluster.end_offsets(topic.name) == ends

    def test_binary_mode(self, topic: Topic) -> None:
        """Subscribers of binary events filter by a header."""
        result = topic.check("--partition", "0", CLOUDEVENTS_MODE="binary")
        (record,) = topic.cluster.read(topic.name, committed_only=False)
        assert record.header("ce_type") == CHECK_TYPE.encode()
        assert record.header("ce_id") == f"{result['check']}-0".encode()
        assert document(record)["check"] == result["check"]

    def test_a_terminal_gets_text(self, topic: Topic) -> None:
        """It says what to look for."""
        done = run_in_terminal("subscribers", "check", "--partition", "1", **topic.settings)
        assert done.exit_code == 0
        assert "partition 1, offset 0" in done.stdout
        assert f"(type {CHECK_TYPE})" in done.stdout
        assert "does not read with isolation.level=read_committed" in done.stdout

    def test_committed_needs_a_confirmation(self, topic: Topic) -> None:
        """Every subscriber receives this event, so nothing is written without the flag."""
        refused = run_command("subscribers", "check", "--committed", **topic.settings)
        assert refused.exit_code == 2
        assert FILTERED in refused.complaint
        assert set(topic.cluster.end_offsets(topic.name).values()) == {0}
        result = topic.check("--committed", FILTERED)
        assert {event["subject"] for event in checks(topic.cluster.read(topic.name))} == {
            result["check"]
        }
        assert all(event["seen_by_read_committed"] for event in result["events"])

    def test_a_missing_topic_is_named(self, cluster: Cluster, names: Names) -> None:
        """Neither action creates it."""
        settings: dict[str, Any] = {
            "BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
            "OUTPUT_TOPIC": names.topic("ready"),
        }
        for action in ("check", "list"):
            done = run_command("subscribers", action, **settings)
            assert done.exit_code == 1
            assert f"topic {names.topic('ready')} does not exist" in done.complaint
        assert names.topic("ready") not in cluster.topics()


class TestHold:
    """While the transaction is open, committed offsets can prove that a group reads uncommitted."""

    def test_a_group_that_passes_the_transaction(self, topic: Topic) -> None:
        """Of two groups that commit all the time, only the uncommitted one is named."""
        eager, patient = topic.names.group("eager"), topic.names.group("patient")
        topic.publish()
        frequent = {"enable_auto_commit": True, "auto_commit_interval_ms": 100}
        with (
            topic.member(eager, isolation_level="read_uncommitted", **frequent) as one,
            topic.member(patient, isolation_level="read_committed", **frequent) as other,
        ):
            process = ChildProcess(
                [*PROGRAM, "subscribers", "check", "--hold", "2"],
                environment(topic.settings),
                folder=ROOT,
            )
            wait_until(lambda: _poll(one) and _poll(other) and process.has_ended, 40)
            assert process.exit_code == 0, process.tail()
            result = json.loads(process.tail())
            assert result["reads_uncommitted"] == [eager]
            assert result["groups_problem"] == ""
            topic.publish()
            wait_until(lambda: _passed(one, topic) and _passed(other, topic))

    def test_no_group_is_suspected_without_proof(self, topic: Topic) -> None:
        """A group at the end of the log has read nothing of the transaction."""
        topic.publish()
        group = topic.names.group("at-the-end")
        topic.commit_offsets(group, {0: 2, 1: 0, 2: 0})
        beyond = topic.names.group("of-a-deleted-topic")
        topic.commit_offsets(beyond, {0: 1000})
        assert topic.check("--hold", "0.2")["reads_uncommitted"] == []


def _passed(consumer: Consumer, topic: Topic) -> bool:
    """Poll; return whether the member has read everything of partition 0."""
    consumer.poll(0.05)
    (at,) = consumer.position([TopicPartition(topic.name, 0)])
    return at.offset >= topic.cluster.end_offsets(topic.name)[0] - 1


class TestInterruption:
    """A check that ends early does not hold back committed readers for long."""

    def test_after_a_kill_the_timeout_ends_it(self, topic: Topic) -> None:
        """The brokers abort the transaction; then committed readers continue."""
        with _held_check(topic, SHORT_TIMEOUT, "--hold", "1", "--partition", "0") as process:
            process.kill()
            topic.publish()
            began = time.monotonic()
            # It waits for the end of the transaction: the timeout is 2 s, checked each second.
            assert [record.value for record in topic.cluster.read(topic.name)] == [REAL]
            assert time.monotonic() - began < 10

    def test_after_a_kill_the_next_check_ends_it(self, topic: Topic) -> None:
        """It fences the killed one, and each of both events stays invisible."""
        with _held_check(topic, "", "--hold", "10", "--partition", "0") as process:
            process.kill()
            topic.check("--partition", "0")
            topic.publish()
            assert [record.value for record in topic.cluster.read(topic.name)] == [REAL]
        uncommitted = topic.cluster.read(topic.name, committed_only=False)
        assert len(uncommitted) == 3

    @pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=lambda sent: sent.name)
    def test_a_signal_aborts_it_at_once(self, topic: Topic, sent: signal.Signals) -> None:
        """The command ends the hold and its transaction."""
        with _held_check(topic, "", "--hold", "10", "--partition", "0") as process:
            process.signal(sent)
            assert process.wait() == 128 + sent
            topic.publish()
            began = time.monotonic()
            assert [record.value for record in topic.cluster.read(topic.name)] == [REAL]
            assert time.monotonic() - began < 5


@contextmanager
def _held_check(topic: Topic, program: str, *options: str) -> Iterator[ChildProcess]:
    """Start a check with a hold, and wait until its event is written."""
    start = [sys.executable, "-c", program] if program else list(PROGRAM)
    command = [*start, "subscribers", "check", *options]
    process = ChildProcess(command, environment(topic.settings), folder=ROOT)
    try:
        with topic.cluster.subscriber(topic.name, committed_only=False) as uncommitted:
            uncommitted.wait_for(1)
        yield process
    finally:
        process.close()


class TestService:
    """Check events disturb neither the service nor its commands."""

    def test_they_are_no_events_of_the_service(self, cluster: Cluster, names: Names) -> None:
        """A service that starts beside them publishes exactly once; `tail` does not show them."""
        ids = numbered_ids(6)
        with Deployment(cluster, names) as deployment:
            before = {it: cluster.end_offsets(it) for it in _internal_topics(deployment)}
            for options in ((), ("--committed", FILTERED)):
                done = deployment.run("subscribers", "check", *options)
                assert done.exit_code == 0, done.stderr
            assert {it: cluster.end_offsets(it) for it in before} == before
            starts = cluster.end_offsets(deployment.ready_topic)
            service = deployment.start()  # its state is empty, so it reads the ready topic
            cluster.produce(deployment.input_topic, scattered(ids))
            deployment.wait_until_running(3, service)
            cluster.delete_records(deployment.ready_topic, starts)
            assert deployment.run("subscribers", "check").exit_code == 0
            assert_exactly_once(cluster, names, ids)
            assert deployment.run("subscribers", "check", "--committed", FILTERED).exit_code == 0
            shown = deployment.run("tail", "--all")
            assert sorted(event["id"] for event in shown.json_lines) == ids
            assert {event["type"] for event in shown.json_lines} == {READY_TYPE}
            assert service.terminate() == 0


def _internal_topics(deployment: Deployment) -> list[str]:
    return [deployment.changelog_topic, deployment.repartition_topic, deployment.dead_letter_topic]


class TestList:
    """The groups of the ready topic, and how many events each has not read."""

    def test_markers_and_aborted_records_do_not_count(self, topic: Topic) -> None:
        """Five events, each with a marker, and an aborted one: the offsets say 12."""
        for number in range(5):
            topic.publish()
            if number == 2:
                topic.check("--partition", "0")
        expected = {"zero": (0, 5), "two": (4, 3), "at-the-marker": (1, 4), "end": (12, 0)}
        for name, (offset, _) in expected.items():
            topic.commit_offsets(topic.names.group(name), {0: offset})
        found = {it["group"]: it for it in topic.list()["subscribers"]}
        assert {
            name: (one["partitions"][0]["offset"], one["unread"])
            for name in expected
            if (one := found[topic.names.group(name)])
        } == expected
        assert all(one["is_exact"] for one in found.values())
        assert found[topic.names.group("zero")]["offset_lag"] == 12
        assert found[topic.names.group("two")]["partitions_without_offset"] == [1, 2]

    def test_a_partition_without_an_offset_is_not_counted(self, topic: Topic) -> None:
        """If it has events, the number is not exact, and the table says so."""
        group = topic.names.group("one-partition")
        topic.publish(partition=0)
        topic.commit_offsets(group, {0: 0})
        (before,) = topic.list()["subscribers"]
        assert (before["unread"], before["is_exact"]) == (1, True)
        topic.publish(partition=1)
        (after,) = topic.list()["subscribers"]
        assert (after["unread"], after["is_exact"]) == (1, False)
        assert after["partitions_without_offset"] == [1, 2]

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_a_group_with_members(self, topic: Topic, protocol: str) -> None:
        """Both group protocols: state, members and their partitions, before and after a commit."""
        group = topic.names.group(protocol)
        topic.publish()
        topic.publish(partition=2)
        with topic.member(group, group_protocol=protocol) as consumer:
            (one,) = topic.list()["subscribers"]
            assert (one["group"], one["type"], one["state"]) == (group, protocol, "Stable")
            (member,) = one["members"]
            assert member == {
                "client_id": f"{group}-client",
                "host": "127.0.0.1",
                "partitions": PARTITIONS,
            }
            assert one["protocol"] in {"range", "uniform"}
            assert (one["unread"], one["partitions_without_offset"]) == (None, [0, 1, 2])
            consumer.commit(
                offsets=[TopicPartition(topic.name, number, 0) for number in range(PARTITIONS)],
                asynchronous=False,
            )
            (one,) = topic.list()["subscribers"]
            assert (one["unread"], one["offset_lag"]) == (2, 4)
            assert len(one["partitions"]) == PARTITIONS

    def test_groups_of_other_topics_are_not_listed(self, topic: Topic) -> None:
        """Only a group without members and with an offset of this topic is."""
        other = topic.names.topic("other")
        topic.cluster.create_topics({other: 1})
        assert topic.list()["subscribers"] == []
        topic.cluster.commit_offsets(topic.names.group("other"), {(other, 0): 0})
        empty = topic.names.group("empty")
        topic.commit_offsets(empty, {1: 0})
        listed = topic.list()
        (one,) = listed["subscribers"]
        assert (one["group"], one["members"], one["state"]) == (empty, [], "Empty")
        assert (one["unread"], one["offset_lag"]) == (0, 0)
        assert listed["is_complete"]
        assert listed["not_described"] == []

    async def test_a_long_lag_is_a_lower_bound(self, topic: Topic) -> None:
        """The limit of one group does not make the number of another inexact."""
        topic.cluster.produce(topic.name, [NewRecord(REAL, partition=0)] * 40)
        behind, ahead = topic.names.group("behind"), topic.names.group("ahead")
        topic.commit_offsets(behind, {0: 0})
        topic.commit_offsets(ahead, {0: 37})
        variables = {f"{PREFIX}{name}": value for name, value in topic.settings.items()}
        found = await list_subscribers(Settings.load(variables), limit=10)
        numbers = {it.group: (it.unread, it.is_exact, it.offset_lag) for it in found.subscribers}
        assert numbers[ahead] == (3, True, 3)
        unread, is_exact, offset_lag = numbers[behind]
        assert unread is not None
        assert (unread >= 10, is_exact, offset_lag) == (True, False, 40)

    def test_events_behind_an_open_transaction(self, topic: Topic) -> None:
        """They cannot be read yet, so they do not count, and standard error says so."""
        topic.publish()
        topic.commit_offsets(topic.names.group("reader"), {0: 0})
        with open_transaction(topic.cluster, topic.names.group("foreign"), topic.name, [b"open"]):
            topic.publish()
            done = run_command("subscribers", "list", **topic.settings)
        assert done.exit_code == 0
        assert f"{topic.name}/0: 3 records from offset 2 on are left out" in done.complaint
        assert done.json["subscribers"][0]["unread"] == 1

    def test_a_terminal_gets_tables(self, topic: Topic) -> None:
        """One table of groups and one of members."""
        topic.publish()
        group = topic.names.group("shown")
        with topic.member(group) as consumer:
            consumer.commit(offsets=[TopicPartition(topic.name, 0, 0)], asynchronous=False)
            done = run_in_terminal("subscribers", "list", **topic.settings)
        assert done.exit_code == 0
        assert "consumer groups read" in done.stdout
        assert "Stable" in done.stdout
        assert "127.0.0.1" in done.stdout

    def test_all_brokers_are_asked(self, three_node_cluster: Cluster, names: Names) -> None:
        """Each broker lists only the groups that it coordinates."""
        topic = Topic(three_node_cluster, names, partitions=1)
        groups = [names.group(f"group-{number}") for number in range(9)]
        for group in groups:
            topic.commit_offsets(group, {0: 0})
        described = three_node_cluster.admin.describe_consumer_groups(groups)
        coordinators = {it.result(REQUEST_SECONDS).coordinator.id for it in described.values()}
        assert len(coordinators) > 1
        assert [one["group"] for one in topic.list()["subscribers"]] == groups
