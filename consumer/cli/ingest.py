"""The command `ingest`: receives checkpoints and webhooks over HTTP, and sends them to Kafka."""

import argparse
import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import structlog
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest

from consumer import __version__
from consumer.cli.arguments import choose_input_topic
from consumer.cli.ingest_trigger import run_listings, triggered_accounts
from consumer.cli.output import EXIT_OK
from consumer.config import Settings, unknown_variables
from consumer.errors import ClusterError, ConfigError
from consumer.kafka.client import AioKafka
from consumer.metric import new_registry
from consumer.service.logs import configure_logs
from consumer.sources.delivery import Delivery, Link
from consumer.sources.ingest_app import IngestApp
from consumer.sources.ingest_config import IngestConfig
from consumer.sources.ingest_config_file import load_config
from consumer.sources.ingest_metrics import CONNECTIONS, KAFKA_REACHABLE, IngestMetrics
from consumer.sources.poll.accounts import Account
from consumer.sources.receivers import make_receivers
from consumer.sources.triggered_listings import TriggeredListings

# Requests allocate many short-lived objects; see the same limits in consumer/service/app.py.
GC_THRESHOLDS: Final = (100_000, 50, 100)
FLUSH_SECONDS: Final = 5.0
log = structlog.get_logger(__name__)


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the command to the parser."""
    ingest = commands.add_parser(
        "ingest",
        help="receive checkpoints and webhooks over HTTP",
        description="Receives checkpoints and webhooks over HTTP, and sends the checkpoints to an "
        "input topic. A request is answered with success only after all in-sync replicas have "
        "acknowledged its checkpoints. Probes and metrics are on HTTP_PORT.",
    )
    ingest.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="senders and limits (TOML)"
    )
    ingest.add_argument(
        "--topic", help="the input topic to send to; required if INPUT_TOPICS has several"
    )
    ingest.add_argument(
        "--accounts",
        type=Path,
        metavar="FILE",
        help="the accounts of `poll`, whose ended jobs are listed (default: accounts_file)",
    )
    ingest.set_defaults(command=_ingest)


def _ingest(settings: Settings, options: argparse.Namespace) -> int:
    topic = choose_input_topic(settings, options.topic)
    config = load_config(options.config)
    accounts = triggered_accounts(config, options.accounts)
    configure_logs(settings)
    for line in unknown_variables(os.environ):
        log.warning("unknown_variable", message=line)
    gc.set_threshold(*GC_THRESHOLDS)
    asyncio.run(_serve(settings, config, topic, accounts))
    return EXIT_OK


async def _serve(
    settings: Settings, config: IngestConfig, topic: str, accounts: list[Account]
) -> None:
    """Serve until SIGTERM or SIGINT, then finish the accepted requests.

    Raises:
        ConfigError: a port or a secret cannot be used.
    """
    # Imported here, because the help of all commands loads this module.
    from consumer.service.http import listen  # noqa: PLC0415
    from consumer.sources.http_server import IngestServer  # noqa: PLC0415

    shutdown = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, shutdown.set)
    trigger = TriggeredListings()
    receivers = make_receivers(config, trigger)
    registry = new_registry()
    metrics = IngestMetrics(registry)
    delivery = Delivery(lambda: _connect(settings, topic), config.limits.delivery_seconds)
    try:
        listener = listen(config.port)
    except OSError as error:
        raise ConfigError(f"port {config.port} cannot be served: {error.strerror}") from error
    app = IngestApp(receivers, delivery, config.limits, metrics)
    server = IngestServer(app, listener, config.limits)
    metrics.observe(CONNECTIONS, lambda: server.connections)
    metrics.observe(KAFKA_REACHABLE, lambda: float(delivery.problem is None))
    async with _probes(settings, registry, delivery), contextlib.AsyncExitStack() as listings:
        connecting = asyncio.create_task(delivery.run(), name="kafka-connection")
        await listings.enter_async_context(
            run_listings(
                trigger,
                accounts,
                delivery=delivery,
                metrics=metrics,
                registry=registry,
                max_jobs=config.limits.triggered_jobs,
            )
        )
        await server.start()
        log.info(
            "ingest_started", version=__version__, port=config.port, topic=topic, paths=[*receivers]
        )
        stopping = asyncio.create_task(shutdown.wait())
        try:
            # An error of the connection is a bug. It ends the process.
            await asyncio.wait({stopping, connecting}, return_when=asyncio.FIRST_COMPLETED)
            if connecting.done():
                connecting.result()
            log.info("ingest_stopping")
        finally:
            await listings.aclose()  # a listing is only a hint, so the shutdown does not wait
            await server.close()
            connecting.cancel()
            await asyncio.wait([connecting])
            await delivery.close(FLUSH_SECONDS)
    log.info("stopped")


@contextlib.asynccontextmanager
async def _probes(
    settings: Settings, registry: CollectorRegistry, delivery: Delivery
) -> AsyncIterator[None]:
    """Serve the probes and the metrics on HTTP_PORT; 0 serves nothing."""
    from consumer.service.http import Page, serve_http  # noqa: PLC0415 - see `_serve`

    def ready() -> Page:
        if delivery.problem is None:
            return Page(HTTPStatus.OK, b"ready\n")
        return Page(HTTPStatus.SERVICE_UNAVAILABLE, f"{delivery.problem}\n".encode())

    if not settings.http_port:
        yield
        return
    pages = {
        "/livez": lambda: Page(HTTPStatus.OK, b"alive\n"),
        "/readyz": ready,
        "/metrics": lambda: Page(
            HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4
        ),
    }
    async with serve_http(settings.http_port, pages):
        yield


async def _connect(settings: Settings, topic: str) -> Link:
    """Return a connected producer for the topic.

    Raises:
        ClusterError, TaskFailed, TransientError: Kafka or the topic cannot be used.
    """
    kafka = AioKafka.of(settings)
    client_id = f"{settings.group_id}-ingest"
    admin = kafka.admin(client_id)
    try:
        await admin.start()
        found = (await admin.describe([topic])).get(topic)
    finally:
        await admin.close()
    if found is None:
        raise ClusterError(f"topic {topic} does not exist: create it, or correct INPUT_TOPICS")
    producer = kafka.producer(client_id, topic, found.max_message_bytes)
    try:
        await producer.start()
    except BaseException:
        await producer.close(0)
        raise
    return Link(producer, found.max_message_bytes)
