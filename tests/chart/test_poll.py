"""The objects of `poll`: a process, or a CronJob."""

from __future__ import annotations

from tests.chart import bridges
from tests.chart.rendering import render


def test_one_process_polls_all_the_time() -> None:
    """A rollout starts the new poller first: two are harmless, and none would be a gap."""
    rendered = render(**bridges.poll())
    spec = rendered.of("Deployment", "poll")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    (container,) = spec["template"]["spec"]["containers"]
    assert "--once" not in container["args"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert rendered.all("CronJob") == []


def test_a_schedule_runs_one_pass_at_a_time() -> None:
    """A run never overlaps with the next one, and it ends at its deadline."""
    cron = {"schedule": "7 * * * *", "startingDeadlineSeconds": 60, "activeDeadlineSeconds": 1800}
    rendered = render(**bridges.poll(kind="CronJob", cronJob=cron))
    spec = rendered.of("CronJob", "poll")["spec"]
    assert spec["schedule"] == "7 * * * *"
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["startingDeadlineSeconds"] == 60
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (1, 3)
    job = spec["jobTemplate"]["spec"]
    assert (job["backoffLimit"], job["activeDeadlineSeconds"]) == (0, 1800)
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    assert container["args"][-1] == "--once"
    assert "livenessProbe" not in container
    deployments = [it["metadata"]["name"] for it in rendered.all("Deployment")]
    assert deployments == ["events-checkpoint-ready"]


def test_it_writes_to_the_first_input_unless_another_is_named() -> None:
    """As the command without `--topic`."""
    topics = {"inputs": ["a", "b"]}
    for topic, expected in (("", "a"), ("b", "b")):
        rendered = render(**bridges.poll(topic=topic), topics=topics)
        (container,) = rendered.of("Deployment", "poll")["spec"]["template"]["spec"]["containers"]
        assert f"--topic={expected}" in container["args"]
