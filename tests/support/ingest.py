"""Starts `checkpoint-ready ingest`, and sends requests to it."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from dev.free_ports import free_ports
from tests.support.http_client import ask
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.deployment import Deployment
    from tests.support.service_process import ServiceProcess

TOKEN = "a-token-for-tests-0123456789"
REQUEST_SECONDS = 30.0
JSON = "application/json"


class Reply(NamedTuple):
    """The answer to a request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever was answered
        """The body, parsed."""
        return json.loads(self.body)


class Ingest(NamedTuple):
    """A running receiver."""

    process: ServiceProcess
    port: int
    probes: int

    def post(
        self,
        body: bytes,
        content_type: str = JSON,
        path: str = "/v1/checkpoints",
        *,
        token: str | None = TOKEN,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_SECONDS)
        try:
            own = {} if token is None else {"Authorization": f"Bearer {token}"}
            return post(connection, body, content_type, path, **own, **(headers or {}))
        finally:
            connection.close()

    def is_ready(self) -> bool:
        """Return whether the probe says so."""
        try:
            return ask(self.probes, "/readyz").status == http.client.OK
        except OSError:
            return False


def post(
    connection: http.client.HTTPConnection,
    body: bytes,
    content_type: str = JSON,
    path: str = "/v1/checkpoints",
    **headers: str,
) -> Reply:
    """Send one request on an open connection."""
    connection.request("POST", path, body, {"Content-Type": content_type, **headers})
    response = connection.getresponse()
    return Reply(response.status, dict(response.getheaders()), response.read())


def start_ingest(  # noqa: PLR0913 - each by its name
    deployment: Deployment,
    folder: Path,
    more: str = "",
    *,
    limits: str = "",
    accounts: str = "",
    probes: int = 0,
    **settings: object,
) -> Ingest:
    """Start a receiver as `launch_ingest` does, and wait until it is ready."""
    ingest = launch_ingest(
        deployment, folder, more, limits=limits, accounts=accounts, probes=probes, **settings
    )
    process = ingest.process
    wait_until(lambda: ingest.is_ready() or process.has_ended, what="a ready receiver")
    assert not process.has_ended, process.tail()
    return ingest


def launch_ingest(  # noqa: PLR0913 - each by its name
    deployment: Deployment,
    folder: Path,
    more: str = "",
    *,
    limits: str = "",
    accounts: str = "",
    probes: int = 0,
    **settings: object,
) -> Ingest:
    """Start a receiver, which may never become ready.

    Args:
        deployment: the topics.
        folder: where the configuration and the token are written.
        more: more tables of the configuration.
        limits: lines of the table `[limits]`.
        accounts: the file of the accounts whose ended jobs are listed.
        probes: the port of the probes; 0: any free port.
        settings: more variables, without their prefix.
    """
    port, free = free_ports(2)
    probes = probes or free
    token = folder / "token"
    if not token.exists():
        token.write_text(TOKEN)
    config = folder / "ingest.toml"
    config.write_text(
        f"port = {port}\naccounts_file = {json.dumps(accounts)}\n"
        f"[checkpoints]\ntoken_files = [{json.dumps(str(token))}]\n"
        f"[limits]\n{limits}\n{more}\n"
    )
    command = ("consumer", "ingest", "--config", str(config))
    process = deployment.start("", command=command, HTTP_PORT=probes, **settings)
    return Ingest(process, port, probes)
