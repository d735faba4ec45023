"""The environment that a container's spec resolves to. Pure.

What the spec says and this does not know is refused: nothing of the chart is passed over.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cluster.api import Object

    # (kind, name): the object of this name in the pod's namespace
    Lookup = Callable[[str, str], Object]

FIELDS = {
    "metadata.name": ("metadata", "name"),
    "metadata.namespace": ("metadata", "namespace"),
    "metadata.uid": ("metadata", "uid"),
    "spec.nodeName": ("spec", "nodeName"),
    "spec.serviceAccountName": ("spec", "serviceAccountName"),
    "status.podIP": ("status", "podIP"),
    "status.hostIP": ("status", "hostIP"),
}


class Unsupported(Exception):
    """The spec says something that the node agent of the tests cannot do."""


def resolve_environment(pod: Object, container: Object, lookup: Lookup) -> dict[str, str]:
    """Return the variables of envFrom, and over them those of env, as the kubelet does."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        prefix = source.get("prefix", "")
        if "configMapRef" in source:
            data = data_of(lookup("configmaps", source["configMapRef"]["name"]))
        elif "secretRef" in source:
            data = data_of(lookup("secrets", source["secretRef"]["name"]))
        else:
            raise Unsupported(f"envFrom {source}")
        found |= {f"{prefix}{name}": value.decode() for name, value in data.items()}
    for variable in container.get("env", []):
        found[variable["name"]] = _value(pod, variable, lookup)
    if references := [name for name, value in found.items() if "$(" in value]:
        raise Unsupported(f"references to variables in {references}")
    return found


def with_own_port(environment: dict[str, str], container: Object, port: int) -> dict[str, str]:
    """Return the environment with this port wherever a `…_PORT` is that of the container."""
    ports = {str(it["containerPort"]) for it in container.get("ports", [])}
    if len(ports) > 1:
        raise Unsupported("containers of one port only")
    return {
        name: str(port) if name.endswith("_PORT") and value in ports else value
        for name, value in environment.items()
    }


def data_of(item: Object) -> dict[str, bytes]:
    """Return what a ConfigMap or a Secret holds."""
    if item["kind"] == "Secret":
        return {name: base64.b64decode(text) for name, text in item.get("data", {}).items()}
    return {name: text.encode() for name, text in item.get("data", {}).items()}


def _value(pod: Object, variable: Object, lookup: Lookup) -> str:
    source = variable.get("valueFrom")
    if source is None:
        return str(variable.get("value", ""))
    if "fieldRef" in source:
        path = source["fieldRef"]["fieldPath"]
        if path not in FIELDS:
            raise Unsupported(f"fieldPath {path}")
        part, field = FIELDS[path]
        return str(pod[part].get(field, ""))
    for key, kind in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
        if key in source:
            data = data_of(lookup(kind, source[key]["name"]))
            return data[source[key]["key"]].decode()
    raise Unsupported(f"valueFrom {source}")
