"""What is done to the release, one function a step; each checks what it has brought about."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from tests.cluster.release import CHANGED_SETTING, PODS, RELEASE, changed, chart_arguments
from tests.support.http_client import ask
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from tests.cluster.api import Object
    from tests.cluster.image import Image
    from tests.cluster.kubernetes_tools import KubernetesTools
    from tests.cluster.node_agent import NodeAgent

DEPLOYMENT = f"deployment/{RELEASE}"
ROLLOUT_SECONDS = 240
TEST_POD = f"{RELEASE}-test"
SERVICE = "service"  # the component of its labels


class Release(NamedTuple):
    """The release in the hands of a person, and the nodes that it runs on."""

    tools: KubernetesTools
    agent: NodeAgent
    values: dict[str, Any]
    folder: Path
    first: Image
    second: Image

    def install(self) -> None:
        """`helm install --wait`: the topics are made by the hook, and every object is taken."""
        self.tools.helm("install", *chart_arguments(self.values, self.folder))
        # KEDA decides about the number, and nobody has yet: the API server's default.
        self._require_pods(1, self.first)
        for kind in ("scaledobject", "triggerauthentication", "podmonitor", "prometheusrule"):
            self.tools.get(kind, RELEASE)

    def test(self) -> None:
        """`helm test`: its pod finds brokers, login and topics in order."""
        self.tools.helm("test", RELEASE, "--timeout=4m")
        (pod,) = self.tools.get("pod", TEST_POD)
        assert pod["status"]["phase"] == "Succeeded", pod["status"]

    def scale(self, replicas: int) -> None:
        """`kubectl scale`, and wait until so many pods are there and no other."""
        self.tools.kubectl("scale", DEPLOYMENT, f"--replicas={replicas}")
        self._wait_for_rollout()
        self._require_pods(replicas, self.first)

    def upgrade(self) -> None:
        """`helm upgrade --wait` to another image and setting; the number of pods stays."""
        before = len(self._pods())
        since = time.monotonic()
        self.tools.helm("upgrade", *chart_arguments(changed(self.values), self.folder))
        self._require_pods(before, self.second)
        self._require_ready(before, since)
        name, value = CHANGED_SETTING
        for pod in self._pods():
            assert self.agent.pod(pod["metadata"]["name"]).environment[name] == value

    def roll_back(self) -> None:
        """`helm rollback --wait`: the first image and settings are back."""
        before = len(self._pods())
        since = time.monotonic()
        self.tools.helm("rollback", RELEASE, "1", "--wait", "--timeout=4m")
        self._require_pods(before, self.first)
        self._require_ready(before, since)
        for pod in self._pods():
            runner = self.agent.pod(pod["metadata"]["name"])
            assert CHANGED_SETTING[0] not in runner.environment

    def drain(self) -> None:
        """`kubectl drain` of all nodes that have a pod: the budget lets only one go at a time."""
        pods = self._pods()
        nodes = {pod["spec"]["nodeName"] for pod in pods}
        since = time.monotonic()
        self.tools.kubectl(
            "drain", *sorted(nodes), "--delete-emptydir-data", f"--timeout={ROLLOUT_SECONDS}s"
        )
        self._wait_for_rollout()
        self._require_pods(len(pods), self.first)
        self._require_ready(len(pods) - 1, since)
        assert not nodes & {pod["spec"]["nodeName"] for pod in self._pods()}
        self.tools.kubectl("uncordon", *sorted(nodes))

    def delete_pod(self) -> None:
        """`kubectl delete pod`: another one takes its place."""
        pods = self._pods()
        doomed = pods[0]["metadata"]["name"]
        self.tools.kubectl("delete", "pod", doomed)
        self._wait_for_rollout()
        self._require_pods(len(pods), self.first)
        assert doomed not in {pod["metadata"]["name"] for pod in self._pods()}

    def kill_container(self) -> None:
        """SIGKILL to a container: the same pod starts it again, and has the same shards."""
        name = self._pods()[0]["metadata"]["name"]
        shards = self._shards(name)
        assert shards.startswith("running: "), shards
        environment = self.agent.pod(name).environment
        assert environment["CHECKPOINT_READY_GROUP_INSTANCE_ID"] == name
        self.agent.pod(name).kill_container()

        def is_back() -> bool:
            (pod,) = self.tools.get("pod", name)
            (status,) = pod["status"]["containerStatuses"]
            return bool(status["restartCount"]) and bool(status["ready"])

        wait_until(is_back, ROLLOUT_SECONDS, what=f"the restart of {name}", poll_seconds=0.2)
        assert self._shards(name) == shards
        (pod,) = self.tools.get("pod", name)
        (status,) = pod["status"]["containerStatuses"]
        assert status["restartCount"] == 1
        assert status["lastState"]["terminated"]["exitCode"] == 137

    def uninstall(self) -> None:
        """`helm uninstall --wait`: every process ends by itself, and nothing is left but topics."""
        self.tools.helm("uninstall", RELEASE, "--wait", "--timeout=4m")
        wait_until(lambda: not self._pods(), ROLLOUT_SECONDS, what="the end of all pods")
        left = self.tools.kubectl(
            "get",
            "all,configmaps,secrets,serviceaccounts,networkpolicies,poddisruptionbudgets,"
            "scaledobjects,triggerauthentications,podmonitors,prometheusrules",
            f"--selector=app.kubernetes.io/instance={RELEASE}",
            "--output=name",
        )
        # The pod of `helm test` stays as Helm keeps it, unless the drained node was its own.
        assert set(left.output.split()) <= {f"pod/{TEST_POD}"}, left.output
        ends = {
            event.what
            for event in self.agent.events
            if event.what.startswith("ended") and event.component == SERVICE
        }
        # 0 for what was asked to end, and the one that was killed.
        assert ends == {"ended with 0", "ended with -9"}, ends

    def _pods(self) -> list[Object]:
        return self.tools.get("pods", PODS)

    def _wait_for_rollout(self) -> None:
        self.tools.kubectl("rollout", "status", DEPLOYMENT, f"--timeout={ROLLOUT_SECONDS}s")

    def _require_pods(self, count: int, image: Image) -> None:
        """Wait for the pods on their way out; what stays must be ready, and of this image."""
        wait_until(
            lambda: len(self._pods()) <= count,
            ROLLOUT_SECONDS,
            what=f"{count} pods and no more",
            poll_seconds=0.2,
        )
        pods = self._pods()
        assert len(pods) == count, [pod["metadata"]["name"] for pod in pods]
        for pod in pods:
            (status,) = pod["status"]["containerStatuses"]
            assert status["ready"], (pod["metadata"]["name"], status)
            assert status["imageID"] == image.id, pod["metadata"]["name"]
            version = f'checkpoint_ready_info{{version="{image.reference.rpartition(":")[2]}"}} 1'
            assert version in self._ask(pod["metadata"]["name"], "/metrics")
        self._require_endpoints(count)

    def _require_endpoints(self, count: int) -> None:
        """Wait until the Service leads to every ready pod."""

        def ready() -> list[Object]:
            slices = self.tools.get(
                "endpointslices", f"--selector=kubernetes.io/service-name={RELEASE}"
            )
            endpoints = [one for it in slices for one in it.get("endpoints") or []]
            return [one for one in endpoints if one["conditions"]["ready"]]

        wait_until(lambda: len(ready()) == count, 60, what=f"{count} endpoints", poll_seconds=0.2)

    def _require_ready(self, count: int, since: float) -> None:
        """Complain if fewer pods were ready at any moment since then."""
        fewest = self.agent.fewest_ready(SERVICE, since, time.monotonic())
        assert fewest >= count, f"only {fewest} pods were ready at one moment, not {count}"

    def _shards(self, pod: str) -> str:
        return self._ask(pod, "/readyz").strip()

    def _ask(self, pod: str, path: str) -> str:
        answer = ask(self.agent.pod(pod).port, path)
        assert answer.status == 200, answer
        return answer.text
