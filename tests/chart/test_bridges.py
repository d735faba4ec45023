"""What `ingest` and `poll` have in common: configuration, secrets, credentials, selectors."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import yaml

from consumer.cli import ingest as ingest_command
from consumer.cli import main
from consumer.cli import poll as poll_command
from consumer.config import Settings
from consumer.errors import ConfigError
from tests.chart import bridges
from tests.chart.rendering import MINIMAL, SECRETS, render, render_case

if TYPE_CHECKING:
    from tests.chart.rendering import Rendering

COMPONENT = "app.kubernetes.io/component"
WITH_BRIDGES = ["ingest", "poll", "strimzi-bridges"]
SASL = {
    "bootstrapServers": "kafka:9093",
    "securityProtocol": "SASL_SSL",
    "sasl": {"mechanism": "SCRAM-SHA-512", "existingSecret": "login"},
}
MUTUAL_TLS = {
    "bootstrapServers": "kafka:9093",
    "securityProtocol": "SSL",
    "tls": {"clientSecret": "client"},
}
# The module; the package exports its function under the same name.
ENTRY_POINT = sys.modules["consumer.cli.main"]
DOCUMENT = Path(__file__).parents[2] / "docs" / "sources.md"
PARSED = "this command line was parsed"


def test_without_them_there_is_nothing_of_them() -> None:
    """Both are off by default."""
    text = json.dumps(render().objects)
    assert "ingest" not in text
    assert "poll" not in text


@pytest.mark.parametrize("case", WITH_BRIDGES)
def test_the_programs_read_the_rendered_files(case: str, tmp_path: Path) -> None:
    """The decoders of the programs accept both files, with every key of the values."""
    rendered = render_case(case)
    files = bridges.bridge_files(rendered)
    if "ingest" in files:
        config = bridges.ingest_config(rendered, tmp_path)
        assert config.checkpoints.token_files
    if "poll" in files:
        assert bridges.accounts(rendered, tmp_path)


@pytest.mark.parametrize("case", WITH_BRIDGES)
def test_the_programs_take_the_arguments(
    case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line of each container is one of the program."""

    def refuse(_: object) -> Settings:
        raise ConfigError(PARSED)

    monkeypatch.setattr(ENTRY_POINT, "Settings", SimpleNamespace(load=refuse))
    monkeypatch.setattr(ENTRY_POINT, "start_command", lambda: None)
    for pod in bridges.bridge_pods(render_case(case)).values():
        (container,) = pod["spec"]["containers"]
        assert container["command"] == ["checkpoint-ready"]
        main(container["args"])
        assert PARSED in capsys.readouterr().err


def test_the_configuration_is_mounted_where_the_program_looks() -> None:
    """`--config` names the file of the ConfigMap, and a change of it replaces the pods."""
    before = bridges.both()
    for pod in bridges.bridge_pods(before).values():
        (container,) = pod["spec"]["containers"]
        (volume,) = [it for it in pod["spec"]["volumes"] if it["name"] == "config"]
        (mount,) = [it for it in container["volumeMounts"] if it["name"] == "config"]
        (item,) = volume["configMap"]["items"]
        assert f"--config={mount['mountPath']}/{item['path']}" in container["args"]
        data = before.one("ConfigMap", volume["configMap"]["name"])["data"]
        assert item["key"] in data
    checksums = [
        {name: it["metadata"]["annotations"] for name, it in bridges.bridge_pods(rendered).items()}
        for rendered in (
            before,
            bridges.both(**bridges.ingest({"port": 8082})),
            bridges.both(**bridges.poll({**bridges.ACCOUNT, "page_size": 10})),
        )
    ]
    first, other_port, other_page = checksums
    assert first["ingest"] != other_port["ingest"]
    assert first["poll"] == other_port["poll"]
    assert first["poll"] != other_page["poll"]


@pytest.mark.parametrize("case", WITH_BRIDGES)
def test_every_secret_is_a_file_of_an_existing_secret(case: str, tmp_path: Path) -> None:
    """Each file that the configuration names is mounted, from a Secret that the chart has not made.

    Nothing is mounted by a subPath: the kubelet would not renew it.
    """
    rendered = render_case(case)
    pods = bridges.bridge_pods(rendered)
    named: dict[str, set[str]] = {}
    if "ingest" in pods:
        config = bridges.ingest_config(rendered, tmp_path)
        named["ingest"] = set(config.checkpoints.token_files)
        for webhook in config.webhooks.values():
            named["ingest"] |= set(getattr(webhook, "secret_files", ()))
            named["ingest"] |= set(getattr(webhook, "public_key_files", ()))
            named["ingest"] |= set(getattr(webhook, "token_files", ()))
        named["ingest"] |= {it.key_file for it in bridges.listed_accounts(rendered, tmp_path)}
    if "poll" in pods:
        every = bridges.accounts(rendered, tmp_path)
        named["poll"] = {it.key_file for it in every if it.key_file}
        named["poll"] |= {path for it in every for path in it.header_files.values()}
    made = {it["metadata"]["name"] for it in rendered.all("Secret")}
    for component, pod in pods.items():
        files = bridges.secret_sources(pod, "secrets")
        assert {f"{SECRETS}/{file}" for file in files} == named[component]
        assert not {secret for secret, _ in files.values()} & made
        (container,) = pod["spec"]["containers"]
        mounts = {it["name"]: it for it in container["volumeMounts"]}
        assert mounts["secrets"]["mountPath"] == SECRETS
        assert not any("subPath" in it for it in mounts.values())


def test_a_secret_in_the_values_of_the_service_is_not_in_a_config_map() -> None:
    """The files name paths only, and the password of the values stays in the Secret."""
    sasl = {"mechanism": "PLAIN", "username": "me", "password": "hidden-password"}
    rendered = bridges.both(kafka={**SASL, "sasl": sasl})
    assert "hidden-password" not in str(rendered.all("ConfigMap"))
    for pod in bridges.bridge_pods(rendered).values():
        assert "hidden-password" not in str(pod)
        login = bridges.secret_sources(pod, "sasl")
        assert login == {
            "username": ("events-checkpoint-ready-sasl", "username"),
            "password": ("events-checkpoint-ready-sasl", "password"),
        }


def _selectors(rendered: Rendering) -> dict[str, tuple[str, dict[str, str]]]:
    """Return the labels that each object selects pods by, with the component that it is for."""
    found = {}
    for item in rendered.objects:
        spec = item.get("spec") or {}
        selector = spec.get("selector") or {}
        if item["kind"] == "Service":
            labels = selector
        elif "matchLabels" in selector:
            labels = selector["matchLabels"]
        elif item["kind"] == "NetworkPolicy":
            labels = spec["podSelector"]["matchLabels"]
        else:
            continue
        if COMPONENT in labels:
            found[f"{item['kind']} {item['metadata']['name']}"] = (labels[COMPONENT], labels)
    return found


@pytest.mark.parametrize("monitor", ["podMonitor", "serviceMonitor"])
def test_no_selector_matches_the_pods_of_another_component(monitor: str) -> None:
    """Service, budget, policy, monitor and Deployment of each component select only its pods."""
    rendered = bridges.both(monitoring={monitor: True}, replay={"enabled": True})
    pods = {name: it["metadata"]["labels"] for name, it in bridges.bridge_pods(rendered).items()}
    service = rendered.of("Deployment", "service")
    pods["service"] = service["spec"]["template"]["metadata"]["labels"]
    selectors = _selectors(rendered)
    assert len(selectors) >= 11
    for name, (component, selector) in selectors.items():
        if component in pods:
            matched = {it for it, labels in pods.items() if selector.items() <= labels.items()}
            assert matched == {component}, name
    # A ServiceMonitor selects Services, whose labels are those of their component.
    for it in rendered.all("ServiceMonitor"):
        (port,) = [endpoint["port"] for endpoint in it["spec"]["endpoints"]]
        selector = it["spec"]["selector"]["matchLabels"]
        (service,) = [
            found
            for found in rendered.all("Service")
            if selector.items() <= found["metadata"]["labels"].items()
        ]
        assert port in {found["name"] for found in service["spec"]["ports"]}


def test_each_process_is_scraped_at_its_port_of_metrics() -> None:
    """All three have a monitor, and a container port of the name that it asks."""
    rendered = bridges.both(monitoring={"podMonitor": True}, httpPort=9000)
    monitors = rendered.all("PodMonitor")
    assert len(monitors) == 3
    for deployment in rendered.all("Deployment"):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert {"name": "http", "containerPort": 9000} in container["ports"]
    cron = render(**bridges.poll(kind="CronJob"), monitoring={"podMonitor": True})
    assert len(cron.all("PodMonitor")) == 1


def test_they_may_have_a_kafka_user_of_their_own() -> None:
    """Without one, both have the login of the service."""
    shared = bridges.both(kafka=SASL)
    for pod in bridges.bridge_pods(shared).values():
        assert bridges.secret_sources(pod, "sasl")["password"] == ("login", "password")
    values = bridges.ingest(kafka={"existingSecret": "ingest-login"})
    values |= bridges.poll(kafka={"existingSecret": "poll-login"})
    own = bridges.bridge_pods(render(kafka=SASL, **values))
    for component, pod in own.items():
        assert bridges.secret_sources(pod, "sasl") == {
            "username": (f"{component}-login", "username"),
            "password": (f"{component}-login", "password"),
        }
    values = bridges.ingest(kafka={"clientSecret": "ingest-client"}) | bridges.poll()
    certificates = {
        component: bridges.secret_sources(pod, "tls")["client.key"]
        for component, pod in bridges.bridge_pods(render(kafka=MUTUAL_TLS, **values)).items()
    }
    assert certificates == {"ingest": ("ingest-client", "tls.key"), "poll": ("client", "tls.key")}


def test_the_receiver_lists_the_jobs_of_the_accounts_that_webhooks_name(tmp_path: Path) -> None:
    """It has the file, the key and the egress of these accounts, and of no other."""
    rendered = render_case("ingest")
    assert [it.name for it in bridges.listed_accounts(rendered, tmp_path)] == ["openai"]
    assert "together" not in str(rendered.objects)
    pod = bridges.bridge_pods(rendered)["ingest"]
    (container,) = pod["spec"]["containers"]
    assert "--accounts=/etc/checkpoint-ready/config/accounts.toml" in container["args"]
    (volume,) = [it for it in pod["spec"]["volumes"] if it["name"] == "config"]
    paths = {it["path"] for it in volume["configMap"]["items"]}
    assert paths == {"accounts.toml", "ingest.toml"}
    files = bridges.secret_sources(pod, "secrets")
    assert files["openai-key"] == ("provider-keys", "openai")
    policy = rendered.of("NetworkPolicy", "ingest")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == [{"ports": [{"port": 443, "protocol": "TCP"}]}]
    assert "--accounts" not in str(render(**bridges.ingest()).objects)


@pytest.mark.parametrize("component", ["ingest", "poll"])
def test_the_network_policies_add_only_what_each_needs(component: str) -> None:
    """The policy of the release allows metrics, DNS and Kafka; these add one direction each."""
    peers = [{"podSelector": {"matchLabels": {"app": "edge"}}}]
    gateway = {**bridges.ACCOUNT, "name": "gateway", "base_url": "https://gateway.example:8443/v1"}
    values = bridges.ingest({"port": 8082}, senderPeers=peers)
    values |= bridges.poll(bridges.ACCOUNT, gateway, providerPeers=peers)
    rendered = render(**values)
    release = rendered.one("NetworkPolicy", "checkpoint-ready")["spec"]
    labels = bridges.bridge_pods(rendered)[component]["metadata"]["labels"]
    assert release["podSelector"]["matchLabels"].items() <= labels.items()
    assert release["policyTypes"] == ["Ingress", "Egress"]
    own = rendered.of("NetworkPolicy", component)["spec"]
    if component == "ingest":
        assert own["policyTypes"] == ["Ingress"]
        assert own["ingress"] == [{"ports": [{"port": 8082, "protocol": "TCP"}], "from": peers}]
    else:
        ports = [{"port": port, "protocol": "TCP"} for port in (443, 8443)]
        assert own["policyTypes"] == ["Egress"]
        assert own["egress"] == [{"ports": ports, "to": peers}]


def test_the_ports_of_the_providers_can_be_set() -> None:
    """For example for a proxy."""
    rendered = render(**bridges.poll(providerPorts=[3128]))
    (rule,) = rendered.of("NetworkPolicy", "poll")["spec"]["egress"]
    assert rule == {"ports": [{"port": 3128, "protocol": "TCP"}]}


def test_the_kubelet_waits_longer_than_each_may_take_to_end() -> None:
    """The receiver drains, answers and flushes; the poller only stops."""
    values = bridges.ingest({"limits": {"shutdown_seconds": 44.5}}, drainSeconds=7)
    rendered = render(**(values | bridges.poll()))
    pods = bridges.bridge_pods(rendered)
    spec = pods["ingest"]["spec"]
    bound = 7 + 44.5 + ingest_command.FLUSH_SECONDS
    assert bound < spec["terminationGracePeriodSeconds"] <= bound + 6
    (container,) = spec["containers"]
    assert container["lifecycle"]["preStop"]["exec"]["command"][-1].endswith("sleep(7)")
    without = render(**bridges.ingest(drainSeconds=0)).of("Deployment", "ingest")
    assert "lifecycle" not in str(without)
    assert pods["poll"]["spec"]["terminationGracePeriodSeconds"] > poll_command.STOP_SECONDS


@pytest.mark.parametrize("component", ["ingest", "poll"])
def test_the_values_of_the_document_are_accepted(component: str, tmp_path: Path) -> None:
    """The examples in docs/sources.md install what they promise."""
    section = DOCUMENT.read_text().split("\n## On Kubernetes\n")[1].split("\n## ")[0]
    examples = [yaml.safe_load(it) for it in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)]
    (values,) = [it for it in examples if component in it]
    rendered = render(**values)
    if component == "ingest":
        assert bridges.ingest_config(rendered, tmp_path).webhooks.keys() == {"openai"}
        assert rendered.of("Ingress", "ingest")
    else:
        assert [it.name for it in bridges.accounts(rendered, tmp_path)] == ["openai"]


def test_minimal_values_are_enough() -> None:
    """Only the brokers, and a sender or an account, have no default."""
    assert bridges.both(**MINIMAL).all("Deployment")
