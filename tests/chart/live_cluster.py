"""A fake API server with one Deployment, for the `lookup` calls of the chart."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Helm wants to know every kind that it renders.
RESOURCES = {
    "v1": ["ServiceAccount", "ConfigMap", "Service", "Secret", "Pod"],
    "apps/v1": ["Deployment"],
    "autoscaling/v2": ["HorizontalPodAutoscaler"],
    "batch/v1": ["Job"],
    "keda.sh/v1alpha1": ["ScaledObject", "TriggerAuthentication"],
    "networking.k8s.io/v1": ["NetworkPolicy"],
    "policy/v1": ["PodDisruptionBudget"],
}


def answers(namespace: str, name: str, replicas: int, metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the responses of the API server by path: the API lists and the Deployment."""
    groups = [
        {
            "name": version.partition("/")[0],
            "versions": [{"groupVersion": version, "version": version.partition("/")[2]}],
        }
        for version in RESOURCES
        if "/" in version
    ]
    found: dict[str, Any] = {
        "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
    }
    for version, kinds in RESOURCES.items():
        resources = [
            {"name": f"{kind.lower()}s", "kind": kind, "namespaced": True, "verbs": ["get"]}
            for kind in kinds
        ]
        found[f"/apis/{version}" if "/" in version else f"/api/{version}"] = {
            "kind": "APIResourceList",
            "groupVersion": version,
            "resources": resources,
        }
    found[f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"] = {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": {"replicas": replicas},
    }
    return found


@contextmanager
def running_deployment(
    namespace: str, name: str, replicas: int, metadata: dict[str, Any], folder: Path
) -> Iterator[Path]:
    """Serve a cluster with this Deployment. Yield its kubeconfig."""
    known = answers(namespace, name, replicas, metadata)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = known.get(self.path.partition("?")[0])
            status = HTTPStatus.NOT_FOUND if answer is None else HTTPStatus.OK
            missing = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
            content = json.dumps(missing if answer is None else answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(json.dumps(_access(server.server_address[1])))
        try:
            yield kubeconfig
        finally:
            server.shutdown()
            thread.join()


def _access(port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
