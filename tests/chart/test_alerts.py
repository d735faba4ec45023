"""The alerts fire when they should and not otherwise, and each has its entry in the runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.chart_tools import promtool
from tests.chart.metrics import misuses
from tests.chart.rendering import CHART, render, render_case

RULES_FILE = CHART / "rules" / "alerts.yaml"
UNIT_TESTS = Path(__file__).with_name("alerts_test.yaml")
RUNBOOK = Path(__file__).parents[2] / "docs" / "operations" / "runbook.md"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES_FILE.read_text())["groups"] for rule in group["rules"]
]


def _promtool(*arguments: str | Path) -> str:
    """Return the output of promtool, followed by its exit code."""
    done = subprocess.run(
        [promtool(), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return f"{done.stdout}{done.stderr}\nexit code {done.returncode}"


@pytest.fixture
def side_by_side(tmp_path: Path) -> Path:
    """Copy the unit tests and the rules into one folder, as promtool requires."""
    shutil.copy(RULES_FILE, tmp_path)
    shutil.copy(UNIT_TESTS, tmp_path)
    return tmp_path


def test_promtool_takes_the_rules() -> None:
    """Every expression and every template parses."""
    said = _promtool("check", "rules", RULES_FILE)
    assert f"SUCCESS: {len(RULES)} rules found" in said
    assert "exit code 0" in said


def test_the_alerts_fire_when_they_should(side_by_side: Path) -> None:
    """`promtool test rules` plays series to them: healthy ones, and a failure of each kind."""
    said = _promtool("test", "rules", side_by_side / UNIT_TESTS.name)
    assert "SUCCESS" in said
    assert "exit code 0" in said


def test_no_alert_can_go_without_its_unit_test_failing(side_by_side: Path) -> None:
    """If no alert ever fires, the unit tests fail for each of them."""
    rules = yaml.safe_load(RULES_FILE.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["expr"] = "vector(1) < 0"
    (side_by_side / RULES_FILE.name).write_text(yaml.safe_dump(rules))
    said = _promtool("test", "rules", side_by_side / UNIT_TESTS.name)
    assert set(re.findall(r"alertname: (\w+)", said)) == {rule["alert"] for rule in RULES}
    assert "exit code 1" in said


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_reads_metrics_that_there_are(rule: dict[str, Any]) -> None:
    """An alert on a renamed metric could never fire."""
    assert misuses(rule["expr"]) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_means_and_where_to_read_on(rule: dict[str, Any]) -> None:
    """Each has a severity, a summary, a description and an anchor that exists."""
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, anchor = rule["annotations"]["runbook_url"].split("#")
    assert page == "docs/operations/runbook.md"
    assert anchor == rule["alert"].lower()
    assert anchor in _anchors(RUNBOOK)


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", it).strip().lower().replace(" ", "-") for it in headings}


def test_the_chart_brings_the_same_rules_with_links_of_its_own() -> None:
    """The PrometheusRule equals the file, except for the URL of the runbook."""
    rule = render_case("production").one("PrometheusRule")
    links = [it["annotations"].pop("runbook_url") for it in rule["spec"]["groups"][0]["rules"]]
    base = "https://runbooks.example/checkpoint-ready/runbook.md#"
    assert links == [base + it["alert"].lower() for it in RULES]
    bare = yaml.safe_load(RULES_FILE.read_text())
    for it in bare["groups"][0]["rules"]:
        del it["annotations"]["runbook_url"]
    assert rule["spec"] == bare
    assert render().all("PrometheusRule") == []
