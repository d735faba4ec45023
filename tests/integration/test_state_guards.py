"""What the service refuses to run on, and the losses that it says aloud: state against cluster."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer

from tests.support.command_line import run_command
from tests.support.deployment import Deployment
from tests.support.records import NewRecord, checkpoint, ids_at_home, numbered_ids, scattered, send
from tests.support.verdicts import assert_exactly_once, event_id, wait_until_handled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster import Cluster
    from tests.support.service_process import ServiceProcess
    from tests.support.topics import Names

SHARDS = 3
ACCEPTING = ("consumer", "run", "--accept-empty-state")
ACCEPTING_LOST_FORWARDS = ("consumer", "run", "--accept-lost-forwards")


@pytest.fixture
def deployment(cluster: Cluster, names: Names) -> Iterator[Deployment]:
    """Topics with three partitions each, and three shards."""
    with Deployment(cluster, names, input_partitions=SHARDS) as one:
        yield one


@pytest.fixture
def old_ids(deployment: Deployment) -> list[str]:
    """Run the service once: it has published these ids from all partitions, and has ended."""
    service = deployment.start()
    ids = numbered_ids(12, "old")
    publish(deployment, ids)
    assert_exactly_once(deployment.cluster, deployment.names, ids)
    assert service.terminate() == 0
    return ids


def publish(deployment: Deployment, ids: list[str]) -> None:
    """Produce checkpoints to all input partitions in turn."""
    records = [
        NewRecord(checkpoint(one), one.encode(), number % SHARDS) for number, one in enumerate(ids)
    ]
    deployment.cluster.produce(deployment.input_topic, records)


def variables(deployment: Deployment, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - of any type
    """Return the variables of a deployment, for a command."""
    return {
        "BOOTSTRAP_SERVERS": deployment.cluster.bootstrap_servers,
        "GROUP_ID": deployment.group,
        "INPUT_TOPICS": deployment.input_topic,
        "OUTPUT_TOPIC": deployment.ready_topic,
        "DEAD_LETTER_TOPIC": deployment.dead_letter_topic,
        **changes,
    }


def recreate_changelog(deployment: Deployment) -> None:
    """Delete the changelog and make an empty one, as an operator might."""
    deployment.cluster.delete_topics(deployment.changelog_topic)
    done = run_command("topics", "create", **variables(deployment))
    assert done.json == {"created": [deployment.changelog_topic]}, done.stderr


def complaints(service: ServiceProcess) -> list[str]:
    """Wait for the end with exit code 1 and return what it wrote for people."""
    assert service.wait() == 1, service.tail()
    lines = [str(line["text"]) for line in service.lines if "text" in line]
    assert lines
    assert not any("Traceback" in line for line in lines)
    assert all(line.startswith("checkpoint-ready: ") for line in lines), lines
    return lines


class TestLostState:
    """An empty changelog beside a past would publish everything again."""

    def test_beside_group_offsets(self, deployment: Deployment, old_ids: list[str]) -> None:
        """Each shard says what it found, where, and the three ways on; nothing is published."""
        recreate_changelog(deployment)
        lines = complaints(deployment.start())
        assert len(lines) == SHARDS
        for line in lines:
            assert f"group {deployment.group} has committed offsets of " in line
            assert f"the changelog {deployment.changelog_topic} is empty" in line
            assert "--accept-empty-state" in line
        assert len(deployment.cluster.read(deployment.ready_topic)) == len(old_ids)

    def test_beside_ready_events(self, deployment: Deployment, old_ids: list[str]) -> None:
        """Without group offsets, too: the events say by whom they were published."""
        recreate_changelog(deployment)
        deployment.cluster.delete_group(deployment.group)
        lines = complaints(deployment.start())
        assert len(lines) == SHARDS
        for line in lines:
            assert f"topic {deployment.ready_topic} holds ready events of group" in line
        assert len(deployment.cluster.read(deployment.ready_topic)) == len(old_ids)

    def test_it_can_be_accepted(self, deployment: Deployment, old_ids: list[str]) -> None:
        """With --accept-empty-state everything is published again, once, and then never more."""
        recreate_changelog(deployment)
        service = deployment.start(command=ACCEPTING)
        deployment.wait_until_running(SHARDS, service)
        # The group offsets of the former process are at the ends already, and say nothing here.
        ready, expected = deployment.ready_topic, 2 * len(old_ids)
        wait_until(lambda: len(deployment.cluster.read(ready)) >= expected, what="all events again")
        wait_until_handled(deployment.cluster, deployment.names)
        records = deployment.cluster.read(ready)
        assert Counter(map(event_id, records)) == dict.fromkeys(old_ids, 2)
        assert service.terminate() == 0
        again = deployment.start()
        deployment.wait_until_running(SHARDS, again)
        assert len(deployment.cluster.read(deployment.ready_topic)) == len(records)

    def test_a_shard_that_starts_late_has_lost_nothing(self, deployment: Deployment) -> None:
        """At the very first start a shard may be held up while another publishes already."""
        cluster = deployment.cluster
        foreign = Producer({**cluster.settings, "transactional.id": deployment.names.group("txn")})
        foreign.init_transactions(20)
        foreign.begin_transaction()
        send(foreign, deployment.changelog_topic, [NewRecord(b"x", b"x", 1)])
        service = deployment.start()
        for shard in (0, 2):
            service.wait_for_log("task_state", shard=shard, state="running")
        cluster.produce(
            deployment.input_topic,
            [NewRecord(checkpoint(one), partition=0) for one in ids_at_home(0, SHARDS, 3)],
        )
        with cluster.subscriber(deployment.ready_topic) as subscriber:
            subscriber.wait_for(3)
        foreign.abort_transaction(20)
        deployment.wait_until_running(SHARDS, service)
        assert service.logged("shard_refused") == []


class TestAnotherDeployment:
    """A changelog belongs to one group, one output topic, one number of shards."""

    def test_another_output_topic(self, deployment: Deployment, old_ids: list[str]) -> None:
        """What was published to one topic is not published to another: refused, with the mend."""
        other = deployment.names.topic("other")
        changed = variables(deployment, OUTPUT_TOPIC=other)
        assert run_command("topics", "create", **changed).json == {"created": [other]}
        lines = complaints(deployment.start(OUTPUT_TOPIC=other))
        assert len(lines) == SHARDS
        for line in lines:
            assert f"output_topic was '{deployment.ready_topic}', is now '{other}'" in line
            assert "GROUP_ID" in line
        assert deployment.cluster.read(other) == []
        assert old_ids

    @pytest.mark.usefixtures("old_ids")
    def test_an_enlarged_changelog(self, deployment: Deployment) -> None:
        """More shards would send ids to homes that have never seen them."""
        for topic in (deployment.changelog_topic, deployment.repartition_topic):
            deployment.cluster.add_partitions(topic, SHARDS + 1)
        lines = complaints(deployment.start())
        assert len(lines) == SHARDS + 1
        was_enlarged = [line for line in lines if "shards was 3, is now 4" in line]
        assert len(was_enlarged) == SHARDS
        assert all("partition count must never change" in line for line in was_enlarged)

    def test_shard_topics_enlarged_while_it_runs(self, deployment: Deployment) -> None:
        """The running shards end too, before an id is decided at a home that never saw it."""
        service = deployment.start(DISCOVERY_INTERVAL_MS=100)
        deployment.wait_until_running(SHARDS, service)
        ids = numbered_ids(60)
        publish(deployment, ids)
        assert_exactly_once(deployment.cluster, deployment.names, ids)
        for topic in (deployment.changelog_topic, deployment.repartition_topic):
            deployment.cluster.add_partitions(topic, SHARDS + 1)
        for shard in range(SHARDS):
            refused = service.wait_for_log("shard_refused", shard=shard)
            assert "shards was 3, is now 4" in refused["error"]
        deployment.cluster.produce(
            deployment.input_topic,
            [NewRecord(checkpoint(one), b"again", n % SHARDS) for n, one in enumerate(ids)],
        )
        published = Counter(map(event_id, deployment.cluster.read(deployment.ready_topic)))
        assert published == Counter(ids)

    @pytest.mark.usefixtures("old_ids")
    def test_a_foreign_record_in_the_changelog(self, deployment: Deployment) -> None:
        """Somebody writes to our changelog: its shard is refused, loudly, and the others run."""
        deployment.cluster.produce(
            deployment.changelog_topic, [NewRecord(b"{}", b"x:their key", partition=1)]
        )
        service = deployment.start()
        refused = service.wait_for_log("shard_refused", shard=1)
        assert "x:their key" in refused["error"]
        assert deployment.changelog_topic in refused["error"]
        for shard in (0, 2):
            service.wait_for_log("task_state", shard=shard, state="running")
        assert not service.has_ended


class TestChangedInputs:
    """Inputs belong to others: they change, vanish and come back."""

    def test_another_input_topic_is_accepted(
        self, deployment: Deployment, old_ids: list[str]
    ) -> None:
        """It is logged, and read from its beginning; old ids in it are duplicates."""
        more = deployment.names.topic("more")
        deployment.cluster.create_topics({more: 2})
        new_ids = numbered_ids(6, "new")
        deployment.cluster.produce(more, scattered([*new_ids, *old_ids]))
        service = deployment.start(INPUT_TOPICS=f"{deployment.input_topic},{more}")
        changed = service.wait_for_log("inputs_changed")
        assert changed["before"] == [deployment.input_topic]
        assert changed["now"] == sorted([deployment.input_topic, more])
        with deployment.cluster.subscriber(deployment.ready_topic) as subscriber:
            subscriber.wait_for(len(old_ids) + len(new_ids))
        assert_exactly_once(deployment.cluster, deployment.names, old_ids + new_ids)

    def test_a_recreated_input_is_read_from_its_start(
        self, deployment: Deployment, old_ids: list[str]
    ) -> None:
        """Grown past the old offsets it looks as if nothing had happened; the fingerprint tells."""
        deployment.cluster.delete_topics(deployment.input_topic)
        deployment.cluster.create_topics({deployment.input_topic: SHARDS})
        new_ids = numbered_ids(3 * len(old_ids), "new")
        publish(deployment, new_ids)
        service = deployment.start()
        noticed = {
            service.wait_for_log("input_recreated", partition=partition)["log_start"]
            for partition in range(SHARDS)
        }
        assert noticed == {0}
        assert_exactly_once(deployment.cluster, deployment.names, old_ids + new_ids)

    def test_an_input_recreated_while_it_runs(self, deployment: Deployment) -> None:
        """A fetch is refused meanwhile, so the fingerprint is compared before any decision."""
        service = deployment.start()
        deployment.wait_until_running(SHARDS, service)
        old_ids = numbered_ids(12, "old")
        publish(deployment, old_ids)
        assert_exactly_once(deployment.cluster, deployment.names, old_ids)
        deployment.cluster.delete_topics(deployment.input_topic)
        deployment.cluster.create_topics({deployment.input_topic: SHARDS})
        new_ids = numbered_ids(3 * len(old_ids), "new")
        publish(deployment, new_ids)
        for partition in range(SHARDS):
            service.wait_for_log("input_recreated", partition=partition)
        assert_exactly_once(deployment.cluster, deployment.names, old_ids + new_ids)

    def test_a_recreated_input_that_is_shorter(
        self, deployment: Deployment, old_ids: list[str]
    ) -> None:
        """An end before the old offset is noticed as well."""
        deployment.cluster.delete_topics(deployment.input_topic)
        deployment.cluster.create_topics({deployment.input_topic: SHARDS})
        new_ids = numbered_ids(SHARDS, "new")
        publish(deployment, new_ids)
        service = deployment.start()
        for partition in range(SHARDS):
            service.wait_for_log("input_recreated", partition=partition)
        assert_exactly_once(deployment.cluster, deployment.names, old_ids + new_ids)

    def test_a_recreated_input_of_which_nothing_was_read(self, deployment: Deployment) -> None:
        """Without a record to compare the topic's id says so: nothing of the new one is skipped."""
        cluster, topic = deployment.cluster, deployment.input_topic
        publish(deployment, numbered_ids(12, "skipped"))
        service = deployment.start(AUTO_OFFSET_RESET="latest")
        deployment.wait_until_running(SHARDS, service)
        assert service.terminate() == 0
        cluster.delete_topics(topic)
        cluster.create_topics({topic: SHARDS})
        new_ids = numbered_ids(36, "new")
        publish(deployment, new_ids)
        again = deployment.restart(service)
        for partition in range(SHARDS):
            again.wait_for_log("input_recreated", partition=partition)
        assert_exactly_once(cluster, deployment.names, new_ids)

    def test_a_late_shard_skips_nothing_under_latest(self, deployment: Deployment) -> None:
        """Where "latest" is was decided when the group started, not when this shard could."""
        cluster = deployment.cluster
        publish(deployment, numbered_ids(12, "skipped"))
        foreign = Producer({**cluster.settings, "transactional.id": deployment.names.group("txn")})
        foreign.init_transactions(20)
        foreign.begin_transaction()
        send(foreign, deployment.changelog_topic, [NewRecord(b"x", b"x", 1)])
        service = deployment.start(AUTO_OFFSET_RESET="latest")
        for shard in (0, 2):
            service.wait_for_log("task_state", shard=shard, state="running")
        new_ids = numbered_ids(12, "new")
        publish(deployment, new_ids)
        foreign.abort_transaction(20)
        deployment.wait_until_running(SHARDS, service)
        assert_exactly_once(cluster, deployment.names, new_ids)

    def test_a_partition_that_lost_records_before_it_was_known(
        self, deployment: Deployment, old_ids: list[str]
    ) -> None:
        """It was born and cut while nothing ran: what is gone was never read, and is counted."""
        cluster, topic = deployment.cluster, deployment.input_topic
        cluster.add_partitions(topic, SHARDS + 1)
        new_ids = numbered_ids(10, "new")
        records = [NewRecord(checkpoint(one), partition=SHARDS) for one in new_ids]
        cluster.produce(topic, records)
        cluster.delete_records(topic, {SHARDS: 6})
        service = deployment.start()
        lost = service.wait_for_log("unread_input_lost")
        assert (lost["partition"], lost["next_offset"], lost["records"]) == (SHARDS, 0, 6)
        assert_exactly_once(cluster, deployment.names, old_ids + new_ids[6:])

    def test_a_deleted_marker_is_no_loss(self, deployment: Deployment) -> None:
        """Retention took all that was handled, and the producer's last commit marker with it."""
        cluster, topic = deployment.cluster, deployment.input_topic
        ids = ids_at_home(0, SHARDS, 3)
        service = deployment.start()
        cluster.produce(
            topic,
            [NewRecord(checkpoint(one), partition=0) for one in ids],
            transactional_id=deployment.names.group("producer"),
        )
        assert_exactly_once(cluster, deployment.names, ids)
        assert service.terminate() == 0
        end = cluster.end_offsets(topic)[0]
        assert end == len(ids) + 1
        cluster.delete_records(topic, {0: end})
        again = deployment.restart(service)
        deployment.wait_until_running(SHARDS, again)
        assert again.logged("unread_input_lost") == []

    def test_inputs_that_may_lose_records_are_warned_of(self, deployment: Deployment) -> None:
        """`topics check` names the setting and passes; each start of the service logs it."""
        topic = deployment.input_topic
        deployment.cluster.set_config(
            topic,
            cleanup_policy="compact,delete",
            retention_ms="60000",
            unclean_leader_election_enable="true",
        )
        checked = deployment.run("topics", "check")
        assert checked.exit_code == 0
        wanted = {
            "input_is_compacted": "cleanup.policy",
            "input_may_be_truncated": "unclean.leader.election.enable",
            "input_retention_is_short": "retention.ms",
        }
        events = {risk["event"] for risk in checked.json["input_risks"]}
        assert events == wanted.keys()
        for setting in wanted.values():
            assert f"input topic {topic}: {setting} is " in checked.stderr
        service = deployment.start()
        for event, setting in wanted.items():
            warned = service.wait_for_log(event, topic=topic, level="warning")
            assert setting in warned["hint"]
        deployment.wait_until_running(SHARDS, service)

    def test_unread_input_that_was_deleted_is_counted(
        self, deployment: Deployment, old_ids: list[str]
    ) -> None:
        """Retention took records before they were read: how many is logged, the rest published."""
        start = deployment.cluster.end_offsets(deployment.input_topic)[0]
        new_ids = numbered_ids(5, "new")
        records = [NewRecord(checkpoint(one), partition=0) for one in new_ids]
        deployment.cluster.produce(deployment.input_topic, records)
        deployment.cluster.delete_records(deployment.input_topic, {0: start + 3})
        service = deployment.start()
        lost = service.wait_for_log("unread_input_lost")
        assert (lost["topic"], lost["partition"]) == (deployment.input_topic, 0)
        assert (lost["records"], lost["level"]) == (3, "error")
        assert_exactly_once(deployment.cluster, deployment.names, old_ids + new_ids[3:])
        assert len(service.logged("unread_input_lost")) == 1


def start_with_lost_forwards(deployment: Deployment) -> tuple[ServiceProcess, str]:
    """Delete a record on its way to shard 0, and start a process in which the others run.

    Returns:
        the process, and the error with which it refuses shard 0.
    """
    cluster, topic = deployment.cluster, deployment.repartition_topic
    cluster.produce(topic, [NewRecord(b"on its way", partition=0)])
    cluster.delete_records(topic, {0: cluster.end_offsets(topic)[0]})
    service = deployment.start()
    error: str = service.wait_for_log("shard_refused", shard=0)["error"]
    for shard in (1, 2):
        service.wait_for_log("task_state", shard=shard, state="running")
    return service, error


@pytest.mark.usefixtures("old_ids")
def test_lost_forwards_stop_their_shard_alone(deployment: Deployment) -> None:
    """Records on their way to a shard are gone: it is refused, and the others publish on."""
    cluster = deployment.cluster
    service, error = start_with_lost_forwards(deployment)
    assert f"{deployment.repartition_topic}/0" in error
    assert "GROUP_ID" in error
    new_ids = ids_at_home(1, SHARDS, 3)
    cluster.produce(
        deployment.input_topic, [NewRecord(checkpoint(one), partition=1) for one in new_ids]
    )
    with cluster.subscriber(deployment.ready_topic) as subscriber:
        published = {event_id(record) for record in subscriber.wait_for(12 + len(new_ids))}
    assert set(new_ids) <= published
    assert not service.has_ended


def test_lost_forwards_stop_a_shard_that_never_ran(deployment: Deployment) -> None:
    """They expired before its first start; the others publish on, and it can be accepted."""
    topic = deployment.repartition_topic
    service, error = start_with_lost_forwards(deployment)
    assert f"{topic}/0 begins at offset 1, but this shard has never read it" in error
    assert "--accept-lost-forwards" in error
    service.terminate()
    accepting = deployment.start(command=ACCEPTING_LOST_FORWARDS)
    deployment.wait_until_running(SHARDS, accepting)
    lost = accepting.wait_for_log("unread_input_lost", shard=0)
    assert (lost["topic"], lost["next_offset"], lost["records"]) == (topic, 0, 1)
    assert accepting.terminate() == 0
    again = deployment.start()
    deployment.wait_until_running(SHARDS, again)
    assert again.logged("unread_input_lost") == []
