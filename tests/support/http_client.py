"""HTTP requests to a service process, as a probe, a scraper or a browser sends them."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from dev.free_ports import free_ports

if TYPE_CHECKING:
    from tests.support.deployment import Deployment
    from tests.support.service_process import ServiceProcess

REQUEST_SECONDS = 10.0


class Answer(NamedTuple):
    """A response."""

    status: int
    text: str
    headers: dict[str, str]


class Observed(NamedTuple):
    """A process and its HTTP port."""

    service: ServiceProcess
    port: int

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, method: str = "GET") -> Answer:
        """Send a request and return the response."""
        return ask(self.port, path, method)

    def status(self, path: str) -> int:
        """Return the status; 0 if the port refuses connections."""
        try:
            return self.get(path).status
        except OSError:
            return 0

    def metric(self, name: str, **labels: str) -> float | None:
        """Scrape now and return a metric's value; None if there is no such sample."""
        return self.scrape().get((name, frozenset(labels.items())))

    def scrape(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Return all samples by name, without the service's prefix, and labels."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        return {
            (sample.name.removeprefix("checkpoint_ready_"), frozenset(sample.labels.items())): (
                sample.value
            )
            for family in families
            for sample in family.samples
        }


def start_observed(
    deployment: Deployment,
    instance: str = "",
    **settings: Any,  # noqa: ANN401 - variables of the service
) -> Observed:
    """Start a process with a free HTTP port."""
    port = free_ports(1)[0]
    return Observed(deployment.start(instance, HTTP_PORT=port, **settings), port)


def ask(port: int, path: str, method: str = "GET") -> Answer:
    """Send a request to a local port and return the response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_SECONDS)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return Answer(response.status, response.read().decode(), dict(response.getheaders()))
    finally:
        connection.close()
