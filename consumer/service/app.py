"""The service process: builds the observers and the HTTP server around one engine, and runs it."""

import asyncio
import gc
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import structlog
from prometheus_client import CollectorRegistry

from consumer import __version__
from consumer.config import Settings, unknown_variables
from consumer.errors import ConfigError
from consumer.pipeline import digest_table
from consumer.service.event_loop_watchdog import EventLoopWatchdog
from consumer.service.logs import LogObserver, configure_logs
from consumer.service.memory import keep_freed_memory
from consumer.service.metrics_observer import EngineCollector, MetricsObserver
from consumer.service.recent_activity import RecentActivity
from consumer.service.tracing.config import open_traces
from consumer.shard.context import NO_LOSSES, AcceptedLosses
from consumer.shard.events import Observer, ObserverGroup
from consumer.worker.engine import Engine, EngineStatus

# Decisions allocate many short-lived objects and no reference cycles. With the default threshold
# the collector would scan the young generation thousands of times a second and find nothing.
GC_THRESHOLDS = (100_000, 50, 100)
log = structlog.get_logger(__name__)


class HttpEndpoint:
    """Collects and serves the data for HTTP: metrics, recent activity and the engine's state.

    With `HTTP_PORT` 0 it observes nothing, serves nothing and loads no HTTP server.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry = CollectorRegistry()
        self._metrics = MetricsObserver(self._registry, settings)
        self._recent = RecentActivity(
            time.monotonic, binary_mode=settings.cloudevents_mode == "binary"
        )

    @property
    def observers(self) -> tuple[Observer, ...]:
        """The observers that feed the metrics and the status page."""
        return (self._metrics, self._recent) if self._settings.http_port else ()

    def count_suppressed_line(self) -> None:
        """Count a log line that was suppressed."""
        self._metrics.suppressed_lines.inc()

    @asynccontextmanager
    async def open(self, get_engine_status: Callable[[], EngineStatus]) -> AsyncIterator[None]:
        """Serve while the context lasts; `get_engine_status` returns the engine's current state.

        Raises:
            ConfigError: the port cannot be opened.
        """
        port = self._settings.http_port
        if not port:
            yield
            return
        # Imported here, because its packages delay the start of a process that does not serve.
        from consumer.service.http import make_pages, serve_http  # noqa: PLC0415

        self._registry.register(EngineCollector(get_engine_status))
        pages = make_pages(self._settings, get_engine_status, self._registry, self._recent)
        async with serve_http(port, pages):
            yield


def run_service(
    settings: Settings,
    environment: Mapping[str, str],
    *,
    accepted: AcceptedLosses = NO_LOSSES,
    observer: Observer | None = None,
) -> None:
    """Run until SIGTERM or SIGINT; return after an orderly shutdown.

    Raises:
        CheckpointReadyError: the service cannot run; the message says what to do.
    """
    if not __debug__:
        raise ConfigError("do not run with python -O: the client library relies on its assertions")
    endpoint = HttpEndpoint(settings)
    configure_logs(settings, endpoint.count_suppressed_line)
    for line in unknown_variables(environment):
        log.warning("unknown_variable", message=line)
    gc.set_threshold(*GC_THRESHOLDS)
    keep_freed_memory()
    with (
        EventLoopWatchdog(settings.watchdog_seconds) as watchdog,
        open_traces(settings, environment) as add_spans,
    ):
        # The observer for spans calls the others, so that their log lines have the id of the trace.
        observed_by = add_spans(_combine(observer or LogObserver(), *endpoint.observers))
        asyncio.run(_run(settings, observed_by, endpoint, watchdog, accepted))


def _combine(first: Observer, *others: Observer) -> Observer:
    return ObserverGroup(first, *others) if others else first


async def _run(
    settings: Settings,
    observer: Observer,
    endpoint: HttpEndpoint,
    watchdog: EventLoopWatchdog,
    accepted: AcceptedLosses,
) -> None:
    engine = Engine(settings, observer, accepted=accepted)
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, engine.stop)
    log.info(
        "starting",
        version=__version__,
        group_id=settings.group_id,
        instance=settings.group_instance_id or None,
        input_topics=settings.input_topics,
        output_topic=settings.output_topic,
        id_table=digest_table.IMPLEMENTATION,
    )
    heartbeat = asyncio.create_task(watchdog.keep_beating(), name="event-loop-heartbeat")
    try:
        async with endpoint.open(engine.status):
            await engine.run()
    finally:
        heartbeat.cancel()
        watchdog.limit_shutdown()
    log.info("stopped")
