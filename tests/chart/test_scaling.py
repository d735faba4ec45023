"""Autoscalers, NetworkPolicy and PodDisruptionBudget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dev.chart_tools import helm, helm_3
from tests.chart.live_cluster import running_deployment
from tests.chart.rendering import NAMESPACE, render, render_case, render_live

if TYPE_CHECKING:
    from pathlib import Path

HELM_3 = helm_3()  # it takes minutes to build: `make helm3`
VERSIONS = ["helm 4"] if HELM_3 is None else ["helm 4", "helm 3"]


def test_lag_scales_the_service_within_its_shards() -> None:
    """KEDA polls every input topic, with the credentials of the service, and keeps one process."""
    rendered = render_case("production", keda={"minReplicas": 1})
    spec = rendered.one("ScaledObject")["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 12)
    assert spec["scaleTargetRef"]["name"] == rendered.one("Deployment")["metadata"]["name"]
    assert [it["metadata"]["topic"] for it in spec["triggers"]] == [
        "fine-tuning.checkpoints",
        "fine-tuning.checkpoints-eu",
        "checkpoint-ready.repartition",
    ]
    for trigger in spec["triggers"]:
        assert trigger["metadata"]["limitToPartitionsWithLag"] == "true"
        assert trigger["metadata"]["excludePersistentLag"] == "true"
        assert trigger["metadata"]["sasl"] == "scram_sha512"
        assert trigger["metadata"]["tls"] == "enable"
    assert rendered.one("TriggerAuthentication")["spec"]["secretTargetRef"] == [
        {"parameter": "password", "name": "kafka-login", "key": "password"},
        {"parameter": "username", "name": "kafka-login", "key": "username"},
        {"parameter": "ca", "name": "kafka-ca", "key": "ca.crt"},
    ]
    assert "replicas" not in rendered.one("Deployment")["spec"]


def test_cpu_scales_the_service_within_its_shards() -> None:
    """An autoscaler sets the replicas, at most the number of shards."""
    rendered = render_case("hpa", hpa={"maxReplicas": None})
    spec = rendered.one("HorizontalPodAutoscaler")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 6)
    assert "replicas" not in rendered.one("Deployment")["spec"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "values",
    [
        {"hpa": {"enabled": True}, "shards": 6},
        {"keda": {"enabled": True}, "shards": 6},
        {"replicas": None},
    ],
    ids=["hpa", "keda", "by hand"],
)
def test_an_upgrade_keeps_the_number_that_others_decide_about(
    version: str, values: dict[str, Any], tmp_path: Path
) -> None:
    """Left out after a revision that states it, the API server would put its default there: 1.

    It is left out once another has changed it under server-side apply, and where no revision has
    stated it: a rollback to one that does not would take it away.
    """
    program = HELM_3 if version == "helm 3" and HELM_3 is not None else helm()
    by_hand = render(replicas=3).one("Deployment")
    name, annotations = by_hand["metadata"]["name"], by_hand["metadata"]["annotations"]
    fields: dict[str, Any] = {"f:spec": {"f:template": {}, "f:replicas": {}}}
    applied = {"manager": "helm", "operation": "Apply", "fieldsV1": fields}
    taken = {**applied, "fieldsV1": {"f:spec": {"f:template": {}}}}
    updated = {**taken, "operation": "Update"}
    kept = []
    for metadata in (
        {"annotations": annotations, "managedFields": [applied]},
        {"annotations": annotations, "managedFields": [updated]},
        {"annotations": annotations, "managedFields": [taken]},
        {"managedFields": [updated]},
    ):
        with running_deployment(NAMESPACE, name, 5, metadata, tmp_path) as kubeconfig:
            spec = render_live(program, kubeconfig, **values).one("Deployment")["spec"]
            kept.append(spec.get("replicas"))
    assert kept == [5, 5, None, None]


def test_a_number_that_is_left_out_is_left_to_others() -> None:
    """The number set by `kubectl scale` causes no conflict, and no refusal because of a budget."""
    rendered = render(replicas=None, shards=3, podDisruptionBudget={"minAvailable": 1})
    assert "replicas" not in rendered.one("Deployment")["spec"]


def test_the_network_policy_lets_through_what_is_needed() -> None:
    """DNS, the ports of the brokers and the metrics, for Jobs too."""
    rendered = render(kafka={"bootstrapServers": "a:9093, [::1]:9094,b:9093"})
    spec = rendered.one("NetworkPolicy", "-ready")["spec"]
    ports = [[port["port"] for port in rule["ports"]] for rule in spec["egress"]]
    assert ports == [[53, 53, 5353, 5353], [9093, 9094]]
    assert spec["ingress"] == [{"ports": [{"port": 8080, "protocol": "TCP"}]}]
    job = rendered.one("Job")["spec"]["template"]["metadata"]["labels"]
    assert spec["podSelector"]["matchLabels"].items() <= job.items()
    # The Job comes before the policy is there or has new ports, so it brings its own.
    hook = rendered.one("NetworkPolicy", "-topics")
    assert hook["spec"]["podSelector"]["matchLabels"].items() <= job.items()
    assert hook["spec"]["egress"] == spec["egress"]
    annotations = rendered.one("Job")["metadata"]["annotations"]
    ours = hook["metadata"]["annotations"]
    assert ours["helm.sh/hook"] == annotations["helm.sh/hook"]
    assert int(ours["helm.sh/hook-weight"]) < int(annotations["helm.sh/hook-weight"])
