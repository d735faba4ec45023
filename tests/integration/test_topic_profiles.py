"""The service where a cluster allows few topic settings, as MSK Serverless does: a real broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from consumer.cli.acls import needed_acls
from consumer.kafka.topic_settings import MINIMAL_SETTINGS, UNCLEAN
from tests.support.broker_policies import managed_kafka
from tests.support.cluster import Cluster
from tests.support.command_line import run_command
from tests.support.deployment import Deployment
from tests.support.records import numbered_ids, scattered
from tests.support.secured_kafka import Acl, granted
from tests.support.verdicts import assert_exactly_once, wait_until_handled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.secured_kafka import SecuredKafka
    from tests.support.topics import Names

SHARDS = 3
REFUSAL = "Config property"


@pytest.fixture(scope="module")
def managed(
    local_brokers: None,  # noqa: ARG001 - for its effect
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    """Start a broker with the policies and with unsafe defaults.

    The policies do not let a topic change the one of unclean leader elections.
    """
    defaults = {UNCLEAN: "true", "log.retention.bytes": "1073741824"}
    kafka = managed_kafka(tmp_path_factory.mktemp("policies"), defaults)
    with kafka:
        yield Cluster(kafka.bootstrap_servers)


def test_create_leaves_out_what_the_cluster_refuses(managed: Cluster, names: Names) -> None:
    """Only that, and each setting that is left out is explained."""
    with Deployment(managed, names, create_topics=False) as deployment:
        done = deployment.run("topics", "create")
        assert done.exit_code == 0, done.stderr
        assert len(done.json["created"]) == 4
        assert REFUSAL in done.json["refusal"]
        left_out = {(one["topic"], one["setting"]) for one in done.json["left_out"]}
        assert (deployment.changelog_topic, "segment.bytes") in left_out
        assert (deployment.ready_topic, UNCLEAN) in left_out
        assert not {setting for _, setting in left_out} & MINIMAL_SETTINGS
        assert f"note: the cluster refused a setting: create {names.group()}" in done.stderr
        for topic, setting in left_out:
            assert f"note: topic {topic}: {setting}=" in done.stderr
        repartition = managed.config(deployment.repartition_topic)
        assert repartition["cleanup.policy"] == "delete"
        assert repartition["retention.ms"] == "-1"
        assert repartition["retention.bytes"] == "-1"  # which is not in the minimal profile
        assert repartition["message.timestamp.type"] == "LogAppendTime"
        assert managed.config(deployment.changelog_topic)["cleanup.policy"] == "compact"


def test_the_full_profile_never_falls_back(managed: Cluster, names: Names) -> None:
    """With `--profile full` a refusal is an error that names the way on."""
    with Deployment(managed, names, create_topics=False) as deployment:
        refused = deployment.run("topics", "create", "--profile", "full")
        assert refused.exit_code == 1
        assert REFUSAL in refused.complaint
        assert "without --profile the settings that the cluster refuses" in refused.complaint
        assert deployment.changelog_topic not in managed.topics()
        done = deployment.run("topics", "create", "--profile", "minimal")
        assert done.exit_code == 0, done.stderr
        assert {it["setting"] for it in done.json["left_out"]} >= {"segment.bytes", UNCLEAN}
        assert REFUSAL in done.json["refusal"]


def test_an_unsafe_setting_is_a_warning_only_where_it_is_refused(
    managed: Cluster, cluster: Cluster, names: Names
) -> None:
    """The check asks the broker by a dry run: a setting that can be corrected is an error."""
    with Deployment(managed, names) as deployment:
        checked = deployment.run("topics", "check")
        assert checked.exit_code == 0, checked.stderr
        assert {risk["event"] for risk in checked.json["setting_risks"]} == {
            "topic_setting_refused"
        }
        assert f"the cluster refuses false (PolicyViolationError {REFUSAL}" in checked.stderr
        assert managed.config(deployment.ready_topic)[UNCLEAN] == "true"
    with Deployment(cluster, names) as deployment:
        cluster.set_config(deployment.ready_topic, unclean_leader_election_enable="true")
        refused = deployment.run("topics", "check")
        assert refused.exit_code == 1
        assert "set it to false (kafka-configs.sh --alter --entity-type topics" in refused.complaint
        assert cluster.config(deployment.ready_topic)[UNCLEAN] == "true"


def test_one_replica_that_is_enough_is_a_warning(three_node_cluster: Cluster, names: Names) -> None:
    """The minimal profile protects records too; operators may lower the setting in an outage."""
    with Deployment(three_node_cluster, names, create_topics=False) as deployment:
        done = deployment.run("topics", "create", "--profile", "minimal")
        assert done.exit_code == 0, done.stderr
        topic = deployment.ready_topic
        for setting, value in {"min.insync.replicas": "2", UNCLEAN: "false"}.items():
            assert three_node_cluster.own_config(topic)[setting] == value
        three_node_cluster.set_config(topic, min_insync_replicas="1")
        checked = deployment.run("topics", "check")
        assert checked.exit_code == 0, checked.stderr
        (risk,) = checked.json["setting_risks"]
        assert (risk["event"], risk["topic"]) == ("topic_setting_unsafe", topic)
        assert "warning: topic" in checked.stderr
        assert "min.insync.replicas is 1; set it to 2 (kafka-configs.sh" in checked.stderr


def test_without_the_right_to_ask_an_unsafe_setting_is_an_error(
    secured_kafka: SecuredKafka, names: Names
) -> None:
    """The dry run needs AlterConfigs, which the check names; with it the error has only the fix."""
    cluster = secured_kafka.cluster()
    with Deployment(cluster, names) as deployment:
        topic = deployment.ready_topic
        cluster.set_config(topic, unclean_leader_election_enable="true")
        acls = granted(
            acl
            for acl in needed_acls(deployment.configuration, ["topics check"])
            if not acl.only_with
        )
        missing = f"missing ACL: grant AlterConfigs on topic {topic}"
        for user, more in (("checker", []), ("asker", [Acl("TOPIC", topic, "ALTER_CONFIGS")])):
            secured_kafka.add_user(f"{names.prefix}-{user}", [*acls, *more])
            login = secured_kafka.login(f"{names.prefix}-{user}")
            refused = deployment.run("topics", "check", **login)
            assert refused.exit_code == 1
            assert f"topic {topic}: {UNCLEAN} is true; set it to false" in refused.complaint
            assert (missing in refused.complaint) == (not more)
        assert cluster.config(topic)[UNCLEAN] == "true"


@pytest.mark.timeout(180)
def test_the_service_publishes_exactly_once_there(managed: Cluster, names: Names) -> None:
    """It creates its topics itself, survives a crash, and a replay creates its topics too."""
    first, second = numbered_ids(150, "first"), numbered_ids(50, "second")
    with Deployment(
        managed, names, create_topics=False, CREATE_TOPICS="true", TRIM_INTERVAL_MS=200
    ) as deployment:
        service = deployment.start("one")
        deployment.wait_until_running(SHARDS, service)
        left_out = {line["setting"] for line in service.logged("topic_setting_left_out")}
        assert left_out >= {"segment.bytes", UNCLEAN}
        assert service.logged("topic_setting_refused", topic=deployment.changelog_topic)
        managed.produce(deployment.input_topic, scattered(first))
        assert_exactly_once(managed, names, first)
        service.kill()
        managed.produce(deployment.input_topic, scattered([*first, *second]))
        again = deployment.restart(service)
        assert_exactly_once(managed, names, [*first, *second])
        wait_until_handled(managed, names)
        replayed = deployment.run("replay", "--execute")
        assert replayed.exit_code == 0, replayed.stderr
        events = managed.read(f"{deployment.ready_topic}.replay")
        assert len(events) == len(first) + len(second)
        assert again.terminate() == 0


def test_the_probe_says_what_such_a_cluster_carries(managed: Cluster, names: Names) -> None:
    """It can run, with limits; the temporary topics are gone afterwards."""
    before = managed.topics()
    probed = run_command(
        "topics",
        "check",
        "--probe",
        BOOTSTRAP_SERVERS=managed.bootstrap_servers,
        GROUP_ID=names.group(),
    )
    assert probed.exit_code == 0, probed.stderr
    limited = [it for it in probed.json["findings"] if it["status"] == "limited"]
    assert {it["name"] for it in limited} == {"topic settings"}
    assert any(REFUSAL in it["detail"] for it in limited)
    assert any(UNCLEAN in it["detail"] for it in limited)
    assert {topic for topic in managed.topics() - before if "probe" in topic} == set()


def test_a_refused_setting_of_the_minimal_profile_is_an_error(
    managed: Cluster, names: Names
) -> None:
    """The forwards of the largest input records would not fit: the refusal names the setting."""
    with Deployment(
        managed, names, create_topics=False, input_config={"max.message.bytes": "8388608"}
    ) as deployment:
        refused = deployment.run("topics", "create")
        assert refused.exit_code == 1
        assert "the service needs this setting" in refused.complaint
        assert "max.message.bytes is too large" in refused.complaint
