"""The kubelets of the tests: nodes that stay healthy, and a runner for each pod bound to one."""

from __future__ import annotations

import threading
import time
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.cluster.pod_runner import PodRunner
from tests.cluster.pod_status import now_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.cluster.api import Api, Object
    from tests.cluster.image import Image

POLL_SECONDS = 0.2
HEARTBEAT_SECONDS = 5.0
LEASE_SECONDS = 40
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
ROOM = {"cpu": "8", "memory": "16Gi", "pods": "110", "ephemeral-storage": "100Gi"}


class Event(NamedTuple):
    """Something that happened to a pod on its node."""

    at: float
    pod: str
    component: str
    what: str


class NodeAgent:
    """A context manager: nodes that run what is bound to them; at its end no process is left."""

    def __init__(
        self, api: Api, nodes: Sequence[str], images: Sequence[Image], folder: Path
    ) -> None:
        """Describe it; `images` is all that its nodes can pull."""
        self.events: list[Event] = []
        self._api = api
        self._nodes = list(nodes)
        self._images = {image.reference: image for image in images}
        self._folder = folder
        self._runners: dict[str, PodRunner] = {}
        self._addresses = 0
        self._beat_at = 0.0
        self._failure = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="node-agent", daemon=True)

    def __enter__(self) -> Self:
        """Register the nodes and begin."""
        for number, node in enumerate(self._nodes, start=1):
            self._register(node, f"10.0.0.{number}")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop every pod's process and the thread."""
        self._stopped.set()
        self._thread.join()
        for runner in self._runners.values():
            runner.stop()

    def pod(self, name: str) -> PodRunner:
        """Return the runner of the newest pod of this name."""
        return [runner for runner in self._runners.values() if runner.name == name][-1]

    def require_alive(self) -> None:
        """Complain about a pod that this agent could not run, or about its own end."""
        failures = [self._failure, *(runner.failure for runner in self._runners.values())]
        if found := [failure for failure in failures if failure]:
            raise AssertionError("\n".join(found))

    def logs(self) -> str:
        """Return the ends of the logs of all containers that ran last."""
        recent = list(self._runners.values())[-8:]
        return "\n".join(f"--- {runner.name}\n{runner.log()}" for runner in recent)

    def fewest_ready(self, component: str, since: float, until: float) -> int:
        """Return how many pods of a component were ready and to stay, at the worst moment."""
        ready: set[str] = set()
        fewest: int | None = None
        for event in list(self.events):
            if event.component != component or event.at > until:
                continue
            if event.at >= since and fewest is None:
                fewest = len(ready)
            if event.what == "ready":
                ready.add(event.pod)
            elif event.what != "started":
                ready.discard(event.pod)
            if fewest is not None:
                fewest = min(fewest, len(ready))
        return len(ready) if fewest is None else fewest

    def _run(self) -> None:
        try:
            while not self._stopped.wait(POLL_SECONDS):
                if time.monotonic() - self._beat_at > HEARTBEAT_SECONDS:
                    self._beat()
                self._look_at_pods()
        except Exception:  # noqa: BLE001 - told by whoever waits for the pods
            self._failure = f"the node agent ended: {traceback.format_exc()}"

    def _look_at_pods(self) -> None:
        for pod in self._api.get("/api/v1/pods")["items"]:
            uid = pod["metadata"]["uid"]
            if pod["spec"].get("nodeName") not in self._nodes:
                continue
            if uid not in self._runners and pod["status"]["phase"] == "Pending":
                self._runners[uid] = self._runner(pod)
                self._runners[uid].start()
            if uid in self._runners and "deletionTimestamp" in pod["metadata"]:
                self._runners[uid].delete(pod["metadata"]["deletionGracePeriodSeconds"])

    def _runner(self, pod: Object) -> PodRunner:
        # An address of the loopback cannot be an endpoint: these are names that nobody dials.
        self._addresses += 1
        pod["status"]["podIP"] = f"10.244.0.{self._addresses}"
        number = self._nodes.index(pod["spec"]["nodeName"]) + 1
        pod["status"]["hostIP"] = f"10.0.0.{number}"
        image = self._images.get(pod["spec"]["containers"][0]["image"])
        folder = self._folder / f"{self._addresses:02}-{pod['metadata']['name']}"
        folder.mkdir(parents=True)
        return PodRunner(pod, self._api, image, folder, self._note)

    def _note(self, runner: PodRunner, what: str) -> None:
        self.events.append(Event(time.monotonic(), runner.name, runner.component, what))

    def _register(self, node: str, address: str) -> None:
        labels = {"kubernetes.io/hostname": node, "topology.kubernetes.io/zone": f"zone-{node}"}
        labels |= {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
        item = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": labels}}
        self._api.create("/api/v1/nodes", item)
        addresses = [{"type": "InternalIP", "address": address}]
        status = {"capacity": ROOM, "allocatable": ROOM, "addresses": addresses}
        self._api.patch(f"/api/v1/nodes/{node}/status", {"status": status})
        lease = {"metadata": {"name": node}, "spec": self._lease(node)}
        self._api.create(LEASES, lease)

    def _beat(self) -> None:
        """Say that each node is well; else its pods are evicted after a while."""
        self._beat_at = time.monotonic()
        for node in self._nodes:
            self._api.patch(f"{LEASES}/{node}", {"spec": self._lease(node)})
            ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
            ready |= {"lastHeartbeatTime": now_text()}
            self._api.patch(f"/api/v1/nodes/{node}/status", {"status": {"conditions": [ready]}})

    def _lease(self, node: str) -> Object:
        renewed = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "holderIdentity": node,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": renewed,
        }
