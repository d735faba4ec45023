"""Upgrades succeed: no immutable field of a Kubernetes object changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.chart.rendering import CASES, Rendering, render_case

if TYPE_CHECKING:
    from tests.chart.rendering import Object

# As the first version made them: `helm template events helm --namespace checkpoints --values …`.
FIRST = Path(__file__).parent / "renderings" / "0.1.0"
# As much as may be changed at once without becoming another release.
CHANGES: dict[str, Any] = {
    "image": {"tag": "9.9.9", "digest": ""},
    "resources": {"limits": {"memory": "4Gi"}},
    "config": {"COMMIT_INTERVAL_MS": 7},
    "extraEnv": {"TZ": "UTC"},
    "httpPort": 9999,
    "podLabels": {"team": "other"},
    "podAnnotations": {"a": "b"},
    "monitoring": {"podMonitor": False, "serviceMonitor": True, "dashboard": True, "rules": True},
    "replay": {"enabled": True, "args": ["--from", "-1h"]},
    "spreadOver": [],
    "terminationGracePeriodSeconds": 90,
}


def _is_hook(item: Object) -> bool:
    return "helm.sh/hook" in item["metadata"].get("annotations", {})


def _immutable(rendered: Rendering) -> dict[tuple[str, str], Any]:
    """Return the immutable fields of each object, by kind and name."""
    found: dict[tuple[str, str], Any] = {}
    for item in rendered.objects:
        spec = item.get("spec") or {}
        kept: Any = None
        if item["kind"] == "Deployment":
            kept = spec["selector"]
        elif item["kind"] == "Service":
            kept = (spec.get("clusterIP"), spec.get("type"))
        elif item["kind"] in {"Secret", "ConfigMap"}:
            kept = (item.get("type"), item.get("immutable"))
        elif item["kind"] == "KafkaTopic":
            kept = (spec["topicName"], spec["partitions"])
        found[item["kind"], item["metadata"]["name"]] = kept
    return found


@pytest.mark.parametrize("case", CASES)
def test_other_values_change_nothing_immutable(case: str) -> None:
    """Every object is kept, and its immutable fields are unchanged."""
    before, after = render_case(case), render_case(case, **CHANGES)
    kept = {key: it for key, it in _immutable(after).items() if key in _immutable(before)}
    lost = _immutable(before).keys() - kept.keys()
    assert {kind for kind, _ in lost} <= {"PodMonitor"}  # a ServiceMonitor stands in its place
    assert kept == {key: it for key, it in _immutable(before).items() if key in kept}
    for old in before.all("Deployment"):
        new = after.one("Deployment", old["metadata"]["name"])
        assert old["spec"]["template"] != new["spec"]["template"]


@pytest.mark.parametrize("path", sorted(FIRST.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_first_version_can_be_upgraded(path: Path) -> None:
    """Every object of the first version is kept, with its immutable fields unchanged."""
    before, after = Rendering(path.read_text()), render_case(path.stem)
    kept = {key: it for key, it in _immutable(after).items() if key in _immutable(before)}
    assert kept == _immutable(before)
    # The old Service must find the new pods, and the old Deployment its own.
    for deployment in before.all("Deployment"):
        pair = [deployment, after.one("Deployment", deployment["metadata"]["name"])]
        for selector in (it["spec"]["selector"]["matchLabels"] for it in pair):
            for labels in (it["spec"]["template"]["metadata"]["labels"] for it in pair):
                assert selector.items() <= labels.items()


def test_there_is_a_first_version_to_compare_with() -> None:
    """The comparison above has something to compare."""
    assert {path.stem for path in FIRST.glob("*.yaml")} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_no_job_outlives_an_upgrade(case: str) -> None:
    """The template of a Job is immutable, so each Job is a hook and recreated."""
    for kind in ("Job", "Pod"):
        for item in render_case(case).all(kind):
            assert _is_hook(item)
            policy = item["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
            assert "before-hook-creation" in policy
