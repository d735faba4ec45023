"""Translates the pods of the Helm chart to podman: user, privileges, mounts, settings, probes.

Helm renders the chart. Each setting of a pod's securityContext becomes an option of podman. A
setting without a translation is an error, because the test must be as strict as a cluster.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

from dev.chart_tools import helm
from dev.image_base import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHART: Final = Path(__file__).resolve().parent.parent / "helm"
RENDER_SECONDS: Final = 60
UNITS: Final = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}
PROBES: Final = ("startupProbe", "livenessProbe", "readinessProbe")

Object = dict[str, Any]


class Pod(NamedTuple):
    """One pod: the options of podman, and the addresses of its probes."""

    options: list[str]
    environment: dict[str, str]
    arguments: list[str]
    may_write: list[str]
    port: int
    probes: list[str]


class ChartPods(NamedTuple):
    """The pods of an install: first the Job that creates the topics, then the service."""

    name: str
    topics: Pod
    service: Pod
    metrics_path: str


def chart_pods(values: Mapping[str, Any], name: str) -> ChartPods:
    """Return the pods of the chart with these values. `name` is the name of the pod.

    Raises:
        ImageError: Helm refuses the values, or a pod has a setting without a translation.
    """
    objects = _render(values)
    (settings,) = (it["data"] for it in objects if it["kind"] == "ConfigMap")
    pods = {}
    for kind in ("Job", "Deployment"):
        (found,) = (it for it in objects if it["kind"] == kind)
        pods[kind] = _pod(found["spec"]["template"]["spec"], settings, name)
    (monitor,) = (it for it in objects if it["kind"] == "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    return ChartPods(name, pods["Job"], pods["Deployment"], endpoint["path"])


def _render(values: Mapping[str, Any]) -> list[Object]:
    with tempfile.TemporaryDirectory() as home:
        file = Path(home, "values.json")
        file.write_text(json.dumps(values), encoding="utf-8")
        done = subprocess.run(  # noqa: S603 - our own arguments
            [helm(), "template", "image-test", CHART, "--values", file],
            env={"HOME": home},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RENDER_SECONDS,
            check=False,
        )
    if done.returncode != 0:
        raise ImageError(f"helm: {done.stderr}")
    return [it for it in yaml.safe_load_all(done.stdout) if it]


def _pod(spec: Object, settings: Mapping[str, str], name: str) -> Pod:
    (container,) = spec["containers"]
    mounts = dict(_writable(spec, container))
    ports = [port["containerPort"] for port in container.get("ports", [])]
    # podman reads an entrypoint of several words as a JSON list.
    entrypoint = json.dumps(container["command"])
    return Pod(
        options=[
            *_identity(dict(spec["securityContext"])),
            *_confinement(dict(container["securityContext"])),
            *(f"--tmpfs={path}:{options}" for path, options in mounts.items()),
            f"--entrypoint={entrypoint}",
        ],
        environment=_environment(container, settings, name),
        arguments=list(container["args"]),
        may_write=list(mounts),
        port=ports[0] if ports else 0,
        probes=[container[probe]["httpGet"]["path"] for probe in PROBES if probe in container],
    )


def _identity(context: Object) -> Iterator[str]:
    """Translate the securityContext of a pod."""
    if not context.pop("runAsNonRoot") or not context.get("runAsUser"):
        raise ImageError("the chart sets no user for the service, or sets root")
    yield f"--user={context.pop('runAsUser')}:{context.pop('runAsGroup')}"
    yield f"--group-add={context.pop('fsGroup')}"
    # RuntimeDefault is also the default of podman, so it needs no option.
    if context.pop("seccompProfile") != {"type": "RuntimeDefault"} or context:
        raise ImageError(f"the pod has settings that this test does not support: {context}")


def _confinement(context: Object) -> Iterator[str]:
    """Translate the securityContext of a container."""
    if context.pop("allowPrivilegeEscalation") is False:
        yield "--security-opt=no-new-privileges"
    if context.pop("readOnlyRootFilesystem"):
        yield "--read-only"
        yield "--read-only-tmpfs=false"
    for capability in context.pop("capabilities")["drop"]:
        yield f"--cap-drop={capability.lower()}"
    if context:
        raise ImageError(f"the container has settings that this test does not support: {context}")


def _writable(spec: Object, container: Object) -> Iterator[tuple[str, str]]:
    """Yield path and options of each writable mount. Other mounts are not supported."""
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        if "emptyDir" not in volume:
            raise ImageError(f"the chart has a mount that this test does not support: {volume}")
        size = _bytes(volume["emptyDir"]["sizeLimit"])
        yield mount["mountPath"], f"rw,nosuid,nodev,size={size},mode=1777"


def _environment(container: Object, settings: Mapping[str, str], name: str) -> dict[str, str]:
    found = dict(settings) if "envFrom" in container else {}
    for variable in container.get("env", []):
        # The name is the only field that the chart passes to the pod.
        found[variable["name"]] = variable.get("value", name)
    return found


def _bytes(quantity: str) -> int:
    found = re.fullmatch(r"(\d+)(Ki|Mi|Gi)", quantity)
    if found is None:
        raise ImageError(f"a size that this test does not support: {quantity}")
    return int(found[1]) * UNITS[found[2]]
