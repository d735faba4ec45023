"""`make image-test` gives podman the same settings as the chart gives Kubernetes."""

from __future__ import annotations

import pytest

from dev.image_base import ImageError
from dev.image_chart import chart_pods
from tests.chart.rendering import MINIMAL, render

VALUES = {**MINIMAL, "monitoring": {"podMonitor": True}}


def test_podman_gets_the_rights_of_the_chart() -> None:
    """User, root file system, privileges, capabilities and mounts are those of both pods."""
    pods = chart_pods(VALUES, "pod-0")
    for pod in (pods.topics, pods.service):
        assert pod.options == [
            "--user=10001:10001",
            "--group-add=10001",
            "--security-opt=no-new-privileges",
            "--read-only",
            "--read-only-tmpfs=false",
            "--cap-drop=all",
            "--tmpfs=/tmp:rw,nosuid,nodev,size=268435456,mode=1777",
            '--entrypoint=["checkpoint-ready"]',
        ]
        assert pod.may_write == ["/tmp"]  # noqa: S108 - a path of the chart
    assert (pods.topics.arguments, pods.service.arguments) == (["topics", "create"], ["run"])


def test_podman_gets_the_settings_and_probes_of_the_chart() -> None:
    """The pod is a static member by its name, as in Kubernetes."""
    pods = chart_pods(VALUES, "pod-0")
    settings = render().settings()
    name = {"CHECKPOINT_READY_GROUP_INSTANCE_ID": "pod-0"}
    assert pods.topics.environment == settings
    assert pods.service.environment == settings | name
    assert pods.service.probes == ["/startupz", "/livez", "/readyz"]
    assert (pods.service.port, pods.metrics_path) == (8080, "/metrics")


def test_settings_that_podman_cannot_run_are_refused() -> None:
    """A user chosen by the platform and mounted credentials are not supported."""
    with pytest.raises(ImageError, match="sets no user"):
        chart_pods({**VALUES, "runAsUser": None}, "pod-0")
    sasl = {"mechanism": "SCRAM-SHA-512", "existingSecret": "login"}
    kafka = {**MINIMAL["kafka"], "securityProtocol": "SASL_PLAINTEXT", "sasl": sasl}
    with pytest.raises(ImageError, match="a mount that this test"):
        chart_pods({**VALUES, "kafka": kafka}, "pod-0")
