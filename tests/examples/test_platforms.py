"""The objects of examples/platforms: valid for the platform's own CRD, and reading committed.

CRDs that no package registry carries are not used here: `NOT_VALIDATED` names their kinds.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer.config import Settings
from dev.chart_crds import dapr_kafka_settings
from dev.chart_fetching import ChartToolMissing
from dev.chart_tools import fetch_all
from schemas.ready_event import READY_TYPE
from tests.chart.schemas import problems

ROOT = Path(__file__).parents[2]
PLATFORMS = ROOT / "examples/platforms"
KUBERNETES = "1.33"
# No registry carries their modules. The CRDs of Argo Events accept every field of `spec` anyway.
NOT_VALIDATED = {"KafkaSource", "EventSource", "Sensor"}
CHECK = "checkpoint-ready subscribers check"
PAGE_LINES = 60
FAKE_KUBECTL = """#!/bin/sh
case $1 in
get) cat "$STATE/config-map.yaml" ;;
replace) cat >"$STATE/replaced.yaml" && mv "$STATE/replaced.yaml" "$STATE/config-map.yaml" ;;
rollout) echo "$2 $3" >>"$STATE/rollouts" ;;
esac
"""

Object = dict[str, Any]


def _load(name: str) -> Object:
    loaded: Object = yaml.safe_load((PLATFORMS / name).read_text())
    return loaded


NAMES = sorted(str(path.relative_to(PLATFORMS)) for path in PLATFORMS.rglob("*.yaml"))
OBJECTS = {name: found for name in NAMES if "kind" in (found := _load(name))}
VALIDATED = [name for name, found in OBJECTS.items() if found["kind"] not in NOT_VALIDATED]


@pytest.fixture(scope="module", autouse=True)
def chart_tools() -> None:
    """Provide the CRDs. `make test` downloads them first."""
    try:
        fetch_all()
    except ChartToolMissing as error:
        pytest.skip(str(error))


def test_objects_of_three_platforms_are_validated() -> None:
    """Otherwise the tests of each one would show nothing."""
    groups = {OBJECTS[name]["apiVersion"].split("/")[0] for name in VALIDATED}
    assert groups == {"dapr.io", "keda.sh", "kafka.strimzi.io"}
    assert {found["kind"] for found in OBJECTS.values()} >= NOT_VALIDATED
    assert set(NAMES) - set(OBJECTS) == {"redpanda-connect/pipeline.yaml"}


@pytest.mark.parametrize("name", VALIDATED)
def test_an_object_is_valid(name: str) -> None:
    """It has only fields of the CRD, with values of their types."""
    assert problems(OBJECTS[name], KUBERNETES) == []


@pytest.mark.parametrize("name", VALIDATED)
def test_a_planted_wrong_field_is_refused(name: str) -> None:
    """The validation that accepts the object notices one field that does not exist."""
    broken = copy.deepcopy(OBJECTS[name])
    broken["spec"]["isolationLevel"] = "read_committed"
    (problem,) = problems(broken, KUBERNETES)
    assert "isolationLevel" in problem


def test_a_planted_wrong_type_is_refused() -> None:
    """KEDA's metadata are strings: the number of partitions needs quotes."""
    broken = _load("keda/scaled-object.yaml")
    broken["spec"]["triggers"][0]["metadata"]["activationLagThreshold"] = 6
    assert problems(broken, KUBERNETES) == [
        "$.spec.triggers[0].metadata.activationLagThreshold: 6 is not of type 'string'"
    ]


def test_each_platform_reads_the_ready_topic() -> None:
    """The default of `OUTPUT_TOPIC` is in the files of each platform."""
    for folder in PLATFORMS.glob("*/"):
        texts = [path.read_text() for path in folder.iterdir() if path.suffix != ".md"]
        assert any(Settings.load({}).output_topic in text for text in texts), folder.name


def test_argo_events_reads_committed() -> None:
    """The client's own configuration is YAML in a string, and 1 is sarama's read committed."""
    (source,) = _load("argo-events/event-source.yaml")["spec"]["kafka"].values()
    assert yaml.safe_load(source["config"]) == {"consumer": {"isolationLevel": 1}}
    (dependency,) = _load("argo-events/sensor.yaml")["spec"]["dependencies"]
    assert (
        dependency["eventSourceName"] == _load("argo-events/event-source.yaml")["metadata"]["name"]
    )


def test_redpanda_connect_reads_committed() -> None:
    """The setting has the default `read_uncommitted`."""
    (settings,) = _load("redpanda-connect/pipeline.yaml")["input"].values()
    assert settings["transaction_isolation_level"] == "read_committed"


def test_redpanda_connect_reads_both_modes_and_filters_by_type() -> None:
    """No registry has its engine: this only shows that the mapping names what it must read."""
    pipeline = _load("redpanda-connect/pipeline.yaml")
    (processor,) = pipeline["pipeline"]["processors"]
    assert f'== "{READY_TYPE}"' in processor["mapping"]
    assert "@ce_specversion" in processor["mapping"]
    headers = pipeline["output"]["http_client"]["headers"]
    assert headers["Idempotency-Key"] == "${! @quoted_id }"
    assert "meta quoted_id = " in processor["mapping"]


def test_the_connector_of_strimzi_is_the_one_that_is_tested() -> None:
    """It differs only in its file from the connector of examples/platforms/kafka-connect."""
    shipped = json.loads((PLATFORMS / "kafka-connect/ready-events.json").read_text())["config"]
    spec = _load("strimzi/kafka-connector.yaml")["spec"]
    config = {name: _as_connect_says(value) for name, value in spec["config"].items()}
    assert {
        **config,
        "connector.class": spec["class"],
        "tasks.max": str(spec["tasksMax"]),
        "file": shipped["file"],
    } == shipped


def _as_connect_says(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_dapr_has_no_setting_that_reads_committed() -> None:
    """If a pinned release has such a setting, the example must use it."""
    described = yaml.safe_load(dapr_kafka_settings().read_text())
    profiles = described["authenticationProfiles"]
    groups = [described["metadata"], *(profile["metadata"] for profile in profiles)]
    known = {setting["name"] for group in groups for setting in group}
    used = {setting["name"] for setting in _load("dapr/pubsub.yaml")["spec"]["metadata"]}
    assert used <= known
    assert not [name for name in known if "isolation" in name.lower()]
    assert "cannot read committed" in (PLATFORMS / "dapr/pubsub.yaml").read_text()


class Knative:
    """The script for Knative with a kubectl that keeps one ConfigMap in a file."""

    def __init__(self, folder: Path, properties: str) -> None:
        self._folder = folder
        kubectl = folder / "kubectl"
        kubectl.write_text(FAKE_KUBECTL)
        kubectl.chmod(0o755)
        data = {"config-kafka-source-consumer.properties": properties}
        (folder / "config-map.yaml").write_text(yaml.safe_dump({"kind": "ConfigMap", "data": data}))

    def run(self) -> int:
        """Run the script and return its exit code."""
        environment = {
            "PATH": f"{self._folder}:{os.environ['PATH']}",
            "STATE": str(self._folder),
        }
        script = str(PLATFORMS / "knative/read-committed.sh")
        return subprocess.run(
            [script], env=environment, capture_output=True, timeout=30, check=False
        ).returncode

    @property
    def properties(self) -> str:
        """The consumer properties in the ConfigMap."""
        found: Object = yaml.safe_load((self._folder / "config-map.yaml").read_text())
        return str(found["data"]["config-kafka-source-consumer.properties"])

    @property
    def restarts(self) -> int:
        """How many times the dispatcher was restarted."""
        rollouts = self._folder / "rollouts"
        lines = rollouts.read_text().splitlines() if rollouts.exists() else []
        return lines.count("restart statefulset/kafka-source-dispatcher")


def test_the_script_for_knative_changes_one_line(tmp_path: Path) -> None:
    """The other properties stay, and a second run changes nothing."""
    before = "fetch.max.bytes=52428800\nisolation.level=read_uncommitted\nmax.poll.records=50\n"
    knative = Knative(tmp_path, before)
    assert knative.run() == 0
    assert knative.properties == before.replace("read_uncommitted", "read_committed")
    assert knative.run() == 0
    assert knative.restarts == 1


def test_the_script_for_knative_fails_if_there_is_no_level(tmp_path: Path) -> None:
    """The default of the Java client would apply, and that is read_uncommitted."""
    knative = Knative(tmp_path, "fetch.max.bytes=52428800\n")
    assert knative.run() == 1
    assert knative.restarts == 0


@pytest.mark.parametrize("folder", sorted(path.name for path in PLATFORMS.glob("*/")))
def test_each_platform_has_a_page_that_says_how_to_check(folder: str) -> None:
    """One page, with the check of the isolation level, and each file of the folder in it."""
    page = (PLATFORMS / folder / "README.md").read_text()
    assert len(page.splitlines()) <= PAGE_LINES
    assert CHECK in page
    files = [path.name for path in (PLATFORMS / folder).iterdir() if path.suffix != ".md"]
    assert [name for name in files if f"`{name}`" not in page and f"({name})" not in page] == []
    assert f"({folder}/README.md)" in (PLATFORMS / "README.md").read_text()
