"""Every query of the dashboard parses and reads existing metrics of the service and bridges."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import yaml

from consumer.metric import PREFIX
from dev.chart_tools import promtool
from dev.metrics_table import COMMANDS
from tests.chart.metrics import LABELS, misuses, used_metrics
from tests.chart.rendering import CHART, render, render_case

if TYPE_CHECKING:
    from pathlib import Path

DASHBOARD: dict[str, Any] = json.loads((CHART / "dashboards" / "checkpoint-ready.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_every_query_parses(tmp_path: Path) -> None:
    """Promtool reads each as a rule, with Grafana's own variables filled in."""
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(QUERIES)
    ]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        [promtool(), "check", "rules", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(QUERIES)} rules found" in done.stdout


def test_every_query_reads_metrics_that_there_are() -> None:
    """No panel uses a name, label or label value that the service does not have."""
    assert {query: misuses(query) for query in QUERIES if misuses(query)} == {}


def test_every_metric_is_shown() -> None:
    """Every metric is on the dashboard."""
    assert {name for query in QUERIES for name in used_metrics(query)} == LABELS.keys()


def test_a_bridge_alone_can_be_chosen() -> None:
    """The variables find the namespace and the job of a bridge without a service beside it."""
    variables = {it["name"]: it["query"] for it in DASHBOARD["templating"]["list"]}
    for name in ("namespace", "job"):
        (words,) = re.findall(rf'__name__=~"{PREFIX}\(([\w|]+)\)"', variables[name]["query"])
        metrics = set(words.split("|"))
        assert metrics <= LABELS.keys()
        assert all(metrics & {metric.name for metric in listed} for listed in COMMANDS.values())


def test_a_wrong_query_would_be_noticed() -> None:
    """The checks above refuse an unknown metric, label and word."""
    assert misuses("checkpoint_ready_lag") == ["there is no metric lag"]
    assert misuses('checkpoint_ready_lag_records{shard="1"}') == ["lag_records has no label shard"]
    assert misuses('checkpoint_ready_shards{state="dead"}') == ["state is never dead"]
    wrong = 'checkpoint_ready_ingest_requests_total{status=~"500|502"}'
    assert misuses(wrong) == ["status is never 502"]
    assert misuses("sum by (topic) (checkpoint_ready_shards)") == ["nothing has a label topic"]


def test_panels_are_told_apart_and_explained() -> None:
    """Each panel has its own id, title, description and position, and filters by release."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    assert all(panel["description"].endswith(".") for panel in PANELS)
    assert all('namespace=~"$namespace", job=~"$job"' in query for query in QUERIES)


def test_the_chart_brings_the_dashboard() -> None:
    """Grafana's sidecar finds it by its label."""
    (config,) = [
        it
        for it in render_case("production").all("ConfigMap")
        if "dashboard" in str(it["metadata"])
    ]
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(config["data"]["checkpoint-ready.json"]) == DASHBOARD
    assert len(render().all("ConfigMap")) == 1
