"""The release under test: its namespace, its values, and what the API server says to the chart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from dev.chart_crds import custom_resource_definitions
from dev.chart_tools import helm, helm_3
from tests.chart.rendering import CASES, CHART, render_case
from tests.chart.rendering import RELEASE as EXAMPLE
from tests.cluster.kubernetes_tools import NAMESPACE, Refused
from tests.support.secured_kafka import MECHANISM, PASSWORD
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.api import Object
    from tests.cluster.kubernetes_tools import KubernetesTools
    from tests.support.topics import Names

RELEASE = "checkpoint-ready"  # of its objects too, and of the labels of its pods
REPOSITORY = "registry.example/checkpoint-ready"
FIRST_TAG, SECOND_TAG = "0.1.0", "0.1.1"
SHARDS = 6
USER = "checkpoint-ready"
INSTANCE = "app.kubernetes.io/instance"
PODS = f"--selector=app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=service"
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
CREDULOUS_POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "credulous"},
    "spec": {"containers": [{"name": "it", "image": "it"}]},
}
# What a change of the second release is seen by, in the environment of its containers.
CHANGED_SETTING = ("CHECKPOINT_READY_COMMIT_INTERVAL_MS", "50")


def values(names: Names, bootstrap_servers: str) -> dict[str, Any]:
    """Return the values: a login, and of the objects as many kinds as one release may have.

    No KEDA runs, so replicas are set by hand, as it would set them.
    """
    return {
        "image": {"repository": REPOSITORY, "tag": FIRST_TAG},
        "shards": SHARDS,
        "groupId": names.group(),
        "kafka": {
            "bootstrapServers": bootstrap_servers,
            "securityProtocol": "SASL_PLAINTEXT",
            "sasl": {"mechanism": MECHANISM, "username": USER, "password": PASSWORD},
        },
        "topics": {
            "inputs": [names.topic("input")],
            "output": names.topic("ready"),
            "deadLetters": names.topic("dead-letters"),
        },
        "keda": {"enabled": True},
        "monitoring": {"podMonitor": True, "rules": True, "dashboard": True},
        "replay": {"enabled": True},
    }


def changed(original: dict[str, Any]) -> dict[str, Any]:
    """Return the values of an upgrade: another image, another setting."""
    name, value = CHANGED_SETTING
    setting = name.removeprefix("CHECKPOINT_READY_")
    image = {**original["image"], "tag": SECOND_TAG}
    return {**original, "image": image, "config": {setting: int(value)}}


def chart_arguments(chosen: dict[str, Any], folder: Path) -> list[str]:
    """Return what `helm install` and `helm upgrade` are called with."""
    path = folder / "values.json"
    path.write_text(json.dumps(chosen))
    return [RELEASE, str(CHART), f"--values={path}", "--wait", "--timeout=4m"]


def prepare_cluster(tools: KubernetesTools) -> None:
    """Make the operators' resources known, and the namespace, which is restricted."""
    files = [f"--filename={path}" for path in custom_resource_definitions()]
    tools.kubectl("apply", "--server-side", *files)
    # Not `kubectl wait`: it ends with an error on one that has no conditions yet.
    wait_until(lambda: _are_established(tools.get("crd")), 60, what="the resources of operators")
    tools.kubectl("create", "namespace", NAMESPACE)
    tools.kubectl("wait", "serviceaccount/default", "--for=create", "--timeout=180s")
    labels = [f"{name}={value}" for name, value in RESTRICTED.items()]
    tools.kubectl("label", "namespace", NAMESPACE, *labels)


def _are_established(definitions: list[Object]) -> bool:
    return all(
        any(
            condition["type"] == "Established" and condition["status"] == "True"
            for condition in definition.get("status", {}).get("conditions") or []
        )
        for definition in definitions
    )


def require_restriction(tools: KubernetesTools) -> None:
    """Show that the namespace refuses a pod that does not give up its privileges."""
    try:
        tools.kubectl("create", "--filename=-", text=json.dumps(CREDULOUS_POD))
    except Refused as error:
        if 'violates PodSecurity "restricted' in str(error):
            return
        raise
    raise AssertionError("the namespace takes a pod that keeps its privileges")


def require_fixed_shards(tools: KubernetesTools) -> None:
    """Show that the chart does not enlarge a changelog that it finds on the cluster."""
    changelog = render_case("strimzi").one("KafkaTopic", "-changelog")
    tools.kubectl("apply", "--server-side", "--filename=-", text=json.dumps(changelog))
    shards = changelog["spec"]["partitions"] * 2
    more = f"--set=shards={shards},strimzi.createdShards={shards}"
    example = f"--values={CHART / 'ci' / 'strimzi-values.yaml'}"
    try:
        tools.helm("install", EXAMPLE, str(CHART), example, more, "--dry-run=server")
    except Refused as error:
        if "which must never change" not in str(error):
            raise
    else:
        raise AssertionError("the chart would enlarge a changelog")
    finally:
        tools.kubectl("delete", "kafkatopic", changelog["metadata"]["name"])


def require_kept_replicas(tools: KubernetesTools) -> None:
    """Show that a number that others decide about stays what it is, whoever has set it.

    An autoscaler scales as `kubectl scale` does, by the scale subresource. No pod of these releases
    ever runs: the question is what Helm makes of the Deployment.
    """
    programs = {"kept": helm(), "kept-by-helm-3": helm_3()}
    for name, program in programs.items():
        if program is None:
            continue
        tools.helm("install", name, *_unscheduled(replicas=3), program=program)
        steps: list[tuple[dict[str, Any], int | None]] = [
            ({"hpa.enabled": "true"}, None),
            ({"keda.enabled": "true", "httpPort": 8081}, 5),
            ({"replicas": "null"}, None),
            ({"replicas": "null", "httpPort": 8081}, 4),
        ]
        expected = 3
        for changes, scaled_to in steps:
            (deployment,) = tools.get("deployment", f"--selector={INSTANCE}={name}")
            if scaled_to is not None:
                expected = scaled_to
                target = f"deployment/{deployment['metadata']['name']}"
                tools.kubectl("scale", target, f"--replicas={scaled_to}")
            tools.helm("upgrade", name, *_unscheduled(**changes), program=program)
            (deployment,) = tools.get("deployment", f"--selector={INSTANCE}={name}")
            assert deployment["spec"]["replicas"] == expected, (name, changes)
        tools.helm("uninstall", name, program=program)
        # Where an autoscaler decides from the beginning on, a rollback keeps the number too.
        scaled = [f"{name}-by-others", *_unscheduled(**{"hpa.enabled": "true"})]
        tools.helm("install", *scaled, program=program)
        (deployment,) = tools.get("deployment", f"--selector={INSTANCE}={scaled[0]}")
        target = f"deployment/{deployment['metadata']['name']}"
        tools.kubectl("scale", target, "--replicas=4")
        tools.helm("upgrade", *scaled, "--set=httpPort=8081", program=program)
        tools.helm("rollback", scaled[0], "1", program=program)
        (deployment,) = tools.get("deployment", f"--selector={INSTANCE}={scaled[0]}")
        assert deployment["spec"]["replicas"] == 4, name
        tools.helm("uninstall", scaled[0], program=program)


def _unscheduled(**more: object) -> list[str]:
    """Return the arguments for a release that no node takes, with these values more."""
    given = {
        "kafka.bootstrapServers": "kafka:9092",
        "topics.create": "false",
        "shards": SHARDS,
        "nodeSelector.nowhere": "here",
        **more,
    }
    return [str(CHART), *(f"--set={name}={value}" for name, value in given.items())]


def accept_examples(tools: KubernetesTools) -> int:
    """Let the API server judge helm/ci/*-values.yaml strictly; return how many objects it took.

    A warning fails too: of a Deployment whose pods would be refused nothing else is said.
    """
    count = 0
    for case in CASES:
        rendering = render_case(case)
        pods = [spec for _, spec in rendering.pods()]
        pods += [pod["spec"] for pod in rendering.all("Pod")]
        _provide_for(tools, pods)
        text = yaml.safe_dump_all(rendering.objects)
        said = tools.kubectl(
            "apply",
            "--server-side",
            "--dry-run=server",
            "--validate=strict",
            "--filename=-",
            text=text,
        )
        if said.complaints:
            raise AssertionError(f"{case}: {said.complaints}")
        count += len(said.output.splitlines())
    return count


def _provide_for(tools: KubernetesTools, pods: list[dict[str, Any]]) -> None:
    """Make what pods must find: their account and their priority."""
    accounts = {pod["serviceAccountName"] for pod in pods} - {"default"}
    items: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        for name in sorted(accounts)
    ]
    items += [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": 1,
        }
        for name in sorted({pod["priorityClassName"] for pod in pods if "priorityClassName" in pod})
    ]
    if items:
        text = yaml.safe_dump_all(items)
        tools.kubectl("apply", "--server-side", "--filename=-", text=text)
