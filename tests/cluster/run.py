"""One run: a control plane, nodes and a Kafka; the release through all steps; then the verdict."""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.cluster.control_plane import AGENT, ControlPlane
from tests.cluster.image import make_image
from tests.cluster.kubernetes_tools import KubernetesTools, Refused
from tests.cluster.node_agent import NodeAgent
from tests.cluster.release import (
    FIRST_TAG,
    REPOSITORY,
    SECOND_TAG,
    SHARDS,
    USER,
    accept_examples,
    prepare_cluster,
    require_fixed_shards,
    require_kept_replicas,
    require_restriction,
    values,
)
from tests.cluster.report import HEAD, Report, StepReport, row
from tests.cluster.steps import Release
from tests.cluster.traffic import Traffic
from tests.support.secured_kafka import SASL, Acl, SecuredKafka
from tests.support.topics import Names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NODES = ("node-1", "node-2", "node-3", "node-4")
QUIET_SECONDS = 4.0


class StepFailed(Exception):
    """A step did not do what it should; the message says what kubectl shows."""


def run(folder: Path, say: Callable[[str], None]) -> Report:
    """Carry out a run; nothing keeps running, however it ends.

    1. Start a Kafka with logins, the control plane and the nodes.
    2. Let the API server judge every example of the chart, and refuse a pod without restrictions.
    3. Let records flow, and take the release through every step.
    4. Judge, and uninstall.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        (folder / "kafka").mkdir()
        secured = SecuredKafka(folder / "kafka")  # 1.
        stack.enter_context(secured.kafka)
        names = Names(f"cluster-{uuid.uuid4().hex[:6]}")
        _provide_input(secured, names)
        say("starting a control plane …")
        plane_folder = folder / "control-plane"
        plane_folder.mkdir()
        plane = stack.enter_context(ControlPlane(plane_folder))
        tools = KubernetesTools(plane.kubeconfig, plane_folder)
        _admit_agent(tools)
        images = [
            make_image(f"{REPOSITORY}:{tag}", tag, folder / "images" / tag)
            for tag in (FIRST_TAG, SECOND_TAG)
        ]
        agent = stack.enter_context(NodeAgent(plane.api(AGENT), NODES, images, folder / "pods"))
        tools.require_alive = agent.require_alive
        prepare_cluster(tools)
        require_restriction(tools)  # 2.
        require_fixed_shards(tools)
        require_kept_replicas(tools)
        accepted = accept_examples(tools)
        say(f"it runs after {time.monotonic() - began:.1f} s; it takes {accepted} example objects")
        traffic = stack.enter_context(Traffic(secured.cluster(), names))  # 3.
        chosen = values(names, secured.kafka.listener(SASL))
        release = Release(tools, agent, chosen, folder, *images)
        course = Course(tools, agent, traffic, say)
        for name, step in steps_of(release).items():
            course.take(name, step)
        plane.require_alive()
        verdict = traffic.finish()  # 4.
        course.do("helm uninstall --wait", release.uninstall)
        return Report(course.reports, verdict, accepted, time.monotonic() - began)


def steps_of(release: Release) -> dict[str, Callable[[], None]]:
    """Return the steps in their order."""
    return {
        "helm install --wait": release.install,
        "helm test": release.test,
        "nothing": _let_time_pass,
        "scale to 4": lambda: release.scale(4),
        "scale to 2": lambda: release.scale(2),
        "helm upgrade --wait": release.upgrade,
        "helm rollback --wait": release.roll_back,
        "drain of two nodes": release.drain,
        "a pod deleted": release.delete_pod,
        "a container killed": release.kill_container,
    }


def _let_time_pass() -> None:
    """Do nothing: what the gaps are without it."""
    threading.Event().wait(QUIET_SECONDS)


class Course:
    """Takes steps, measures them, and tells of the one that fails what there is to see."""

    def __init__(
        self,
        tools: KubernetesTools,
        agent: NodeAgent,
        traffic: Traffic,
        say: Callable[[str], None],
    ) -> None:
        self.reports: list[StepReport] = []
        self._tools = tools
        self._agent = agent
        self._traffic = traffic
        self._say = say
        say(HEAD)

    def take(self, name: str, step: Callable[[], None]) -> None:
        """Take a step; it is over when all that came in meanwhile is published."""
        began = time.monotonic()
        seconds = self.do(name, step)
        self.do(name, self._traffic.settle)
        gaps = self._traffic.longest_gaps(began, time.monotonic())
        self.reports.append(StepReport(name, seconds, *gaps))
        self._say(row(self.reports[-1]))

    def do(self, name: str, step: Callable[[], None]) -> float:
        """Take a step, under no load that is measured; return how many seconds it took."""
        began = time.monotonic()
        try:
            step()
            self._agent.require_alive()
        except (AssertionError, Refused) as error:
            self._tools.require_alive = lambda: None
            seen = f"{self._tools.explain()}\n{self._agent.logs()}"
            raise StepFailed(f"{name}: {error}\n{seen}") from error
        return time.monotonic() - began


def _provide_input(secured: SecuredKafka, names: Names) -> None:
    """Make the input, and the service's user with rights on its own names alone."""
    secured.cluster().create_topics({names.topic("input"): SHARDS})
    operations = ("CREATE", "READ", "WRITE", "DELETE", "DESCRIBE_CONFIGS")
    rights = [Acl("TOPIC", names.prefix, operation, "PREFIXED") for operation in operations]
    rights.append(Acl("GROUP", names.prefix, "READ", "PREFIXED"))
    rights.append(Acl("TRANSACTIONAL_ID", names.prefix, "WRITE", "PREFIXED"))
    secured.add_user(USER, rights)


def _admit_agent(tools: KubernetesTools) -> None:
    """Give the node agent the rights of a kubelet."""
    tools.kubectl(
        "create", "clusterrolebinding", AGENT, "--clusterrole=system:node", f"--user={AGENT}"
    )
