"""Renders the chart with Helm to objects. Each rendering is cached."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from consumer.config import PREFIX
from dev.chart_tools import helm

CHART = Path(__file__).parents[2] / "helm"
RELEASE, NAMESPACE = "events", "checkpoints"
# One for each way to use the chart.
CASES = sorted(path.name.removesuffix("-values.yaml") for path in CHART.glob("ci/*-values.yaml"))
MINIMAL = {"kafka": {"bootstrapServers": "kafka:9092"}}
KUBE_VERSION = "1.33"
SECRETS = "/etc/checkpoint-ready/secrets"  # of `ingest` and `poll`
TIMEOUT_SECONDS = 60.0
# The safe one in C, where there is one: ten times as quick.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Object = dict[str, Any]


class Refused(Exception):
    """Helm refuses the values. The message is the one that a user sees."""


class Rendering:
    """The objects of one release, by kind and name."""

    def __init__(self, text: str) -> None:
        self.objects: list[Object] = [it for it in yaml.load_all(text, LOADER) if it]

    def all(self, kind: str) -> list[Object]:
        """Return every object of this kind."""
        return [it for it in self.objects if it["kind"] == kind]

    def one(self, kind: str, suffix: str = "") -> Object:
        """Return the only object of this kind whose name ends so."""
        (found,) = [it for it in self.all(kind) if it["metadata"]["name"].endswith(suffix)]
        return found

    def of(self, kind: str, component: str) -> Object:
        """Return the only object of this kind with this component in its labels."""
        label = "app.kubernetes.io/component"
        (found,) = [it for it in self.all(kind) if it["metadata"]["labels"].get(label) == component]
        return found

    def pods(self) -> list[tuple[str, Object]]:
        """Return the name and the spec of everything that becomes a pod."""
        found = []
        for it in self.objects:
            spec: Object = it.get("spec") or {}
            if it["kind"] == "CronJob":
                spec = spec["jobTemplate"]["spec"]
            if it["kind"] in {"Deployment", "Job", "CronJob"}:
                spec = spec["template"]["spec"]
            if "containers" in spec:
                found.append((f"{it['kind']} {it['metadata']['name']}", spec))
        return found

    def settings(self) -> dict[str, str]:
        """Return the environment variables in the ConfigMap."""
        every = [it["data"] for it in self.all("ConfigMap")]
        (data,) = [data for data in every if f"{PREFIX}GROUP_ID" in data]
        return dict(data)


def render(**values: Any) -> Rendering:  # noqa: ANN401 - values of a chart are any
    """Render the chart with these values and the minimal values.

    Raises:
        Refused: Helm refuses them.
    """
    return render_release(RELEASE, **values)


def render_release(release: str, **values: Any) -> Rendering:  # noqa: ANN401 - the same
    """Do the same for a release of this name."""
    every = json.dumps({**MINIMAL, **values}, sort_keys=True)
    return Rendering(_template(helm(), None, every, release))


def render_case(case: str, **values: Any) -> Rendering:  # noqa: ANN401 - the same
    """Render the chart with helm/ci/CASE-values.yaml, and these values on top."""
    return Rendering(_template(helm(), case, json.dumps(values, sort_keys=True)))


def render_with(program: Path, case: str) -> Rendering:
    """Do the same with another Helm, without additional values."""
    return Rendering(_template(program, case, "{}"))


def render_live(program: Path, kubeconfig: Path, **values: Any) -> Rendering:  # noqa: ANN401 - the same
    """Render an upgrade of the release, with the cluster of this kubeconfig."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as extra:
        json.dump({**MINIMAL, **values}, extra)
        extra.flush()
        arguments = ["template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--is-upgrade"]
        arguments += ["--dry-run=server", "--disable-openapi-validation"]
        arguments += ["--kube-version", KUBE_VERSION, "--values", extra.name]
        return Rendering(_run(program, arguments, kubeconfig))


def lint(case: str) -> str:
    """Return the output of `helm lint --strict`. Raise Refused if it finds a problem."""
    return _run(helm(), ["lint", "--strict", str(CHART), "--values", str(_values_file(case))])


def _values_file(case: str) -> Path:
    return CHART / "ci" / f"{case}-values.yaml"


@functools.cache
def _template(program: Path, case: str | None, values: str, release: str = RELEASE) -> str:
    files = [] if case is None else ["--values", str(_values_file(case))]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as extra:
        extra.write(values)
        extra.flush()
        arguments = ["template", release, str(CHART), "--namespace", NAMESPACE, *files]
        # A Helm 3 that `go install` built takes the cluster for a 1.20.
        arguments += ["--kube-version", KUBE_VERSION]
        return _run(program, [*arguments, "--values", extra.name])


def _run(program: Path, arguments: list[str], kubeconfig: Path = Path(os.devnull)) -> str:
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [program, *arguments],
            # Nothing of this person's own Helm or cluster.
            env={"HOME": home, "PATH": os.environ["PATH"], "KUBECONFIG": str(kubeconfig)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    if done.returncode:
        raise Refused(done.stderr + done.stdout)
    return done.stdout
