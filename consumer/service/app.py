"""The process: one engine, from the first connection to the exit code."""

import asyncio
import gc
import signal
from collections.abc import Mapping

import structlog

from consumer import __version__
from consumer.config import Settings, unknown_variables
from consumer.errors import ConfigError
from consumer.service.event_loop_watchdog import EventLoopWatchdog
from consumer.service.http import HttpEndpoint
from consumer.service.logs import LogObserver, configure_logs
from consumer.service.tracing.config import open_traces
from consumer.shard.events import Observer
from consumer.worker.engine import Engine

# Decisions make many short-lived objects and no cycles; the default threshold would scan the
# young generation thousands of times a second for nothing.
GC_THRESHOLDS = (100_000, 50, 100)
log = structlog.get_logger(__name__)


def run_service(
    settings: Settings,
    environment: Mapping[str, str],
    *,
    accept_empty_state: bool = False,
    observer: Observer | None = None,
) -> None:
    """Run until SIGTERM or SIGINT; returns after an orderly end.

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
    with (
        EventLoopWatchdog(settings.watchdog_seconds) as guard,
        open_traces(settings, environment) as traced,
    ):
        seen_by = traced(endpoint.beside(observer or LogObserver()))
        asyncio.run(_run(settings, seen_by, endpoint, guard, accept_empty_state=accept_empty_state))


async def _run(
    settings: Settings,
    observer: Observer,
    endpoint: HttpEndpoint,
    guard: EventLoopWatchdog,
    *,
    accept_empty_state: bool,
) -> None:
    engine = Engine(settings, observer, accept_empty_state=accept_empty_state)
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, engine.stop)
    log.info(
        "starting",
        version=__version__,
        group_id=settings.group_id,
        instance=settings.group_instance_id or None,
        input_topics=settings.input_topics,
        output_topic=settings.output_topic,
    )
    beating = asyncio.create_task(guard.keep_beating(), name="beating")
    try:
        async with endpoint.open(engine.status):
            await engine.run()
    finally:
        beating.cancel()
        guard.expect_end()
    log.info("stopped")
