"""A real Prometheus scrapes service and bridges: the dashboard has data, an alert comes and goes.

Rules, labels and dashboard are those that Helm renders. In the loaded copy of the rules a minute
lasts a second (`for:` and windows), and nothing else is changed.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from consumer.metric import PREFIX
from dev.chart_fetching import ChartToolMissing
from dev.chart_tools import helm, prometheus
from dev.free_ports import free_ports
from dev.metrics_table import ALL_METRICS
from tests.chart.rendering import NAMESPACE, RELEASE, render_case
from tests.integration.prometheus import Prometheus, sped_up, target_labels
from tests.support.deployment import Deployment
from tests.support.ingest import start_ingest
from tests.support.provider_server import KEY, ProviderServer
from tests.support.records import NewRecord, checkpoint, ids_at_home, numbered_ids, scattered
from tests.support.verdicts import assert_exactly_once, wait_until_handled
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chart.rendering import Rendering
    from tests.support.cluster import Cluster
    from tests.support.topics import Names

MAPPED_FIELDS = (
    "id",
    "created_at",
    "fine_tuned_model_checkpoint",
    "fine_tuning_job_id",
    "step_number",
)
SHARDS = 3
STALLED = "CheckpointReadyStalled"
# Long enough for the whole test.
RATE_INTERVAL = "2m"
REQUEST_SECONDS = 30.0
ALERT_SECONDS = 60.0
HOLD_MS = 300_000  # longer than the test
LABEL_VALUES = re.compile(r"label_values\((?P<series>.+), (?P<label>\w+)\)")


@pytest.fixture(scope="module")
def program() -> Path:
    """Return the path of Prometheus; Helm is needed too, to render the rules."""
    try:
        helm()
        return prometheus()
    except ChartToolMissing as error:
        pytest.skip(str(error))


class Hold:
    """A transaction of another program, open on all partitions of a changelog.

    A shard that starts must wait for its end, or it would publish ids twice. So after a takeover of
    each shard, all of them restore, wait and commit nothing.
    """

    def __init__(self, cluster: Cluster, deployment: Deployment) -> None:
        """Open the transaction."""
        settings = {
            **cluster.settings,
            "transactional.id": f"{deployment.names.prefix}-foreign",
            "transaction.timeout.ms": HOLD_MS,
        }
        self._producer = Producer(settings)
        self._producer.init_transactions(REQUEST_SECONDS)
        self._producer.begin_transaction()
        for shard in range(SHARDS):
            self._producer.produce(deployment.changelog_topic, b"{}", b"f:foreign", shard)
        assert self._producer.flush(REQUEST_SECONDS) == 0

    def release(self) -> None:
        """Abort the transaction."""
        self._producer.abort_transaction(REQUEST_SECONDS)


# Only a shard that runs knows what is held back in its sources.
HELD_BACK = {f"{PREFIX}held_back_records", f"{PREFIX}held_back_seconds"}
# The others are there with a bounded repartition topic, a login by token, or a trigger of `ingest`.
UNKNOWN_AT_A_STALL = HELD_BACK | {
    f"{PREFIX}repartition_retention_seconds",
    f"{PREFIX}repartition_oldest_unread_seconds",
    f"{PREFIX}repartition_handled_records",
    f"{PREFIX}repartition_size_bytes",
    f"{PREFIX}token_remaining_seconds",
    f"{PREFIX}token_lifetime_seconds",
    f"{PREFIX}ingest_triggered_listings_total",
    f"{PREFIX}ingest_waiting_listings",
}


def test_the_dashboard_has_data_and_the_stalled_alert_comes_and_goes(
    cluster: Cluster, names: Names, program: Path, tmp_path: Path
) -> None:
    """Each query returns a number; the alert fires exactly while records wait and none commits.

    1. A process runs, Prometheus scrapes it, and a second process joins, which is a rebalance. A
       receiver and a poller bring checkpoints in.
    2. Another producer takes over each shard, and a transaction blocks the changelog: records wait.
    3. The alert fires with the name of its release. The dashboard is checked in this state.
    4. The transaction ends: all records are handled, each id once, and the alert is resolved.
    """
    rendered = render_case("production")
    ports = free_ports(4)
    with (
        Deployment(cluster, names) as deployment,
        ProviderServer() as provider,
        Prometheus(
            program,
            tmp_path,
            rules=sped_up(rendered.one("PrometheusRule")["spec"]),
            targets={
                port: target_labels(rendered, NAMESPACE, f"{RELEASE}-checkpoint-ready-{port}")
                for port in ports
            },
            path=rendered.one("PodMonitor")["spec"]["podMetricsEndpoints"][0]["path"],
        ) as prom,
    ):
        first = deployment.start(HTTP_PORT=ports[0])  # 1.
        deployment.wait_until_running(SHARDS, first)
        wait_until(lambda: prom.values(f"{PREFIX}rebalances_total") == [1], what="a scrape")
        ids = produce_work(deployment)
        ids += receive_work(deployment, prom, tmp_path, ports[2])
        ids += poll_work(deployment, prom, provider, tmp_path, ports[3])
        wait_until_handled(cluster, names)
        second = deployment.start(HTTP_PORT=ports[1])
        deployment.wait_until_running(SHARDS, first, second)
        wait_until(lambda: len(prom.values(f"{PREFIX}info")) == 2, what="both processes")
        assert prom.firing(STALLED) == []
        for name in HELD_BACK:
            assert prom.values(name)

        hold = Hold(cluster, deployment)  # 2.
        for shard in range(SHARDS):
            take_over(deployment, shard)
        late = [one for shard in range(SHARDS) for one in ids_at_home(shard, SHARDS, 5, "late")]
        cluster.produce(deployment.input_topic, scattered(late))
        lag = f"sum({PREFIX}lag_records)"
        wait_until(lambda: sum(prom.values(lag)) > 0, what="lag")

        wait_until(lambda: prom.firing(STALLED), ALERT_SECONDS, what="the alert")  # 3.
        (alert,) = prom.firing(STALLED)
        expected = {"namespace": NAMESPACE, "job": RELEASE, "severity": "critical"}
        assert expected.items() <= alert["labels"].items()
        assert (
            f"records are waiting in {NAMESPACE}/{RELEASE}," in alert["annotations"]["description"]
        )
        assert {rule["health"] for rule in prom.rules()} == {"ok"}
        assert_every_metric_is_there(prom)
        assert_dashboard_has_data(prom, rendered)

        hold.release()  # 4.
        wait_until(lambda: not prom.alerts(STALLED), ALERT_SECONDS, what="the end of the alert")
        assert_exactly_once(cluster, names, ids + late)


def produce_work(deployment: Deployment) -> list[str]:
    """Produce new ids, known ids, a conflicting content and two invalid records."""
    ids = numbered_ids(60)
    records = [*scattered(ids), NewRecord(b"no json"), NewRecord(b'{"id": 1}')]
    deployment.cluster.produce(deployment.input_topic, records)
    wait_until_handled(deployment.cluster, deployment.names)
    again = [*scattered(ids[:20]), NewRecord(checkpoint(ids[0], step_number=7), b"conflict")]
    deployment.cluster.produce(deployment.input_topic, again)
    return ids


def receive_work(deployment: Deployment, prom: Prometheus, folder: Path, port: int) -> list[str]:
    """Start a receiver, and send a request of each kind after its first scrape."""
    webhook = f'[webhooks.jobs]\nkind = "bearer"\ntoken_files = ["{folder}/token"]\n'
    mapping = (
        '[webhooks.jobs.checkpoint]\nwhen = { "/kind" = "checkpoint" }\n'
        "[webhooks.jobs.checkpoint.fields]\n"
        + "".join(f'{name} = {{ pointer = "/{name}" }}\n' for name in MAPPED_FIELDS)
    )
    ingest = start_ingest(deployment, folder, webhook + mapping, probes=port)
    wait_until(lambda: prom.values(f"{PREFIX}ingest_kafka_reachable") == [1], what="a scrape")
    ids = numbered_ids(10, "received")
    for one in ids:
        assert ingest.post(checkpoint(one)).status == 202
    assert ingest.post(b'{"kind": "other"}', path="/v1/webhooks/jobs").status == 202
    assert ingest.post(b"{}").status == 422
    assert ingest.post(b"{}", token="wrong").status == 401
    return ids


def poll_work(
    deployment: Deployment, prom: Prometheus, provider: ProviderServer, folder: Path, port: int
) -> list[str]:
    """Start a poller, and wait until it has sent a checkpoint after its first scrape."""
    provider.add_job("job", checkpoints=3)
    (folder / "key").write_text(KEY)
    file = folder / "accounts.toml"
    file.write_text(
        '[[accounts]]\nname = "acme"\nkind = "openai"\nkey_file = "key"\n'
        f'base_url = "{provider.url}"\ninterval_seconds = 0.5\n'
    )
    command = ("consumer", "poll", "--config", str(file))
    deployment.start(command=command, HTTP_PORT=port)
    sent = f"{PREFIX}poll_checkpoints_sent_total"
    wait_until(lambda: prom.values(sent) == [3], what="a scrape of the poller")
    provider.add_checkpoints("job", 2)
    wait_until(lambda: prom.values(sent) == [5], what="the new checkpoints")
    return provider.ids


def take_over(deployment: Deployment, shard: int) -> None:
    """Fence a shard by its transactional id, as another process would; its task must restart."""
    deployment.cluster.produce(
        deployment.changelog_topic, [], transactional_id=f"{deployment.group}-{shard}"
    )


def assert_every_metric_is_there(prom: Prometheus) -> None:
    """Expect a series of every metric of the service and of the bridges."""
    names = [
        f"{it.full_name}_count" if it.kind == "histogram" else it.full_name for it in ALL_METRICS
    ]
    missing = {name for name in names if not prom.values(name)}
    assert missing <= UNKNOWN_AT_A_STALL


def assert_dashboard_has_data(prom: Prometheus, rendered: Rendering) -> None:
    """Expect a number from each query of each panel, with variables replaced as in Grafana."""
    (found,) = [it for it in rendered.all("ConfigMap") if "dashboard" in str(it["metadata"])]
    dashboard = json.loads(found["data"]["checkpoint-ready.json"])
    variables = {"__rate_interval": RATE_INTERVAL}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            query = filled_in(variable["query"]["query"], variables)
            asked = LABEL_VALUES.fullmatch(query)
            assert asked, query
            offered = prom.label_values(asked["label"], asked["series"])
            variables[variable["name"]] = f"({'|'.join(offered)})"
    assert variables.items() >= {"namespace": f"({NAMESPACE})", "job": f"({RELEASE})"}.items()
    queries = {
        (panel["title"], filled_in(target["expr"], variables))
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    }
    assert not [query for query in queries if "$" in query[1]]
    empty = [
        it
        for it in queries
        if not any(map(math.isfinite, prom.values(it[1])))
        and not any(name in it[1] for name in UNKNOWN_AT_A_STALL)
    ]
    assert empty == []


def filled_in(query: str, variables: dict[str, str]) -> str:
    """Return a query with the variables known so far replaced."""
    for name, value in variables.items():
        query = query.replace(f"${name}", value)
    return query
