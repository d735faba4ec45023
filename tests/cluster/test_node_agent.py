"""The node agent of the tests keeps to the kubelet's rules, where no run would show it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.pod_environment import Unsupported, resolve_environment, with_own_port
from tests.cluster.pod_status import backoff_seconds
from tests.cluster.pod_volumes import make_volumes, with_real_paths
from tests.cluster.probe import Probe

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.api import Object

POD: dict[str, Any] = {"metadata": {"name": "pod-1", "namespace": "here"}, "spec": {}}
PORT = 1


def look_up(kind: str, name: str) -> Object:
    """Return what there is in the namespace: settings, and a secret."""
    assert (kind, name) in {("configmaps", "settings"), ("secrets", "login")}
    if kind == "configmaps":
        return {"kind": "ConfigMap", "data": {"LEVEL": "info", "NAME": "settings"}}
    return {"kind": "Secret", "data": {"password": base64.b64encode(b"a secret").decode()}}


def verdicts(answers: str, **counts: int) -> list[bool | None]:
    """Return a probe's verdict after each answer, "+" or "-", one period apart."""
    left = list(answers)
    spec = {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5, **counts}
    probe = Probe(spec, PORT, 0.0, lambda *_: left.pop(0) == "+")
    found = []
    for number in range(len(answers)):
        probe.run_if_due(5.0 * number)
        probe.run_if_due(5.0 * number + 4.9)  # not due
        found.append(probe.verdict)
    return found


def test_a_probe_counts_answers_in_a_row() -> None:
    """One answer of the other kind begins the count anew; without enough the verdict stays."""
    assert verdicts("--+---", failureThreshold=3) == [None, None, True, True, True, False]
    assert verdicts("++-", successThreshold=2) == [None, True, True]


def test_a_probe_waits_for_its_first_time() -> None:
    """Before initialDelaySeconds nobody is asked."""
    spec = {"httpGet": {"path": "/", "port": "http"}, "initialDelaySeconds": 7}
    probe = Probe(spec, PORT, 100.0, lambda *_: True)
    probe.run_if_due(106.9)
    assert probe.verdict is None
    probe.run_if_due(107.0)
    assert probe.verdict is True


def test_an_environment_resolves_as_a_kubelet_does_it() -> None:
    """What env says goes before envFrom; secrets and the downward API are read."""
    container = {
        "envFrom": [{"configMapRef": {"name": "settings"}}],
        "env": [
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {
                "name": "PASSWORD",
                "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}},
            },
            {"name": "EMPTY"},
        ],
    }
    found = resolve_environment(POD, container, look_up)
    assert found == {"LEVEL": "info", "NAME": "pod-1", "PASSWORD": "a secret", "EMPTY": ""}


def test_a_port_of_the_spec_becomes_the_pods_own() -> None:
    """Only what is called a port and holds that of the container is another one."""
    environment = {"HTTP_PORT": "8080", "SIZE": "8080", "OTHER_PORT": "9092"}
    found = with_own_port(environment, {"ports": [{"containerPort": 8080}]}, 20_000)
    assert found == {**environment, "HTTP_PORT": "20000"}


def test_restarts_come_later_and_later() -> None:
    """The first is at once, the others ten seconds apart and more, five minutes at the most."""
    assert [backoff_seconds(count) for count in (0, 1, 2, 3, 20)] == [0, 10, 20, 40, 300]


def test_what_it_does_not_know_is_refused() -> None:
    """A chart that asks for more than the agent can do fails, and is not half obeyed."""
    field = {"fieldRef": {"fieldPath": "metadata.labels['a']"}}
    for container in (
        {"env": [{"name": "A", "valueFrom": field}]},
        {"env": [{"name": "A", "value": "$(B)"}]},
        {"envFrom": [{"other": {"name": "A"}}]},
    ):
        with pytest.raises(Unsupported):
            resolve_environment(POD, container, look_up)
    with pytest.raises(Unsupported):
        Probe({"exec": {"command": ["true"]}}, PORT, 0.0, lambda *_: True)


def test_a_mounted_path_leads_into_its_volume(tmp_path: Path) -> None:
    """The file that a variable names is there, with the mode asked for, and no other is moved."""
    source = {"secret": {"name": "login", "items": [{"key": "password", "path": "password"}]}}
    pod = {
        **POD,
        "spec": {
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {"name": "sasl", "projected": {"defaultMode": 0o440, "sources": [source]}},
            ]
        },
    }
    container = {
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the path in the pod
            {"name": "sasl", "mountPath": "/etc/sasl"},
        ]
    }
    make_volumes(pod, tmp_path, look_up)
    environment = {"FILE": "/etc/sasl/password", "OTHER": "/etc/sasl-2"}
    found = with_real_paths(environment, container, tmp_path)
    assert found["OTHER"] == "/etc/sasl-2"
    assert found["TMPDIR"] == str(tmp_path / "tmp")
    password = tmp_path / "sasl" / "password"
    assert found["FILE"] == str(password)
    assert password.read_text() == "a secret"
    assert password.stat().st_mode & 0o777 == 0o440
