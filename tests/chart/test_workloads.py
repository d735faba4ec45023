"""Processes, Jobs and the test pod run as they should."""

from __future__ import annotations

from consumer.service import event_loop_watchdog
from consumer.worker import engine
from tests.chart.rendering import render, render_case


def test_a_pod_is_a_static_member_by_its_name() -> None:
    """A restarted container gets its shards back at once. A Job is not a member."""
    rendered = render()
    (container,) = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [
        {
            "name": "CHECKPOINT_READY_GROUP_INSTANCE_ID",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
        }
    ]
    assert "GROUP_INSTANCE_ID" not in str(rendered.one("Job"))


def test_the_kubelet_waits_longer_than_an_end_may_take() -> None:
    """The shortest grace period that the chart allows exceeds the limits in the code."""
    bound = engine.LOOPS_END_SECONDS + engine.END_SECONDS
    bound += event_loop_watchdog.SHUTDOWN_SECONDS + event_loop_watchdog.WRITE_SECONDS
    assert bound == 35  # what the refusal and the values say
    spec = render(terminationGracePeriodSeconds=40)
    pod = spec.one("Deployment")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > bound


def test_probes_ask_the_port_of_the_service() -> None:
    """Each probe has its own path, on the port in HTTP_PORT."""
    rendered = render(httpPort=9000)
    (container,) = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": 9000}]
    assert rendered.settings()["CHECKPOINT_READY_HTTP_PORT"] == "9000"
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness")}
    probes["readiness"] = container["readinessProbe"]["httpGet"]
    assert probes == {
        "startup": {"path": "/startupz", "port": "http"},
        "liveness": {"path": "/livez", "port": "http"},
        "readiness": {"path": "/readyz", "port": "http"},
    }
    assert rendered.one("Service")["spec"]["ports"][0]["port"] == 9000


def test_the_job_before_an_install_needs_nothing_of_the_release() -> None:
    """The hook runs first, so it has its own settings and Secret and the default account."""
    rendered = render_case("hpa", serviceAccount={"create": True})
    job = rendered.one("Job", "-topics")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == ["topics", "create", "--input-partitions=6"]
    assert "envFrom" not in container
    assert {it["name"]: it["value"] for it in container["env"]} == rendered.settings()
    assert pod["serviceAccountName"] == "default"
    own = [rendered.one("Secret", "-topics"), job]
    for it in own:
        annotations = it["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
        # A Job's template is immutable: each upgrade makes a new one.
        assert "before-hook-creation" in annotations["helm.sh/hook-delete-policy"]
    weights = [int(it["metadata"]["annotations"]["helm.sh/hook-weight"]) for it in own]
    assert weights == sorted(weights)
    secrets = {
        source["secret"]["name"]
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
    }
    assert secrets == {"ready-topics", "client"}


def test_the_topics_job_can_be_left_out() -> None:
    """Without topics.create there is no Job."""
    assert render(topics={"create": False}).all("Job") == []


def test_a_replay_waits_to_be_started() -> None:
    """The CronJob never runs by itself, has the arguments of the values and its own login."""
    cron_job = render_case("replay").one("CronJob")["spec"]
    assert cron_job["suspend"] is True
    pod = cron_job["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == ["replay", "--from", "-48h", "--name", "for-search", "--execute"]
    (sasl,) = [volume for volume in pod["volumes"] if volume["name"] == "sasl"]
    secrets = {it["secret"]["name"] for it in sasl["projected"]["sources"]}
    assert secrets == {"replay-login"}


def test_helm_test_checks_the_topics() -> None:
    """`helm test` runs `topics check` with the settings and the account of the release."""
    pod = render().one("Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    (container,) = pod["spec"]["containers"]
    assert container["args"] == ["topics", "check"]
    assert container["envFrom"] == [{"configMapRef": {"name": "events-checkpoint-ready"}}]


def test_a_job_is_no_member_of_the_service() -> None:
    """Service, budget, monitor and Deployment select the processes only."""
    rendered = render_case("replay", monitoring={"podMonitor": True})
    selectors = [
        rendered.one("Deployment")["spec"]["selector"]["matchLabels"],
        rendered.one("Service")["spec"]["selector"],
        rendered.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        rendered.one("PodMonitor")["spec"]["selector"]["matchLabels"],
    ]
    process = rendered.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    others = [
        rendered.one("Job")["spec"]["template"]["metadata"]["labels"],
        rendered.one("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"],
        rendered.one("Pod")["metadata"]["labels"],
    ]
    for selector in selectors:
        assert selector.items() <= process.items()
        assert not any(selector.items() <= other.items() for other in others)
