"""What a process shows of itself over HTTP, and the counting behind it."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from prometheus_client import CollectorRegistry

from consumer.config import Settings
from consumer.engine.lifecycle import Observer
from consumer.engine.view import EngineView
from consumer.service.http_server import HttpServer
from consumer.service.meter import Meter
from consumer.service.observers import Observers
from consumer.service.recent import Recent
from consumer.service.routes import make_routes
from consumer.service.snapshot import Snapshot

log = structlog.get_logger(__name__)


class Front:
    """Counts from the start of the process on; without a port (0) nothing is counted or served."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry = CollectorRegistry()
        self._meter = Meter(self._registry, settings)
        self._recent = Recent(time.monotonic, binary_mode=settings.cloudevents_mode == "binary")

    def beside(self, observer: Observer) -> Observer:
        """Return an observer that tells this one, and what is counted here."""
        if not self._settings.http_port:
            return observer
        return Observers(observer, self._meter, self._recent)

    def count_suppressed_line(self) -> None:
        """Count a log line that was left out."""
        self._meter.suppressed_lines.inc()

    @asynccontextmanager
    async def open(self, look: Callable[[], EngineView]) -> AsyncIterator[None]:
        """Serve while the context lasts; `look` shows the engine.

        Raises:
            ConfigError: the port cannot be had.
        """
        port = self._settings.http_port
        if not port:
            yield
            return
        self._registry.register(Snapshot(look))
        routes = make_routes(self._settings, look, self._registry, self._recent)
        server = HttpServer(port, routes)
        await server.start()
        log.info("http_served", port=port)
        try:
            yield
        finally:
            await server.close()
