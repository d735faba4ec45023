"""What the node agent does to containers that are ill or do not end: no good release shows it."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from tests.cluster.image import Image
from tests.cluster.pod_runner import PodRunner
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.api import Api, Object

GRACE_SECONDS = 1.5
PROGRAM = f"""#!{sys.executable}
import http.server, os, signal, sys
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_ill = sys.argv[1] == "ill" and self.path == "/livez"
        self.send_response(500 if is_ill else 200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["HTTP_PORT"])), Answers).serve_forever()
"""


class Notebook:
    """An API server of one pod: keeps what it is told."""

    def __init__(self) -> None:
        self.statuses: list[Object] = []
        self.deletions: list[Object] = []

    def patch(self, path: str, change: Object) -> Object:
        """Note the pod's status."""
        assert path.endswith("/pods/pod-1/status")
        self.statuses.append(change["status"]["containerStatuses"][0])
        return change

    def delete(self, path: str, options: Object) -> Object:
        """Note that the pod is gone."""
        assert path.endswith("/pods/pod-1")
        self.deletions.append(options)
        return {}


@contextmanager
def running(folder: Path, manner: str) -> Iterator[tuple[PodRunner, Notebook, list[str]]]:
    """Run a pod whose container behaves in some manner; what is noted of it comes last."""
    program = folder / "bin" / "program"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    api, noted = Notebook(), list[str]()
    runner = PodRunner(
        _pod(manner),
        cast("Api", api),
        Image("image:1", folder, "sha256:0"),
        folder,
        lambda _, what: noted.append(what),
    )
    runner.start()
    try:
        yield runner, api, noted
        assert not runner.failure
    finally:
        runner.stop()


def _pod(manner: str) -> Object:
    container: dict[str, Any] = {
        "name": "only",
        "image": "image:1",
        "command": ["program"],
        "args": [manner],
        "env": [{"name": "HTTP_PORT", "value": "8080"}],
        "ports": [{"name": "http", "containerPort": 8080}],
    }
    for kind, path in (("startup", "/startupz"), ("liveness", "/livez"), ("readiness", "/readyz")):
        container[f"{kind}Probe"] = {
            "httpGet": {"path": path, "port": "http"},
            "periodSeconds": 0.1,
            "failureThreshold": 100 if kind == "startup" else 3,
        }
    return {
        "metadata": {"name": "pod-1", "namespace": "here", "uid": "uid"},
        "status": {"podIP": "10.0.0.1", "hostIP": "127.0.0.1"},  # what the agent gives it
        "spec": {
            "containers": [container],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": GRACE_SECONDS,
        },
    }


def test_an_ill_container_is_ended_and_started_again(tmp_path: Path) -> None:
    """Its liveness probe has failed as often as it may: SIGTERM, and another start in place."""
    with running(tmp_path, "ill") as (_, api, noted):
        wait_until(lambda: any(one["restartCount"] == 1 for one in api.statuses))
        began_again = noted.index("started", noted.index("started") + 1)
        assert noted[began_again - 2 : began_again] == ["unhealthy", "ended with -15"]
        last = api.statuses[-1]["lastState"]["terminated"]
        assert last["exitCode"] == 143
        assert not api.deletions


def test_a_container_that_does_not_end_is_killed_after_its_grace(tmp_path: Path) -> None:
    """Not before, and then the pod is gone for the API server too."""
    with running(tmp_path, "stubborn") as (runner, api, noted):
        wait_until(lambda: any(one["ready"] for one in api.statuses))
        began = time.monotonic()
        runner.delete(GRACE_SECONDS)
        wait_until(lambda: api.deletions)
        assert time.monotonic() - began >= GRACE_SECONDS
        assert "ended with -9" in noted
        assert api.deletions == [{"gracePeriodSeconds": 0, "preconditions": {"uid": "uid"}}]
        assert api.statuses[-1]["state"]["terminated"]["exitCode"] == 137


def test_a_container_that_ends_when_asked_is_not_killed(tmp_path: Path) -> None:
    """SIGTERM comes first, and is enough."""
    with running(tmp_path, "obedient") as (runner, api, noted):
        wait_until(lambda: any(one["ready"] for one in api.statuses))
        runner.delete(60)
        wait_until(lambda: api.deletions)
        assert "ended with -15" in noted
