"""What the API server is told of a pod. Pure but for the time of day."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tests.cluster.api import Object


FIRST_BACKOFF_SECONDS, MOST_BACKOFF_SECONDS = 10.0, 300.0


class PodState(NamedTuple):
    """What is to be told; two that are equal need not be told twice."""

    phase: str
    is_started: bool
    is_ready: bool
    restarts: int
    container: Object
    last: Object

    @property
    def is_over(self) -> bool:
        """Whether the pod will never run again."""
        return self.phase in {"Succeeded", "Failed"}


def backoff_seconds(restarts: int) -> float:
    """Return how long a container waits that was started again so often: not at all at first."""
    if not restarts:
        return 0.0
    return min(MOST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** (restarts - 1))


def now_text() -> str:
    """Return the time as the API server writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def terminated(code: int, started_at: str) -> Object:
    """Return the state of a container that has ended, by a signal if the code is negative."""
    ended: dict[str, Any] = {
        "exitCode": code if code >= 0 else 128 - code,
        "reason": "Completed" if code == 0 else "Error",
        "startedAt": started_at,
        "finishedAt": now_text(),
    }
    if code < 0:
        ended["signal"] = -code
    return {"terminated": ended}


def status_of(pod: Object, state: PodState, image_id: str, since: dict[str, str]) -> Object:
    """Return the status; `since` says since when each condition is as it is."""
    (container,) = pod["spec"]["containers"]
    conditions = {
        "PodReadyToStartContainers": True,
        "Initialized": True,
        "ContainersReady": state.is_ready,
        "Ready": state.is_ready,
    }
    told = []
    for kind, is_true in conditions.items():
        status = "True" if is_true else "False"
        at = since.setdefault(f"{kind}={status}", now_text())
        since.pop(f"{kind}={'False' if is_true else 'True'}", None)
        one = {"type": kind, "status": status, "lastTransitionTime": at}
        if state.is_over:
            one["reason"] = "PodCompleted"
        told.append(one)
    ip = pod["status"]["podIP"]
    return {
        "phase": state.phase,
        "startTime": since.setdefault("start", now_text()),
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "hostIP": pod["status"]["hostIP"],
        "observedGeneration": pod["metadata"].get("generation", 1),
        "conditions": told,
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": image_id,
                "containerID": f"process://{pod['metadata']['uid']}-{state.restarts}",
                "ready": state.is_ready,
                "started": state.is_started,
                "restartCount": state.restarts,
                "state": state.container,
                "lastState": state.last,
            }
        ],
    }
