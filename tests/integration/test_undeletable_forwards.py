"""The service where the cluster does not delete records: a missing request, or a missing right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from consumer.cli.acls import needed_acls
from consumer.kafka.topic_settings import DAY_MS, MIN_REPARTITION_RETENTION_MS
from tests.support.api_hiding_proxy import DELETE_RECORDS, DESCRIBE_LOG_DIRS, ApiHidingProxy
from tests.support.broker_policies import managed_kafka
from tests.support.cluster import Cluster
from tests.support.command_line import run_command
from tests.support.deployment import Deployment
from tests.support.http_client import Observed, start_observed
from tests.support.records import numbered_ids, scattered
from tests.support.secured_kafka import granted
from tests.support.verdicts import assert_exactly_once, wait_until_handled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.secured_kafka import SecuredKafka
    from tests.support.topics import Names

SHARDS = 3
LISTENER = "HIDDEN"
PROBE = ("topics", "check", "--probe")
DAYS = 30


@pytest.fixture(scope="module")
def without_delete_records(
    local_brokers: None,  # noqa: ARG001 - for its effect
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Cluster, ApiHidingProxy]]:
    """Start a broker that refuses most topic settings, as MSK Serverless does.

    Its clients, through a proxy, find no request that deletes records or shows the size of logs.
    """
    with ApiHidingProxy(DELETE_RECORDS, DESCRIBE_LOG_DIRS) as proxy:
        kafka = managed_kafka(
            tmp_path_factory.mktemp("policies"), advertised_ports={LISTENER: {1: proxy.port}}
        )
        with kafka:
            proxy.broker_port = int(kafka.listener(LISTENER).split(":")[1])
            yield Cluster(kafka.bootstrap_servers), proxy


def by_shard(observed: Observed, name: str) -> list[float]:
    """Return the present values of a metric of each shard that has one."""
    return [value for (found, _), value in observed.scrape().items() if found == name]


@pytest.mark.timeout(180)
def test_the_service_runs_where_settings_and_the_request_are_refused(
    without_delete_records: tuple[Cluster, ApiHidingProxy], names: Names
) -> None:
    """Exactly once in the minimal profile, also over a crash. The log says once what is missing."""
    cluster, proxy = without_delete_records
    first, second = numbered_ids(150, "first"), numbered_ids(50, "second")
    with Deployment(
        cluster,
        names,
        create_topics=False,
        BOOTSTRAP_SERVERS=f"127.0.0.1:{proxy.port}",
        TRIM_INTERVAL_MS=200,
    ) as deployment:
        options = ("--profile", "minimal", "--repartition-retention-days", str(DAYS))
        created = deployment.run("topics", "create", *options)
        assert created.exit_code == 0, created.stderr
        assert "Config property" in created.json["refusal"]
        assert {it["setting"] for it in created.json["left_out"]} >= {"segment.bytes"}
        service, port = observed = start_observed(deployment, "one")
        cluster.produce(deployment.input_topic, scattered(first))
        assert_exactly_once(cluster, names, first)
        refused = service.wait_for_log("trim_refused")
        assert "IncompatibleBrokerVersion" in refused["error"]
        assert "When handled forwards cannot be deleted" in refused["hint"]
        stored = len(cluster.read(deployment.repartition_topic))
        # Several intervals later: the metric counts all handled forwards, with their markers.
        wait_until(
            lambda: sum(by_shard(observed, "repartition_handled_records")) >= stored,
            what="the metric of the handled forwards",
        )
        service.kill()
        cluster.produce(deployment.input_topic, scattered([*first, *second]))
        again = deployment.restart(service)
        observed = Observed(again, port)
        assert_exactly_once(cluster, names, [*first, *second])
        wait_until_handled(cluster, names)
        assert observed.metric("repartition_retention_seconds") == DAYS * DAY_MS / 1000
        wait_until(
            lambda: by_shard(observed, "repartition_oldest_unread_seconds") == [0.0] * SHARDS,
            what="that all forwards are read",
        )
        assert observed.metric("repartition_size_bytes", shard="0") is None
        assert again.terminate() == 0
        for process in (service, again):
            for said in ("trim_refused", "repartition_retention_is_bounded"):
                assert len(process.logged(said)) == 1
    assert proxy.hidden_responses


def test_the_probe_finds_that_the_request_is_missing(
    without_delete_records: tuple[Cluster, ApiHidingProxy], names: Names
) -> None:
    """The service can run, and the finding names the way on."""
    _, proxy = without_delete_records
    servers = f"127.0.0.1:{proxy.port}"
    probed = run_command(*PROBE, BOOTSTRAP_SERVERS=servers, GROUP_ID=names.group())
    assert probed.exit_code == 0, probed.stderr
    limits = {it["name"]: it for it in probed.json["findings"] if it["status"] == "limited"}
    assert limits.keys() == {"DeleteRecords", "topic settings"}
    limited = limits["DeleteRecords"]
    assert "IncompatibleBrokerVersion" in limited["detail"]
    assert "retention" in limited["meaning"]


@pytest.mark.timeout(180)
def test_a_missing_right_is_said_once_and_mended_while_the_service_runs(
    secured_kafka: SecuredKafka, names: Names
) -> None:
    """Exactly once without the right; after the grant the next deletion works."""
    cluster, ids = secured_kafka.cluster(), numbered_ids(150)
    with Deployment(cluster, names, TRIM_INTERVAL_MS=200) as deployment:
        topic = deployment.repartition_topic
        acls = granted(needed_acls(deployment.configuration, ["run"]))
        delete = [acl for acl in acls if (acl.name, acl.operation) == (topic, "DELETE")]
        user = names.prefix
        secured_kafka.add_user(user, [acl for acl in acls if acl not in delete])
        service = deployment.start(**secured_kafka.login(user))
        cluster.produce(deployment.input_topic, scattered(ids))
        assert_exactly_once(cluster, names, ids)
        refused = service.wait_for_log("trim_refused")
        assert f"missing ACL: grant Delete on topic {topic}" in refused["error"]
        secured_kafka.allow(user, delete)
        service.wait_for_log("trim_allowed_again")
        assert len(service.logged("trim_refused")) == 1
        assert service.terminate() == 0


@pytest.mark.timeout(180)
def test_a_retention_that_is_shortened_while_the_service_runs(
    cluster: Cluster, names: Names
) -> None:
    """The log and the metrics show it at once; the shards go on, and a new process refuses it."""
    ids, hour_ms = numbered_ids(60), 3_600_000
    with Deployment(
        cluster,
        names,
        REPARTITION_RETENTION_DAYS=DAYS,
        TRIM_INTERVAL_MS=200,
        DISCOVERY_INTERVAL_MS=200,
    ) as deployment:
        service, _ = observed = start_observed(deployment)
        cluster.produce(deployment.input_topic, scattered(ids[:30]))
        assert_exactly_once(cluster, names, ids[:30])
        wait_until(
            lambda: sum(by_shard(observed, "repartition_size_bytes")) > 0,
            what="the size of the topic",
        )
        assert observed.metric("repartition_retention_seconds") == DAYS * DAY_MS / 1000
        cluster.set_config(deployment.repartition_topic, retention_ms=str(hour_ms))
        short = service.wait_for_log("repartition_retention_too_short")
        assert (short["level"], short["retention_seconds"]) == ("error", 3600)
        assert "Set retention.ms of the topic to -1" in short["hint"]
        refused = service.wait_for_log("topics_refused")
        assert f"retention.ms is {hour_ms}; set it to -1" in refused["error"]
        assert observed.metric("repartition_retention_seconds") == 3600
        cluster.produce(deployment.input_topic, scattered(ids))
        assert_exactly_once(cluster, names, ids)
        new = deployment.start()
        assert new.wait() == 1
        assert f"retention.ms is {hour_ms}" in new.tail()
        cluster.set_config(deployment.repartition_topic, retention_ms="-1")
        service.wait_for_log("topics_accepted_again")
        assert len(service.logged("topics_refused")) == 1
        assert service.terminate() == 0


class TestRetention:
    """A retention that could lose unread forwards is refused, by every command."""

    def test_too_short_a_retention_is_refused(self, cluster: Cluster, names: Names) -> None:
        """`topics create` does not set it, and the check does not accept it."""
        with Deployment(cluster, names) as deployment:
            option = ("--repartition-retention-days", "13")
            refused = deployment.run("topics", "create", *option)
            assert refused.exit_code == 2
            assert "13 is less than 14 days" in refused.stderr
            too_short = MIN_REPARTITION_RETENTION_MS - 1
            cluster.set_config(deployment.repartition_topic, retention_ms=str(too_short))
            refused = deployment.run("topics", "check")
            assert refused.exit_code == 1
            assert f"retention.ms is {too_short}; set it to -1" in refused.complaint
            assert f"set it to {MIN_REPARTITION_RETENTION_MS} or more" in refused.complaint

    def test_a_topic_that_exists_is_not_changed(self, cluster: Cluster, names: Names) -> None:
        """Each command and each start says so, and how to change it."""
        with Deployment(cluster, names) as deployment:
            topic, wanted = deployment.repartition_topic, str(DAYS * DAY_MS)
            option = ("--repartition-retention-days", str(DAYS))
            done = deployment.run("topics", "create", *option)
            assert done.exit_code == 0, done.stderr
            assert f"warning: topic {topic}: retention.ms is -1, but" in done.stderr
            assert f"--add-config retention.ms={wanted}" in done.stderr
            assert cluster.config(topic)["retention.ms"] == "-1"
            checked = deployment.run("topics", "check", REPARTITION_RETENTION_DAYS=DAYS)
            assert f"--add-config retention.ms={wanted}" in checked.stderr
            service = deployment.start(REPARTITION_RETENTION_DAYS=DAYS, CREATE_TOPICS="false")
            said = service.wait_for_log("repartition_retention_differs", topic=topic)
            assert f"--add-config retention.ms={wanted}" in said["hint"]
            cluster.set_config(topic, retention_ms=wanted)
            done = deployment.run("topics", "create", REPARTITION_RETENTION_DAYS=DAYS)
            assert "retention.ms is" in done.stderr  # a limited retention is a risk of its own
            assert "but CHECKPOINT_READY_REPARTITION_RETENTION_DAYS" not in done.stderr

    def test_a_long_retention_is_a_warning(self, cluster: Cluster, names: Names) -> None:
        """`topics create` sets it."""
        with Deployment(cluster, names, create_topics=False) as deployment:
            option = ("--repartition-retention-days", "14")
            done = deployment.run("topics", "create", *option)
            assert done.exit_code == 0, done.stderr
            config = cluster.config(deployment.repartition_topic)
            assert config["retention.ms"] == str(MIN_REPARTITION_RETENTION_MS)
            assert config["retention.bytes"] == "-1"
            checked = deployment.run("topics", "check")
            assert checked.exit_code == 0
            (risk,) = checked.json["setting_risks"]
            assert risk["event"] == "repartition_retention_is_bounded"
            assert "a forward that no shard has read within this time is lost" in checked.stderr
