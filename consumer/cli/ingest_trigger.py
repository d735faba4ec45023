"""The part of the command `ingest` that lists the jobs whose end a webhook reports."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from prometheus_client import CollectorRegistry

from consumer.cli.extras import import_provider_client
from consumer.errors import ConfigError
from consumer.sources.delivery import Delivery
from consumer.sources.ingest_config import IngestConfig
from consumer.sources.ingest_metrics import IngestMetrics
from consumer.sources.listing_queue import ListingQueue
from consumer.sources.poll.accounts import Account, load_accounts
from consumer.sources.poll.job_listing import JobLister
from consumer.sources.poll.metrics import PollMetrics
from consumer.sources.triggered_listings import AccountListings, DeliverySink, TriggeredListings


def triggered_accounts(config: IngestConfig, accounts_option: Path | None) -> list[Account]:
    """Return the accounts that webhooks name. The option replaces `accounts_file`.

    Raises:
        ConfigError: the file of the accounts is missing or invalid, an account is not in it or has
            no such webhooks, or the extra `sources` is not installed.
    """
    wanted = config.triggered_accounts
    path = accounts_option or (Path(config.accounts_file) if config.accounts_file else None)
    if path is None and not wanted:
        return []
    if path is None:
        raise ConfigError(
            f"webhooks.{next(iter(wanted))}: account needs accounts_file, or the option --accounts"
        )
    known = {account.name: account for account in load_accounts(path)}
    if not wanted:
        raise ConfigError(f"{path} has no effect: no webhook has the key account")
    problems = [
        f"webhooks.{webhook}: {problem}"
        for webhook, name in wanted.items()
        if (problem := _problem(path, name, known.get(name))) is not None
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    import_provider_client("a webhook with the key account")
    return [known[name] for name in dict.fromkeys(wanted.values())]


def _problem(path: Path, name: str, account: Account | None) -> str | None:
    if account is None:
        return f"{path} has no account {name}"
    if account.kind != "openai":
        return f"account {name} has the kind {account.kind}: only openai sends events of jobs"
    return None


@contextlib.asynccontextmanager
async def run_listings(  # noqa: PLR0913 - each by its name
    trigger: TriggeredListings,
    accounts: list[Account],
    *,
    delivery: Delivery,
    metrics: IngestMetrics,
    registry: CollectorRegistry,
    max_jobs: int,
) -> AsyncIterator[None]:
    """Run the listings of the accounts while the context lasts. Its end cancels them."""
    if not accounts:
        yield
        return
    open_client = import_provider_client("a webhook with the key account")
    poll_metrics = PollMetrics(registry)
    sink = DeliverySink(delivery)
    async with contextlib.AsyncExitStack() as stack:
        tasks = []
        for account in accounts:
            client = await stack.enter_async_context(open_client(account, poll_metrics))
            queue = ListingQueue(max_jobs)
            lister = JobLister(account, client, sink, poll_metrics, sink.max_record_bytes)
            listings = AccountListings(account, client, lister, metrics, queue)
            trigger.add(listings)
            tasks.append(asyncio.create_task(listings.run(), name=f"listings-{account.name}"))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
