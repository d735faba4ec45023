"""Every object of the chart is valid for Kubernetes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dev.chart_tools import helm_3
from tests.chart.rendering import CASES, lint, render_case, render_with
from tests.chart.schemas import VERSIONS, problems

if TYPE_CHECKING:
    from tests.chart.rendering import Object, Rendering

HELM_3 = helm_3()


@pytest.mark.parametrize("case", CASES)
def test_helm_finds_nothing_to_complain_about(case: str) -> None:
    """`helm lint --strict` passes with the values of every case."""
    assert "0 chart(s) failed" in lint(case)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_every_object_fits_the_schemas_of_kubernetes(case: str, version: str) -> None:
    """No object has an unknown field or a wrong value, in the oldest version and in the newest."""
    wrong = {
        f"{it['kind']} {it['metadata']['name']}": found
        for it in render_case(case).objects
        if (found := problems(it, version))
    }
    assert wrong == {}


def test_a_wrong_object_would_be_noticed() -> None:
    """The check above refuses a misspelt field, of Kubernetes itself and of an operator."""
    production, strimzi = render_case("production"), render_case("strimzi")
    kinds = ("Deployment", "ScaledObject", "PodMonitor", "PrometheusRule")
    items = [*map(production.one, kinds), strimzi.one("KafkaUser"), strimzi.all("KafkaTopic")[0]]
    for item in items:
        assert problems(item, VERSIONS[-1]) == []
        assert problems({**item, "spec": {**item["spec"], "misspelt": 1}}, VERSIONS[-1])


@pytest.mark.parametrize("case", CASES)
def test_every_pod_may_run_in_a_restricted_namespace(case: str) -> None:
    """No root, no capability, no writable root, no token, in the Jobs and the test too."""
    pods = render_case(case).pods()
    assert len(pods) >= 2
    for name, spec in pods:
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"requests", "limits"} <= container["resources"].keys(), name


def _by_name(rendered: Rendering) -> dict[tuple[str, str], Object]:
    return {(it["kind"], it["metadata"]["name"]): it for it in rendered.objects}


if HELM_3 is not None:  # it takes minutes to build: `make chart-tools` says where it is left out

    @pytest.mark.parametrize("case", CASES)
    def test_helm_3_makes_the_same_of_it(case: str) -> None:
        """Helm 3 renders the same objects."""
        assert HELM_3 is not None
        assert _by_name(render_with(HELM_3, case)) == _by_name(render_case(case))
