"""The service can parse the rendered settings. Secrets are only in allowed places."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from consumer import __version__
from consumer.config import Settings, unknown_variables
from tests.chart.rendering import CASES, CHART, render, render_case

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("case", CASES)
def test_the_service_takes_the_settings(case: str, tmp_path: Path) -> None:
    """The service accepts every rendered environment and knows every name in it."""
    environment = {
        name: _in_place(value, tmp_path) for name, value in render_case(case).settings().items()
    }
    settings = Settings.load(environment)
    assert unknown_variables(environment) == []
    assert settings.http_port == 8080
    assert bool(settings.sasl_mechanism) == settings.security_protocol.startswith("SASL")


def _in_place(value: str, folder: Path) -> str:
    """Write the file that a pod would mount. Return its path."""
    if not value.startswith("/etc/checkpoint-ready/"):
        return value
    path = folder / value.rsplit("/", 1)[1]
    path.write_text("mounted")
    return str(path)


@pytest.mark.parametrize("case", CASES)
def test_every_file_that_a_setting_names_is_mounted(case: str) -> None:
    """Password, user and certificates are at the paths in the environment, in each pod."""
    rendered = render_case(case)
    named = {
        value for value in rendered.settings().values() if value.startswith("/etc/checkpoint-ready")
    }
    for name, spec in rendered.pods():
        (container,) = spec["containers"]
        volumes = {it["name"]: it for it in spec["volumes"]}
        mounted = {
            f"{mount['mountPath']}/{item['path']}"
            for mount in container["volumeMounts"]
            if mount["name"] != "secrets"  # those of `ingest` and `poll`: test_bridges.py
            for source in volumes[mount["name"]].get("projected", {}).get("sources", [])
            for item in source.get("secret", {}).get("items") or [source["serviceAccountToken"]]
        }
        assert mounted == named, name


def test_a_large_number_stays_a_number() -> None:
    """Helm reads 2592000 as a float; the service must not get 2.592e+06."""
    settings = render(config={"DEDUP_WINDOW_SECONDS": 2592000}).settings()
    assert settings["CHECKPOINT_READY_DEDUP_WINDOW_SECONDS"] == "2592000"


def test_a_changed_setting_restarts_the_processes_and_a_new_chart_does_not() -> None:
    """The pod template changes only if the settings or the credentials change."""
    before = render().one("Deployment")["spec"]["template"]
    changed = render(config={"LOG_LEVEL": "debug"}).one("Deployment")["spec"]["template"]
    assert before["metadata"]["annotations"] != changed["metadata"]["annotations"]
    assert render(replicas=3).one("Deployment")["spec"]["template"] == before
    assert "helm.sh/chart" not in before["metadata"]["labels"]
    with_password = [
        render_case("hpa", kafka={"sasl": {"password": password}}).one("Deployment")
        for password in ("one", "two")
    ]
    checksums = [it["spec"]["template"]["metadata"]["annotations"] for it in with_password]
    assert checksums[0]["checksum/login"] != checksums[1]["checksum/login"]


def test_a_password_stands_in_secrets_only() -> None:
    """It is in no ConfigMap, no argument and no environment."""
    rendered = render_case("hpa")
    encoded = base64.b64encode(b"a secret").decode()
    holders = [
        f"{it['kind']} {it['metadata']['name']}"
        for it in rendered.objects
        if "a secret" in str(it) or encoded in str(it)
    ]
    assert holders == ["Secret ready-sasl", "Secret ready-topics"]


def test_the_release_is_that_of_the_code() -> None:
    """The default image is the one of this version."""
    chart: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
    (container,) = render().one("Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"checkpoint-ready:{__version__}"


@pytest.mark.parametrize(
    ("given", "rendered"), [(0.1, "0.1"), (2_592_000, "2592000"), (2e6, "2000000"), ("x", "x")]
)
def test_numbers_stay_what_they_are(given: object, rendered: str) -> None:
    """Helm reads every number as a float. No number is truncated or gets an exponent."""
    container = render(extraEnv={"ANY": given}).one("Deployment")["spec"]["template"]["spec"]
    environment = {it["name"]: it.get("value") for it in container["containers"][0]["env"]}
    assert environment["ANY"] == rendered
