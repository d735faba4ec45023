"""A local MLflow server, and what its registry holds, read without MLflow's client."""

from __future__ import annotations

import json
import os
import signal
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

from dev.free_ports import free_ports
from dev.toolchains import python_environment
from tests.support.child_process import ROOT, ChildProcess
from tests.support.http_client import ask
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

REQUIREMENTS = ROOT / "requirements" / "mlflow-server.txt"
# It imports its packages twice, in two processes, and creates the tables of its database.
START_SECONDS = 90.0
# The server runs no jobs, and sends no statistics about its use.
VARIABLES = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


class MlflowServer(ChildProcess):
    """A server with its database in a folder; a context manager."""

    def __init__(self, folder: Path) -> None:
        """Start the server. `wait_until_ready` waits for it."""
        (self._port,) = free_ports(1)
        command = [str(python_environment(REQUIREMENTS)), "-m", "mlflow", "server"]
        options = {
            "--backend-store-uri": f"sqlite:///{folder}/mlflow.db",
            "--host": "127.0.0.1",
            "--port": str(self._port),
            "--workers": "1",
        }
        for name, value in options.items():
            command += [name, value]
        super().__init__(command, {**os.environ, **VARIABLES}, folder=folder)

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        self.close()

    def kill(self) -> None:
        """Send SIGKILL to the program and to the server process that it has started."""
        if not self.has_ended:
            os.killpg(self.pid, signal.SIGKILL)
        super().kill()

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self._port}"

    def wait_until_ready(self) -> None:
        """Wait until the server answers."""
        wait_until(self._is_ready, START_SECONDS, what="the MLflow server", poll_seconds=0.2)

    def models(self) -> dict[str, dict[str, str]]:
        """Return the tags of each registered model."""
        found = self._get("registered-models/search").get("registered_models", [])
        return {model["name"]: _tags(model) for model in found}

    def versions(self) -> list[dict[str, Any]]:
        """Return all versions of all models, each with its tags as an object."""
        found = self._get("model-versions/search", max_results="1000").get("model_versions", [])
        return [{**version, "tags": _tags(version)} for version in found]

    def _get(self, path: str, **query: str) -> dict[str, Any]:
        answer = ask(self._port, f"/api/2.0/mlflow/{path}?{urlencode(query)}")
        assert answer.status == HTTPStatus.OK, answer.text
        found = json.loads(answer.text)
        assert isinstance(found, dict)
        return found

    def _is_ready(self) -> bool:
        assert not self.has_ended, self.tail()
        try:
            return ask(self._port, "/health").status == HTTPStatus.OK
        except OSError:
            return False


def _tags(entity: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag.get("value", "") for tag in entity.get("tags", [])}
