"""Lists the checkpoints of a job when a webhook says that the job has ended.

A listing runs in the background, so the answer to the webhook does not wait for it. It uses the
same steps as a pass of the poller. It is only a hint: the process keeps nothing for it, and a job
that is dropped or lost is found by the next pass of a poller.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Final

import structlog

from consumer.errors import CheckpointReadyError, TaskFailed
from consumer.kafka.types import NewRecord
from consumer.sources.delivery import Delivery
from consumer.sources.ingest_metrics import IngestMetrics
from consumer.sources.listing_queue import ListingQueue, WaitingJob
from consumer.sources.poll.accounts import Account
from consumer.sources.poll.errors import NotFound
from consumer.sources.poll.job_listing import Client, JobLister, JobReport
from consumer.sources.poll.pages import Job
from consumer.sources.poll.sink import CheckpointRecord
from consumer.sources.problems import Refusal

# The results of a triggered listing, the label `result` of the metric.
COMPLETE: Final = "complete"
FAILED: Final = "failed"
NOT_FOUND: Final = "not_found"
MERGED: Final = "merged"
DROPPED: Final = "dropped"
RESULTS: Final = (COMPLETE, FAILED, NOT_FOUND, MERGED, DROPPED)
log = structlog.get_logger(__name__)


class DeliverySink:
    """Sends the records of listings with the producer of the receiver."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    def max_record_bytes(self) -> int:
        """Return the largest batch that the topic accepts.

        Raises:
            TaskFailed: Kafka is not connected yet.
        """
        try:
            return self._delivery.max_message_bytes
        except Refusal as refusal:
            raise TaskFailed(str(refusal)) from None

    async def send(self, records: Sequence[CheckpointRecord], /) -> None:
        """Send the records; return when all replicas in sync have acknowledged each of them.

        Raises:
            TaskFailed: at least one record was not acknowledged.
        """
        try:
            await self._delivery.deliver(
                [NewRecord(record.key, record.value) for record in records], _ignore
            )
        except Refusal as refusal:
            raise TaskFailed(str(refusal)) from None


class AccountListings:
    """The triggered listings of one account, at most `max_concurrency` at a time.

    So a job to which the provider does not respond does not delay the others.
    """

    def __init__(
        self,
        account: Account,
        client: Client,
        lister: JobLister,
        metrics: IngestMetrics,
        queue: ListingQueue,
    ) -> None:
        """`lister` uses the client, and the sink of the receiver."""
        self.account = account
        self._client = client
        self._lister = lister
        self._metrics = metrics
        self._queue = queue
        self._changed = asyncio.Event()
        metrics.add_account(account.name, RESULTS, lambda: len(queue))

    def add(self, job_id: str) -> None:
        """List a job soon. Repeated events of a job that waits or is being listed are merged."""
        if job_id in self._queue:
            self._count(MERGED)
            return
        dropped = self._queue.add(job_id, time.monotonic())
        if dropped is not None:
            self._count(DROPPED)
            self._lister.forget(dropped)
            log.warning("trigger_dropped", account=self.account.name, job=dropped)
        self._changed.set()

    async def run(self) -> None:
        """List the jobs until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.account.max_concurrency):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            job = self._queue.take(time.monotonic())
            if job is None:
                await self._wait()
            else:
                await self._list(job)
                self._changed.set()  # the job may be due again while this task lists another one

    async def _wait(self) -> None:
        """Wait until a listing is due, or until the queue has changed."""
        self._changed.clear()
        due = self._queue.next_due
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if due is None else max(0.0, due - time.monotonic())):
                await self._changed.wait()

    async def _list(self, waiting: WaitingJob) -> None:
        report = JobReport()
        begun = time.monotonic()
        # A job of OpenAI has ended when its event arrives. So the listing reads to its end.
        job = Job(
            waiting.job_id, has_ended=True, created_at=None, finished_at=None, base_model=None
        )
        error: str | None = None
        result = COMPLETE
        try:
            self._client.read_secrets()
            if not await self._lister.list_job(job, report):
                result, error = FAILED, "; ".join(report.messages)
        except NotFound as problem:
            result, error = NOT_FOUND, str(problem)
        except CheckpointReadyError as problem:
            result, error = FAILED, str(problem)
        except Exception:  # a bug must not stop the other listings
            result, error = FAILED, "a bug"
            log.exception("trigger_bug", account=self.account.name)
        self._count(result)
        now = time.monotonic()
        delay = self._settle(waiting, result, now)
        facts = {
            "account": self.account.name,
            "job": waiting.job_id,
            "checkpoints_sent": report.checkpoints_sent,
            "duration_ms": round((now - begun) * 1000, 3),
        }
        if error is None:
            log.info("trigger_listed", **facts)
        else:
            again = None if delay is None else round(delay, 3)
            log.warning("trigger_failed", **facts, error=error, retry_seconds=again)

    def _settle(self, waiting: WaitingJob, result: str, now: float) -> float | None:
        """Update the queue; return the delay of a failed listing, if it is repeated."""
        if result == COMPLETE:
            if self._queue.succeed(waiting, now):
                self._lister.forget(waiting.job_id)
            return None
        delay = None
        if result == NOT_FOUND:
            self._queue.drop(waiting)
        else:
            first_delay, blocked = self.account.interval_seconds, self._client.blocked_seconds
            delay = self._queue.fail(waiting, now, first_delay, blocked)
        if delay is None:
            self._lister.forget(waiting.job_id)
        return delay

    def _count(self, result: str) -> None:
        self._metrics.listings.labels(self.account.name, result).inc()


class TriggeredListings:
    """The trigger of the receiver: passes each job to the listings of its account."""

    def __init__(self) -> None:
        """Begin without accounts: only webhooks that name an account call the trigger."""
        self._listings: dict[str, AccountListings] = {}

    def add(self, listings: AccountListings) -> None:
        """Add the listings of one account."""
        self._listings[listings.account.name] = listings

    def job_ended(self, account: str, job_id: str) -> None:
        """List the checkpoints of this job of the account soon."""
        self._listings[account].add(job_id)


def _ignore() -> None:
    """Do nothing when records have ended: no memory is reserved for them."""
