"""A probe of a container as the kubelet makes it: HTTP, counted, with the spec's own numbers."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

from tests.cluster.pod_environment import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cluster.api import Object

HOST = "127.0.0.1"


class Probe:
    """Counts answers; `verdict` is None until there were enough of one kind in a row."""

    def __init__(
        self, spec: Object, port: int, began: float, ask: Callable[[int, str, float], bool]
    ) -> None:
        """Begin to count; `ask` tells whether a path of a port answers well in so many seconds."""
        if set(spec) - COUNTS.keys() != {"httpGet"} or spec["httpGet"].get("scheme") == "HTTPS":
            raise Unsupported(f"a probe {spec}")
        self.verdict: bool | None = None
        self._path = spec["httpGet"]["path"]
        self._port = port
        self._ask = ask
        self._counts = {name: spec.get(name, default) for name, default in COUNTS.items()}
        self._next = began + self._counts["initialDelaySeconds"]
        self._last: bool | None = None
        self._in_a_row = 0

    def run_if_due(self, now: float) -> None:
        """Ask once if it is time to."""
        if now < self._next:
            return
        self._next = now + self._counts["periodSeconds"]
        answer = self._ask(self._port, self._path, self._counts["timeoutSeconds"])
        self._in_a_row = self._in_a_row + 1 if answer == self._last else 1
        self._last = answer
        needed = self._counts["successThreshold" if answer else "failureThreshold"]
        if self._in_a_row >= needed:
            self.verdict = answer


COUNTS = {
    "initialDelaySeconds": 0,
    "periodSeconds": 10,
    "timeoutSeconds": 1,
    "successThreshold": 1,
    "failureThreshold": 3,
}


def ask_http(port: int, path: str, timeout_seconds: float) -> bool:
    """Tell whether a GET is answered in time by a status from 200 to 399."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_seconds)
    try:
        connection.request("GET", path)
        return 200 <= connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def probe_of(container: Object, kind: str, port: int, began: float) -> Probe | None:
    """Return a container's probe of this kind, which asks this port instead of the spec's."""
    spec = container.get(kind)
    if spec is None:
        return None
    named = spec["httpGet"]["port"]
    if not any(named in (it.get("name"), it["containerPort"]) for it in container["ports"]):
        raise Unsupported(f"{kind} of port {named}, which the container does not name")
    return Probe(spec, port, began, ask_http)
