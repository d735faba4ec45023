"""The schemas of Kubernetes, of several versions, and of the operators' CRDs, all strict.

Strict means that an unknown field is an error, as it is for an API server with server-side apply.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
from typing import Any

import jsonschema
import referencing
import yaml

from dev.chart_crds import custom_resource_definitions
from tests.chart.rendering import LOADER

# From the oldest that the chart allows to the newest that there is.
VERSIONS = ("1.27", "1.30", "1.33", "1.37")
Schema = dict[str, Any]


def problems(item: Schema, version: str) -> list[str]:
    """Return the schema errors of this object for this version of Kubernetes."""
    group = item["apiVersion"].split("/")[0]
    validator = _custom(item["apiVersion"], item["kind"]) if "." in group else None
    if validator is None:
        validator = _built_in(item["apiVersion"], item["kind"], version)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(item)]


@functools.cache
def _built_in(api_version: str, kind: str, version: str) -> Any:  # noqa: ANN401 - it has no types
    # networking.k8s.io/v1 is in the file of networking-v1.
    group, _, number = api_version.rpartition("/")
    name = f"{kind.lower()}-{group.split('.')[0] + '-' if group else ''}{number}.json"
    folder = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema"
    (strict,) = (
        it
        for it in folder.iterdir()
        if it.name.startswith(f"v{version}.") and it.name.endswith("-local-strict")
    )
    schema = json.loads((strict / name).read_text())
    return jsonschema.Draft202012Validator(schema, registry=_definitions(str(strict)))


@functools.cache
def _definitions(folder: str) -> Any:  # noqa: ANN401 - the same
    with open(f"{folder}/_definitions.json", encoding="utf-8") as file:  # noqa: PTH123 - a name
        definitions = referencing.Resource.from_contents(json.load(file))
    return definitions @ referencing.Registry()


@functools.cache
def _custom_schemas() -> dict[tuple[str, str], Schema]:
    found = {}
    for path in custom_resource_definitions():
        spec = yaml.load(path.read_text(), LOADER)["spec"]  # noqa: S506 - it is the safe one
        for version in spec["versions"]:
            key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
            found[key] = _strict(version["schema"]["openAPIV3Schema"])
    return found


@functools.cache
def _custom(api_version: str, kind: str) -> Any:  # noqa: ANN401 - the same
    schema = _custom_schemas().get((api_version, kind))
    return None if schema is None else jsonschema.Draft202012Validator(schema)


def _strict(schema: Schema, *, is_root: bool = True) -> Schema:
    """Return a JSON Schema that refuses what the API server would prune."""
    strict = dict(schema)
    if schema.get("x-kubernetes-int-or-string"):
        strict["type"] = ["integer", "string"]
    if "properties" in schema:
        strict["properties"] = {
            name: _strict(inner, is_root=False) for name, inner in schema["properties"].items()
        }
        if is_root:
            strict["properties"]["metadata"] = {"type": "object"}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            strict.setdefault("additionalProperties", False)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            strict[name] = _strict(schema[name], is_root=False)
    return strict
