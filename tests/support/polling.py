"""A poller of one account with a local provider, and a sink in memory."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import CollectorRegistry

from consumer.errors import TaskFailed
from consumer.sources.poll.account_poller import AccountPoller
from consumer.sources.poll.accounts import Account
from consumer.sources.poll.http_client import open_client
from consumer.sources.poll.metrics import PollMetrics
from tests.support.provider_server import KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from consumer.sources.poll.sink import CheckpointRecord
    from tests.support.provider_server import ProviderServer

MAX_RECORD_BYTES = 100_000


class MemorySink:
    """Keeps what is sent; it fails as often as `failures` says."""

    def __init__(self) -> None:
        """Begin empty."""
        self.records: list[CheckpointRecord] = []
        self.failures = 0

    @property
    def ids(self) -> list[str]:
        """The keys."""
        return [record.key.decode() for record in self.records]

    async def send(self, records: Sequence[CheckpointRecord], /) -> None:
        """Acknowledge, or fail."""
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise TaskFailed("send: the broker is away")
        self.records += records


class Setup(NamedTuple):
    """A poller with all that it uses."""

    provider: ProviderServer
    poller: AccountPoller
    sink: MemorySink
    registry: CollectorRegistry

    def metric(self, name: str, **labels: str) -> float | None:
        """Return the value of a metric."""
        return self.registry.get_sample_value(
            f"checkpoint_ready_poll_{name}", {"account": "acme", **labels}
        )


@contextlib.asynccontextmanager
async def polling(provider: ProviderServer, folder: Path, **changes: Any) -> AsyncIterator[Setup]:  # noqa: ANN401 - any key
    """Yield a poller of this provider; its waits are short.

    `sends_invalid` is of the poller, and every other key is of its account.
    """
    sends_invalid = changes.pop("sends_invalid", True)
    key = folder / "key"
    if not key.exists():
        key.write_text(KEY)
    fields = {
        "name": "acme",
        "kind": "openai",
        "base_url": provider.url,
        "key_file": str(key),
        "request_timeout_seconds": 5.0,
        "max_attempts": 3,
        **changes,
    }
    registry = CollectorRegistry()
    metrics = PollMetrics(registry)
    sink = MemorySink()
    account = Account(**fields)
    async with open_client(account, metrics) as client:
        poller = AccountPoller(
            account,
            client,
            sink,
            metrics,
            max_record_bytes=MAX_RECORD_BYTES,
            sends_invalid=sends_invalid,
        )
        yield Setup(provider, poller, sink, registry)
