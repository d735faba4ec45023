"""The command `poll`: sends the checkpoints of hosted providers to the input topic."""

import argparse
import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Coroutine
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import structlog
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest

from consumer import __version__
from consumer.cli.extras import import_provider_client
from consumer.cli.output import EXIT_OK
from consumer.cli.signals import run_async
from consumer.config import Settings
from consumer.errors import ClusterError
from consumer.kafka.client import AioKafka
from consumer.kafka.client.checkpoint_producer import CheckpointProducer
from consumer.metric import new_registry
from consumer.service.logs import configure_logs
from consumer.sources.poll.account_poller import AccountPoller
from consumer.sources.poll.accounts import Account, load_accounts
from consumer.sources.poll.metrics import PollMetrics
from consumer.sources.poll.poller import poll_forever, poll_once

EXIT_FAILED: Final = 1
STOP_SECONDS: Final = 5.0
log = structlog.get_logger(__name__)


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the command to the parser."""
    poll = commands.add_parser(
        "poll", help="send the checkpoints of hosted providers to the input topic"
    )
    poll.add_argument(
        "--config", required=True, type=Path, metavar="FILE", help="TOML file of the accounts"
    )
    poll.add_argument(
        "--topic", help="topic to write to (default: the first of CHECKPOINT_READY_INPUT_TOPICS)"
    )
    poll.add_argument(
        "--once",
        action="store_true",
        help="poll each account until no job waits, then end: exit code 0 if every account was "
        "polled without a problem, else 1",
    )
    poll.set_defaults(command=_poll)


def _poll(settings: Settings, options: argparse.Namespace) -> int:
    accounts = load_accounts(options.config)
    configure_logs(settings)
    topic = options.topic or settings.input_topics[0]
    if options.once:
        return run_async(_once(settings, accounts, topic))
    return asyncio.run(_until_signal(_forever(settings, accounts, topic)))


async def _once(settings: Settings, accounts: list[Account], topic: str) -> int:
    # Each run of a cron job would cause the same dead letters.
    async with _pollers(
        settings, accounts, topic, CollectorRegistry(), sends_invalid=False
    ) as pollers:
        return EXIT_OK if await poll_once(pollers) else EXIT_FAILED


async def _forever(settings: Settings, accounts: list[Account], topic: str) -> None:
    registry = new_registry()
    log.info("poll_starting", version=__version__, topic=topic, accounts=[a.name for a in accounts])
    async with (
        _pollers(settings, accounts, topic, registry) as pollers,
        _serve(settings.http_port, registry),
    ):
        await poll_forever(pollers)


async def _until_signal(work: Coroutine[Any, Any, None]) -> int:
    """Run until SIGTERM or SIGINT; then cancel the work. Return the exit code.

    Nothing must be finished: what was not acknowledged is sent by the next process.
    """
    working = asyncio.ensure_future(work)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    waiting = asyncio.ensure_future(stopped.wait())
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not working.done():
        working.cancel()
        await asyncio.wait([working], timeout=STOP_SECONDS)
    if working.done() and not working.cancelled():
        working.result()
    log.info("poll_stopped")
    return EXIT_OK


@contextlib.asynccontextmanager
async def _pollers(
    settings: Settings,
    accounts: list[Account],
    topic: str,
    registry: CollectorRegistry,
    *,
    sends_invalid: bool = True,
) -> AsyncIterator[list[AccountPoller]]:
    """Open the producer and the connections of each account while the context lasts."""
    open_client = import_provider_client("the command poll")
    max_message_bytes = await _max_message_bytes(settings, topic)
    metrics = PollMetrics(registry)
    async with contextlib.AsyncExitStack() as stack:
        kafka = AioKafka.of(settings)
        new_producer = partial(
            kafka.producer, f"{settings.group_id}-poll", topic, max_message_bytes
        )
        sink = await stack.enter_async_context(CheckpointProducer(new_producer))
        yield [
            AccountPoller(
                account,
                await stack.enter_async_context(open_client(account, metrics)),
                sink,
                metrics,
                max_record_bytes=max_message_bytes,
                sends_invalid=sends_invalid,
            )
            for account in accounts
        ]


async def _max_message_bytes(settings: Settings, topic: str) -> int:
    admin = AioKafka.of(settings).admin(f"{settings.group_id}-poll")
    try:
        await admin.start()
        topics = await admin.describe([topic])
    finally:
        await admin.close()
    if topic not in topics:
        raise ClusterError(
            f"topic {topic} does not exist: correct --topic or CHECKPOINT_READY_INPUT_TOPICS, or "
            "run `checkpoint-ready topics create --input-partitions N`"
        )
    return topics[topic].max_message_bytes


@contextlib.asynccontextmanager
async def _serve(port: int, registry: CollectorRegistry) -> AsyncIterator[None]:
    """Serve `/metrics` and `/livez` while the context lasts; port 0 serves nothing."""
    if not port:
        yield
        return
    # Imported here, because its packages delay the start of a process that does not serve.
    from consumer.service.http import Page, serve_http  # noqa: PLC0415

    def metrics() -> Page:
        return Page(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)

    def alive() -> Page:
        return Page(HTTPStatus.OK, b"polling\n")

    async with serve_http(port, {"/metrics": metrics, "/livez": alive, "/readyz": alive}):
        yield
