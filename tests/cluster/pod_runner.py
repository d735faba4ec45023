"""One pod on its node: its container as a process, probed, restarted in place, ended in order.

1. Make the volumes and the environment of the spec.
2. Start the container. All pods share this machine's loopback, so a port of the spec is one of the
   pod's own: in the probes that name it, and in the variables `…_PORT` that hold it.
3. Probe it: startup first, then readiness and liveness together. Report each change to the API
   server.
4. Where it ends: start it again, or take the pod for finished, as the restart policy says.
5. Where the pod is deleted: SIGTERM, SIGKILL after the grace period, then the object goes too.
"""

from __future__ import annotations

import functools
import signal
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from dev.free_ports import free_ports
from tests.cluster.api import CONFLICT, NOT_FOUND, ApiError
from tests.cluster.pod_environment import Unsupported, resolve_environment, with_own_port
from tests.cluster.pod_status import PodState, backoff_seconds, now_text, status_of, terminated
from tests.cluster.pod_volumes import make_volumes, with_real_paths
from tests.cluster.probe import probe_of
from tests.support.child_process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cluster.api import Api, Object
    from tests.cluster.image import Image
    from tests.cluster.probe import Probe

POLL_SECONDS = 0.1
WORKDIR = Path("/")  # as the Dockerfile says
KNOWN = {
    *("name", "image", "imagePullPolicy", "command", "args", "env", "envFrom", "ports"),
    *("startupProbe", "readinessProbe", "livenessProbe", "volumeMounts"),
    # Not enforced on a process; the API server has judged them.
    *("resources", "securityContext", "terminationMessagePath", "terminationMessagePolicy"),
}


class PodRunner:
    """A thread that lives as long as the pod does."""

    def __init__(
        self,
        pod: Object,
        api: Api,
        image: Image | None,
        folder: Path,
        note: Callable[[PodRunner, str], None],
    ) -> None:
        """Describe the pod; `note` is called for each of its events."""
        self.name: str = pod["metadata"]["name"]
        labels = pod["metadata"].get("labels", {})
        self.component: str = labels.get("app.kubernetes.io/component", "")
        self.failure = ""
        self.image = image
        self._pod = pod
        self._api = api
        self._folder = folder
        self._note = note
        self._path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{self.name}"
        self._reported: PodState | None = None
        self._since: dict[str, str] = {}
        self._process: ChildProcess | None = None
        self._environment: dict[str, str] = {}
        self._port = 0
        self._restarts = 0
        self._last: Object = {}
        self._grace_seconds: float | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    @property
    def is_over(self) -> bool:
        """Whether the thread has nothing left to do."""
        return not self._thread.is_alive()

    @property
    def port(self) -> int:
        """The local port that replaces the port of the spec."""
        return self._port

    @property
    def environment(self) -> dict[str, str]:
        """What its container sees."""
        return dict(self._environment)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def delete(self, grace_seconds: float) -> None:
        """Delete the pod after the grace period."""
        if self._grace_seconds is None:
            self._grace_seconds = grace_seconds
            self._note(self, "deleted")

    def kill_container(self) -> None:
        """End the container as the kernel's OOM killer would."""
        assert self._process is not None
        self._process.signal(signal.SIGKILL)

    def stop(self) -> None:
        """End the process and the thread, whatever the pod is for the API server."""
        self._stopped.set()
        self._thread.join()

    def log(self) -> str:
        """Return the end of what its container has printed."""
        path = self._folder / "container.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else "(nothing)"

    def _must_end(self) -> bool:
        return self._stopped.is_set() or self._grace_seconds is not None

    def _run(self) -> None:
        try:
            self._prepare()  # 1.
            while not self._must_end():
                started_at = self._start()  # 2.
                self._watch(started_at)  # 3.
                if self._must_end() or self._is_finished(started_at):  # 4.
                    break
            self._end()  # 5.
        except ApiError as error:
            if error.code != NOT_FOUND:
                self.failure = f"{self.name}: {error}"
        except Exception:  # noqa: BLE001 - raised where the pod is awaited
            self.failure = f"{self.name}: {traceback.format_exc()}"
        finally:
            if self._process is not None:
                self._process.stop(0)

    def _prepare(self) -> None:
        spec = self._pod["spec"]
        if len(spec["containers"]) != 1 or spec.get("initContainers"):
            raise Unsupported("pods of one container only")
        (container,) = spec["containers"]
        if unknown := set(container) - KNOWN:
            raise Unsupported(f"{unknown} of a container")
        if self.image is None:
            raise Unsupported(f"there is no image {container['image']}")
        lookup = functools.cache(self._look_up)
        make_volumes(self._pod, self._folder / "volumes", lookup)
        resolved = resolve_environment(self._pod, container, lookup)
        resolved = with_real_paths(resolved, container, self._folder / "volumes")
        (self._port,) = free_ports(1)
        resolved = with_own_port(resolved, container, self._port)
        self._environment = {**self.image.environment, **resolved}

    def _start(self) -> str:
        (container,) = self._pod["spec"]["containers"]
        assert self.image is not None
        command: list[str] = [*container["command"], *container.get("args", [])]
        found = self.image.find(command[0])
        if found is None:
            raise Unsupported(f"the image has no program {command[0]}")
        log = self._folder / "container.log"
        self._process = ChildProcess(
            [found, *command[1:]], self._environment, log=log, folder=WORKDIR
        )
        self._note(self, "started")
        return now_text()

    def _watch(self, started_at: str) -> None:
        """Probe the container until it has ended or must."""
        assert self._process is not None
        running: Object = {"running": {"startedAt": started_at}}
        startup = self._probe("startupProbe")
        readiness = liveness = None
        while not self._must_end() and self._process.exit_code is None:
            now = time.monotonic()
            if startup is not None:
                startup.run_if_due(now)
            is_started = startup is None or startup.verdict is True
            if is_started:
                readiness = readiness or self._probe("readinessProbe")
                liveness = liveness or self._probe("livenessProbe")
                for probe in (readiness, liveness):
                    if probe is not None:
                        probe.run_if_due(now)
            is_ready = is_started and (readiness is None or readiness.verdict is True)
            state = PodState("Running", is_started, is_ready, self._restarts, running, self._last)
            self._report(state)
            if any(one is not None and one.verdict is False for one in (startup, liveness)):
                self._note(self, "unhealthy")
                self._process.stop(self._pod["spec"]["terminationGracePeriodSeconds"])
                return
            if is_started:
                startup = None
            self._stopped.wait(POLL_SECONDS)

    def _is_finished(self, started_at: str) -> bool:
        """Report the end if the pod is not started again; otherwise wait for the restart."""
        assert self._process is not None
        code = self._process.exit_code
        assert code is not None
        self._note(self, f"ended with {code}")
        ended = terminated(code, started_at)
        policy = self._pod["spec"]["restartPolicy"]
        if policy == "Never" or (policy == "OnFailure" and code == 0):
            phase = "Succeeded" if code == 0 else "Failed"
            self._report(PodState(phase, False, False, self._restarts, ended, self._last))  # noqa: FBT003 - by field
            return True
        self._last = ended
        if self._restarts:
            waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": self.log()[-500:]}}
            self._report(PodState("Running", False, False, self._restarts, waiting, ended))  # noqa: FBT003 - the same
            deadline = time.monotonic() + backoff_seconds(self._restarts)
            while not self._must_end() and time.monotonic() < deadline:
                self._stopped.wait(POLL_SECONDS)
        self._restarts += 1
        return False

    def _end(self) -> None:
        if self._stopped.is_set() or self._grace_seconds is None:
            return
        if self._process is not None:
            code = self._process.stop(self._grace_seconds)
            self._note(self, f"ended with {code}")
            phase = "Succeeded" if code == 0 else "Failed"
            ended = terminated(code, now_text())
            self._report(PodState(phase, False, False, self._restarts, ended, self._last))  # noqa: FBT003 - the same
        uid = self._pod["metadata"]["uid"]
        self._api.delete(self._path, {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}})

    def _probe(self, kind: str) -> Probe | None:
        (container,) = self._pod["spec"]["containers"]
        return probe_of(container, kind, self._port, time.monotonic())

    def _report(self, state: PodState) -> None:
        if state == self._reported:
            return
        if self._reported is None or state.is_ready != self._reported.is_ready:
            self._note(self, "ready" if state.is_ready else "not ready")
        self._reported = state
        assert self.image is not None
        status = status_of(self._pod, state, self.image.id, self._since)
        try:
            self._api.patch(f"{self._path}/status", {"status": status})
        except ApiError as error:
            if error.code != CONFLICT:
                raise
            self._reported = None  # reported again at the next probe

    def _look_up(self, kind: str, name: str) -> Object:
        namespace = self._pod["metadata"]["namespace"]
        return self._api.get(f"/api/v1/namespaces/{namespace}/{kind}/{name}")
