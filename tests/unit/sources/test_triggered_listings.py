"""The listings of a triggered job against a local provider, without Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from consumer.sources.delivery import Delivery, Link
from consumer.sources.ingest_metrics import IngestMetrics
from consumer.sources.listing_queue import ListingQueue
from consumer.sources.poll.accounts import Account
from consumer.sources.poll.http_client import open_client
from consumer.sources.poll.job_listing import JobLister
from consumer.sources.poll.metrics import PollMetrics
from consumer.sources.triggered_listings import AccountListings, DeliverySink, TriggeredListings
from tests.support.provider_server import KEY, ProviderServer, Request, Response, once, times
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from consumer.kafka.types import NewRecord

SETTLING_SECONDS = 0.3


class MemoryProducer:
    """An idempotent producer that keeps its records."""

    is_broken = False

    def __init__(self) -> None:
        """Begin empty."""
        self.records: list[NewRecord] = []

    def send(self, records: Sequence[NewRecord], /) -> asyncio.Future[None]:
        """Acknowledge at once."""
        self.records += records
        sent = asyncio.get_running_loop().create_future()
        sent.set_result(None)
        return sent

    async def start(self) -> None:
        """Do nothing."""

    async def check(self) -> None:
        """Do nothing."""

    async def close(self, flush_seconds: float) -> None:
        """Do nothing."""


class Setup(NamedTuple):
    """The listings of one account with all that they use."""

    trigger: TriggeredListings
    queue: ListingQueue
    producer: MemoryProducer
    registry: CollectorRegistry
    connected: asyncio.Event
    """Kafka is reachable only after it is set."""

    def job_ended(self, job: str) -> None:
        """Send the event of a job."""
        self.trigger.job_ended("acme", job)

    def results(self, result: str) -> float:
        """Return how many listings had a result."""
        labels = {"account": "acme", "result": result}
        name = "checkpoint_ready_ingest_triggered_listings_total"
        return self.registry.get_sample_value(name, labels) or 0

    @property
    def ids(self) -> list[str]:
        """The keys of the records."""
        return [(record.key or b"").decode() for record in self.producer.records]

    async def wait_for(self, result: str, count: int = 1) -> None:
        """Wait until so many listings had a result."""
        await wait_until_async(lambda: self.results(result) >= count, what=result)


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    """Start a provider without jobs."""
    with ProviderServer() as server:
        yield server


@contextlib.asynccontextmanager
async def listing(
    provider: ProviderServer,
    folder: Path,
    *,
    max_jobs: int = 100,
    settling_seconds: float = SETTLING_SECONDS,
    is_connected: bool = True,
    **changes: Any,  # noqa: ANN401 - any key
) -> AsyncIterator[Setup]:
    """Run the listings of this provider; the waits are short."""
    (folder / "key").write_text(KEY)
    fields = {
        "name": "acme",
        "kind": "openai",
        "base_url": provider.url,
        "key_file": str(folder / "key"),
        "request_timeout_seconds": 5.0,
        "interval_seconds": 0.1,
        "max_attempts": 1,
        **changes,
    }
    registry, producer, connected = CollectorRegistry(), MemoryProducer(), asyncio.Event()
    if is_connected:
        connected.set()

    async def connect() -> Link:
        await connected.wait()
        return Link(producer, 100_000)

    delivery = Delivery(connect, 5)
    metrics, poll_metrics, account = (
        IngestMetrics(registry),
        PollMetrics(registry),
        Account(**fields),
    )
    trigger, queue = TriggeredListings(), ListingQueue(max_jobs, settling_seconds)
    async with open_client(account, poll_metrics) as client, asyncio.TaskGroup() as group:
        sink = DeliverySink(delivery)
        lister = JobLister(account, client, sink, poll_metrics, sink.max_record_bytes)
        listings = AccountListings(account, client, lister, metrics, queue)
        trigger.add(listings)
        tasks = [group.create_task(delivery.run())]
        if is_connected:
            await wait_until_async(lambda: delivery.problem is None)
        tasks.append(group.create_task(listings.run()))
        await asyncio.sleep(0)  # now it waits for the first job
        yield Setup(trigger, queue, producer, registry, connected)
        for task in tasks:
            task.cancel()


async def test_every_page_of_the_job_is_sent_with_its_bytes(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """Only of this job; the listing of the jobs is not needed. The log has no payload."""
    provider.add_job("one", status="succeeded", checkpoints=25)
    provider.add_job("other", checkpoints=3)
    with capture_logs() as logs:
        async with listing(provider, tmp_path) as setup:
            setup.job_ended("one")
            await setup.wait_for("complete")
            assert sorted(setup.ids) == [f"ftckpt_one_{number:05}" for number in range(25)]
            for record in setup.producer.records:
                assert record.value == provider.raw((record.key or b"").decode())
            assert {request.path for request in provider.requests} == {
                "/v1/fine_tuning/jobs/one/checkpoints"
            }
    line = next(line for line in logs if line["event"] == "trigger_listed")
    assert line.keys() == {
        "event", "log_level", "account", "job", "checkpoints_sent", "duration_ms"
    }  # fmt: skip
    assert line["checkpoints_sent"] == 25


async def test_the_second_listing_finds_what_became_visible_late(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """It sends only what is new, and then the job is done."""
    provider.add_job("one", status="succeeded", checkpoints=25)
    provider.hidden.add("ftckpt_one_00003")
    async with listing(provider, tmp_path, page_size=10) as setup:
        setup.job_ended("one")
        await setup.wait_for("complete")
        assert len(setup.ids) == 24
        provider.hidden.clear()
        await setup.wait_for("complete", 2)
        assert sorted(setup.ids) == sorted(provider.ids)
        assert len(setup.queue) == 0


async def test_repeated_events_are_merged(provider: ProviderServer, tmp_path: Path) -> None:
    """While the job is listed, and while it waits for its second listing."""
    provider.add_job("one", status="succeeded", checkpoints=3)

    def repeat(_: Request) -> None:
        loop.call_soon_threadsafe(setup.job_ended, "one")

    async with listing(provider, tmp_path, settling_seconds=60) as setup:
        loop = asyncio.get_running_loop()
        provider.faults.append(repeat)
        setup.job_ended("one")
        setup.job_ended("one")
        await setup.wait_for("complete")
        setup.job_ended("one")
        assert setup.results("merged") == 3
        assert len(provider.requests) == 1
        assert len(setup.ids) == 3


async def test_the_queue_is_bounded(provider: ProviderServer, tmp_path: Path) -> None:
    """The oldest jobs are dropped, counted and logged; the others are listed."""
    for number in range(6):
        provider.add_job(f"job-{number}", status="succeeded", checkpoints=1)
    with capture_logs() as logs:
        async with listing(provider, tmp_path, max_jobs=2, settling_seconds=60) as setup:
            for number in range(6):
                setup.job_ended(f"job-{number}")
            await setup.wait_for("complete", 2)
            assert sorted(setup.ids) == ["ftckpt_job-4_00000", "ftckpt_job-5_00000"]
            assert setup.results("dropped") == 4
            assert len(setup.queue) == 2
    dropped = [line["job"] for line in logs if line["event"] == "trigger_dropped"]
    assert dropped == ["job-0", "job-1", "job-2", "job-3"]


async def test_retry_after_is_kept(provider: ProviderServer, tmp_path: Path) -> None:
    """A wait that is longer than the client's delays the listing, and no request is sent before."""
    provider.add_job("one", status="succeeded", checkpoints=3)
    provider.faults.append(once(Response(429, headers={"Retry-After": "1"})))
    async with listing(provider, tmp_path, max_wait_seconds=0.5) as setup:
        begun = asyncio.get_running_loop().time()
        setup.job_ended("one")
        await setup.wait_for("failed")
        await setup.wait_for("complete")
        assert asyncio.get_running_loop().time() - begun >= 1
        assert len(provider.requests) == 2
        assert sorted(setup.ids) == sorted(provider.ids)


async def test_failures_are_repeated(provider: ProviderServer, tmp_path: Path) -> None:
    """Of the provider, of a page, and of the file with the key."""
    provider.add_job("one", status="succeeded", checkpoints=3)
    provider.faults += [once(Response(500)), once(Response(200, b"<html>"))]
    (tmp_path / "key").unlink(missing_ok=True)
    with capture_logs() as logs:
        async with listing(provider, tmp_path) as setup:
            (tmp_path / "key").rename(tmp_path / "away")
            setup.job_ended("one")
            await setup.wait_for("failed")
            (tmp_path / "away").rename(tmp_path / "key")
            await setup.wait_for("complete")
            assert setup.results("failed") >= 3
            assert sorted(setup.ids) == sorted(provider.ids)
    failures = [line for line in logs if line["event"] == "trigger_failed"]
    assert [line["retry_seconds"] > 0 for line in failures] == [True] * len(failures)
    assert KEY not in str(logs)


async def test_an_unknown_job_is_not_repeated(provider: ProviderServer, tmp_path: Path) -> None:
    """It may be a job of another project. The next job is listed."""
    provider.add_job("one", status="succeeded", checkpoints=3)
    async with listing(provider, tmp_path) as setup:
        setup.job_ended("a/../b?c")
        setup.job_ended("one")
        await setup.wait_for("complete")
        assert setup.results("not_found") == 1
        paths = [request.path for request in provider.requests]
        assert "/v1/fine_tuning/jobs/a%2F..%2Fb%3Fc/checkpoints" in paths
        assert len(setup.queue) == 1


async def test_listings_wait_for_kafka(provider: ProviderServer, tmp_path: Path) -> None:
    """A listing before the first connection fails, and is repeated."""
    provider.add_job("one", status="succeeded", checkpoints=3)
    async with listing(provider, tmp_path, is_connected=False) as setup:
        setup.job_ended("one")
        await setup.wait_for("failed")
        setup.connected.set()
        await setup.wait_for("complete")
        assert sorted(setup.ids) == sorted(provider.ids)


async def test_a_job_is_dropped_after_some_failures(
    provider: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line says that it is not repeated."""
    monkeypatch.setattr("consumer.sources.listing_queue.MAX_FAILURES", 3)
    provider.add_job("one", status="succeeded", checkpoints=3)
    provider.faults.append(times(99, Response(503)))
    with capture_logs() as logs:
        async with listing(provider, tmp_path) as setup:
            setup.job_ended("one")
            await setup.wait_for("failed", 3)
            assert len(setup.queue) == 0
    lines = [line["retry_seconds"] for line in logs if line["event"] == "trigger_failed"]
    assert [line is None for line in lines] == [False, False, True]


async def test_a_hanging_job_does_not_delay_the_others(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """The jobs of an account are listed side by side, also while one gets no response."""
    answered = threading.Event()
    for number in range(5):
        provider.add_job(f"job-{number}", status="succeeded", checkpoints=1)

    def hang(request: Request) -> None:
        if "/job-0/" in request.path:
            assert answered.wait(20)

    provider.faults.append(hang)
    async with listing(
        provider, tmp_path, settling_seconds=60, max_concurrency=2, request_timeout_seconds=30
    ) as setup:
        try:
            setup.job_ended("job-0")
            await wait_until_async(lambda: len(provider.requests) == 1, what="the request")
            for number in range(1, 5):
                setup.job_ended(f"job-{number}")
            await setup.wait_for("complete", 4)
            assert "ftckpt_job-0_00000" not in setup.ids
        finally:
            answered.set()
        await setup.wait_for("complete", 5)
        assert sorted(setup.ids) == sorted(provider.ids)


async def test_at_most_max_concurrency_jobs_are_listed_at_a_time(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """No job is listed twice at a time."""
    lock, running, most = threading.Lock(), [0], [0]
    for number in range(12):
        provider.add_job(f"job-{number}", status="succeeded", checkpoints=1)

    def count(_: Request) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        waiting.wait(0.05)
        with lock:
            running[0] -= 1

    waiting = threading.Event()
    provider.faults.append(count)
    async with listing(provider, tmp_path, settling_seconds=60, max_concurrency=3) as setup:
        for number in range(12):
            setup.job_ended(f"job-{number}")
        await setup.wait_for("complete", 12)
        assert len(provider.requests) == 12
    assert most[0] == 3


async def test_a_silly_retry_after_does_not_stop_the_trigger(
    provider: ProviderServer, tmp_path: Path
) -> None:
    """The listing is repeated after an hour at most."""
    provider.add_job("one", status="succeeded", checkpoints=3)
    provider.faults.append(once(Response(429, headers={"Retry-After": "1764256000"})))
    with capture_logs() as logs:
        async with listing(provider, tmp_path) as setup:
            setup.job_ended("one")
            await setup.wait_for("failed")
    (line,) = [line for line in logs if line["event"] == "trigger_failed"]
    assert 3500 < line["retry_seconds"] <= 3600
