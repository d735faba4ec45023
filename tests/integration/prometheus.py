"""A real Prometheus that scrapes processes of the service, as it scrapes pods in Kubernetes.

The labels that Kubernetes adds to every series (namespace, pod, job) come from the chart's
PodMonitor and Deployment. Rules are loaded with shorter times: a minute becomes a second.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

import yaml

from dev.free_ports import free_ports
from tests.support.child_process import END_SECONDS, ChildProcess
from tests.support.http_client import ask
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.chart.rendering import Object, Rendering

SCRAPE_SECONDS = 1
SECONDS_OF = {"m": 1, "h": 60}
DURATION = re.compile(r"\b(\d+)([mh])\b")


def sped_up(rules: Object) -> Object:
    """Return the rules with minutes changed to seconds, in windows and in `for`."""
    return {
        "groups": [
            {**group, "rules": [rule | _sped_up_durations(rule) for rule in group["rules"]]}
            for group in rules["groups"]
        ]
    }


def _sped_up_durations(rule: Object) -> Object:
    def in_seconds(found: re.Match[str]) -> str:
        return f"{int(found[1]) * SECONDS_OF[found[2]]}s"

    return {key: DURATION.sub(in_seconds, rule[key]) for key in ("expr", "for") if key in rule}


def target_labels(rendered: Rendering, namespace: str, pod: str) -> dict[str, str]:
    """Return the labels that the Prometheus operator adds to the series of a pod."""
    monitor = rendered.one("PodMonitor")["spec"]
    template = rendered.one("Deployment")["spec"]["template"]
    (container,) = template["spec"]["containers"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    labels = template["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert endpoint["port"] in {port["name"] for port in container["ports"]}
    return {
        "namespace": namespace,
        "pod": pod,
        "container": container["name"],
        "endpoint": endpoint["port"],
        "job": labels[monitor["jobLabel"]],
    }


class Prometheus:
    """One Prometheus; a context manager that stops it."""

    def __init__(
        self,
        program: Path,
        folder: Path,
        *,
        rules: Object,
        targets: Mapping[int, Mapping[str, str]],
        path: str,
    ) -> None:
        """Start it with these rules; it scrapes `path` on each port and adds the port's labels."""
        (self._port,) = free_ports(1)
        (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
        interval = f"{SCRAPE_SECONDS}s"
        static = [
            {"targets": [f"127.0.0.1:{port}"], "labels": dict(labels)}
            for port, labels in targets.items()
        ]
        configuration = {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [
                {"job_name": "podMonitor", "metrics_path": path, "static_configs": static}
            ],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
        self._process = ChildProcess(
            [
                str(program),
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ],
            log=folder / "prometheus.log",
        )

    def __enter__(self) -> Self:
        """Wait until the server answers."""
        try:
            wait_until(self._is_ready, what="Prometheus")
        except AssertionError as error:
            tail = self._process.tail()
            self.__exit__()
            raise AssertionError(f"{error}\n{tail}") from None
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the process."""
        self._process.stop(END_SECONDS)
        self._process.close()

    def values(self, query: str) -> list[float]:
        """Return the results of an instant query, a number for each series."""
        found = self._api("query", query=query)["result"]
        return [float(series["value"][1]) for series in found]

    def label_values(self, label: str, series: str) -> list[str]:
        """Return the values of a label on a metric, as a dashboard variable does."""
        found: list[str] = self._api(f"label/{label}/values", **{"match[]": series})
        return found

    def alerts(self, name: str) -> list[Object]:
        """Return the pending and firing alerts of this name."""
        alerts: list[Object] = self._api("alerts")["alerts"]
        return [alert for alert in alerts if alert["labels"]["alertname"] == name]

    def firing(self, name: str) -> list[Object]:
        """Return the firing alerts of this name."""
        return [alert for alert in self.alerts(name) if alert["state"] == "firing"]

    def rules(self) -> list[Object]:
        """Return the loaded rules, each with its health."""
        return [rule for group in self._api("rules")["groups"] for rule in group["rules"]]

    def _is_ready(self) -> bool:
        assert not self._process.has_ended, "Prometheus has ended"
        try:
            return ask(self._port, "/-/ready").status == 200
        except OSError:
            return False

    def _api(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 - any JSON
        answer = ask(self._port, f"/api/v1/{path}?{urlencode(parameters)}")
        assert answer.status == 200, answer.text
        return json.loads(answer.text)["data"]
