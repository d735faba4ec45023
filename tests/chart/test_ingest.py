"""The objects of `ingest`: processes, Service, Ingress or HTTPRoute, autoscaler, budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dev.chart_tools import helm
from tests.chart import bridges
from tests.chart.live_cluster import running_deployment
from tests.chart.rendering import NAMESPACE, render, render_case, render_live

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chart.rendering import Object

NAME = "events-checkpoint-ready-ingest"
HOSTS = ["checkpoints.example.com", "other.example.com"]


def _ingest(**values: Any) -> Object:  # noqa: ANN401 - values of a chart are any
    return render(**bridges.ingest(**values)).of("Deployment", "ingest")


def test_a_rollout_never_has_fewer_processes() -> None:
    """A new process is ready before an old one ends, and the old one still accepts requests."""
    spec = _ingest()["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == ["python", "-c", "import time; time.sleep(10)"]
    (constraint, _) = pod["topologySpreadConstraints"]
    labels = spec["template"]["metadata"]["labels"]
    assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()


def test_requests_and_probes_have_ports_of_their_own() -> None:
    """The Service sends requests to the receiver, and the kubelet asks HTTP_PORT."""
    rendered = render(**bridges.ingest({"port": 8082}), httpPort=9000)
    deployment = rendered.of("Deployment", "ingest")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    ports = {it["name"]: it["containerPort"] for it in container["ports"]}
    assert ports == {"receiver": 8082, "http": 9000}
    probes = {
        name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")
    }
    assert probes == {
        "startup": {"path": "/livez", "port": "http"},
        "liveness": {"path": "/livez", "port": "http"},
        "readiness": {"path": "/readyz", "port": "http"},
    }
    service = rendered.of("Service", "ingest")["spec"]
    assert service["type"] == "ClusterIP"
    assert [(it["port"], it["targetPort"]) for it in service["ports"]] == [(80, "receiver")]


def test_it_has_the_settings_of_the_service() -> None:
    """The connection to Kafka is described once, and the account has no token."""
    rendered = render(**bridges.ingest(), extraEnv={"TZ": "UTC"})
    pod = rendered.of("Deployment", "ingest")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": "events-checkpoint-ready"}}]
    assert container["env"] == [{"name": "TZ", "value": "UTC"}]
    assert "--topic=fine-tuning.checkpoints" in container["args"]
    assert pod["automountServiceAccountToken"] is False
    accounts = [it["metadata"]["name"] for it in rendered.all("ServiceAccount")]
    assert [pod["serviceAccountName"]] == accounts


def test_an_ingress_has_tls_and_the_paths_of_the_receiver_only() -> None:
    """Probes and metrics are not reachable from outside."""
    ingress = {"enabled": True, "hosts": HOSTS, "className": "nginx", "tlsSecret": "tls"}
    rendered = render(**bridges.ingest(ingress=ingress))
    spec = rendered.of("Ingress", "ingest")["spec"]
    assert spec["ingressClassName"] == "nginx"
    assert spec["tls"] == [{"hosts": HOSTS, "secretName": "tls"}]
    assert [rule["host"] for rule in spec["rules"]] == HOSTS
    for rule in spec["rules"]:
        (path,) = rule["http"]["paths"]
        assert (path["path"], path["pathType"]) == ("/v1/", "Prefix")
        assert path["backend"]["service"] == {"name": NAME, "port": {"name": "receiver"}}
    assert rendered.all("HTTPRoute") == []
    bare = render(**bridges.ingest(ingress={"enabled": True, "hosts": HOSTS}))
    assert bare.of("Ingress", "ingest")["spec"]["tls"] == [{"hosts": HOSTS}]


def test_an_http_route_has_the_paths_of_the_receiver_only() -> None:
    """The Gateway has the TLS."""
    parents = [{"name": "public", "namespace": "gateways"}]
    route = {"enabled": True, "hosts": HOSTS, "parentRefs": parents}
    rendered = render(**bridges.ingest(httpRoute=route, service={"port": 8000}))
    spec = rendered.of("HTTPRoute", "ingest")["spec"]
    assert spec == {
        "parentRefs": parents,
        "hostnames": HOSTS,
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/v1/"}}],
                "backendRefs": [{"name": NAME, "port": 8000}],
            }
        ],
    }
    assert rendered.of("Service", "ingest")["spec"]["ports"][0]["port"] == 8000
    assert rendered.all("Ingress") == []


def test_cpu_may_scale_it() -> None:
    """Then the chart states no replicas; otherwise it states two, or the number of the values."""
    rendered = render_case("ingest")
    spec = rendered.of("HorizontalPodAutoscaler", "ingest")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)
    assert spec["scaleTargetRef"]["name"] == NAME
    assert "replicas" not in rendered.of("Deployment", "ingest")["spec"]
    assert _ingest()["spec"]["replicas"] == 2
    assert _ingest(replicas=0)["spec"]["replicas"] == 0
    budget = rendered.of("PodDisruptionBudget", "ingest")["spec"]
    assert budget["maxUnavailable"] == 1


def test_an_upgrade_to_an_autoscaler_keeps_the_number(tmp_path: Path) -> None:
    """The API server would start one process until the autoscaler acts."""
    fixed = _ingest(replicas=5)
    metadata: dict[str, Any] = {
        "annotations": fixed["metadata"]["annotations"],
        "managedFields": [],
    }
    values = bridges.ingest(hpa={"enabled": True})
    with running_deployment(NAMESPACE, NAME, 5, metadata, tmp_path) as kubeconfig:
        rendered = render_live(helm(), kubeconfig, **values)
    assert rendered.of("Deployment", "ingest")["spec"]["replicas"] == 5


@pytest.mark.parametrize("enabled", [True, False])
def test_the_budget_can_be_left_out(*, enabled: bool) -> None:
    """As that of the service."""
    rendered = render(**bridges.ingest(podDisruptionBudget={"enabled": enabled}))
    assert len(rendered.all("PodDisruptionBudget")) == 1 + enabled
