"""One pass over one account: list the jobs, list their checkpoints, send what is new.

A page counts only after its records are acknowledged. So if the process is killed at any point, the
next process lists the same jobs again and sends what is missing.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Final

import msgspec
import structlog

from consumer.errors import CheckpointReadyError
from consumer.sources.poll.accounts import Account
from consumer.sources.poll.errors import ListingFailed, NotFound, NotReachable, PassFailed
from consumer.sources.poll.job_book import JobBook
from consumer.sources.poll.job_listing import MAX_PAGES, Client, JobLister, JobReport, advanced
from consumer.sources.poll.metrics import PollMetrics
from consumer.sources.poll.pages import Job
from consumer.sources.poll.providers import provider_of
from consumer.sources.poll.sink import Sink

MAX_FAILURES_IN_A_ROW: Final = 3
LOGGED_PROBLEMS: Final = 5
log = structlog.get_logger(__name__)


class PassReport(msgspec.Struct):
    """What one pass did."""

    account: str
    jobs_listed: int = 0
    checkpoints_seen: int = 0
    checkpoints_sent: int = 0
    requests: int = 0
    jobs_waiting: int = 0
    """Jobs that no pass has listed yet: they exceed `max_jobs_per_pass`."""
    problems: int = 0
    duration_ms: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether every listing was read and every checkpoint of it was acknowledged."""
        return self.problems == 0


class AccountPoller:
    """Polls one account; keeps in memory which jobs and checkpoints are done."""

    def __init__(
        self,
        account: Account,
        client: Client,
        sink: Sink,
        metrics: PollMetrics,
        *,
        max_record_bytes: int,
    ) -> None:
        self.account = account
        self._client = client
        self._metrics = metrics
        self._provider = provider_of(account)
        self._lister = JobLister(account, client, sink, metrics, lambda: max_record_bytes)
        self._book = JobBook()
        self._report = PassReport(account.name)
        self._failures_in_a_row = 0
        metrics.add_account(account.name, account.interval_seconds)

    async def run_pass(self) -> PassReport:
        """Run one pass, log it and return what it did. A problem is in the report."""
        report = self._report = PassReport(self.account.name)
        begun, requests = time.monotonic(), self._client.requests
        self._failures_in_a_row = 0
        try:
            self._client.read_secrets()
            await self._list_jobs()
            await self._list_checkpoints(self._book.choose(self.account.max_jobs_per_pass))
        except CheckpointReadyError as error:
            self._add_problem(error)
        except Exception:  # a bug must not stop the other accounts
            report.problems += 1
            log.exception("poll_bug", account=self.account.name)
        report.requests = self._client.requests - requests
        report.jobs_waiting = self._book.never_listed
        report.duration_ms = round((time.monotonic() - begun) * 1000, 3)
        if report.is_good:
            self._metrics.set_success(self.account.name, time.time())
        log.info("poll_pass", **msgspec.structs.asdict(report))
        return report

    async def _list_jobs(self) -> None:
        oldest = self.account.oldest_job(time.time())
        after: str | None = None
        self._book.begin_pass()
        try:
            for _ in range(MAX_PAGES):
                path, query = self._provider.jobs_request(after)
                page = self._provider.read_jobs(await self._client.get(path, query))
                self._add_problems(page.problems, "jobs")
                has_no_more = self._book.add_page(page.jobs, oldest)
                if page.next_after is None or has_no_more:
                    break
                after = advanced(after, page.next_after)
        except ListingFailed as error:
            # The jobs that are known are still listed.
            self._add_problem(error)
            return
        self._book.end_listing()

    async def _list_checkpoints(self, jobs: list[Job]) -> None:
        """List the checkpoints of these jobs, some at a time."""
        waiting = iter(jobs)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.account.max_concurrency, len(jobs))):
                    group.create_task(self._work(waiting))
        except* CheckpointReadyError as errors:
            raise errors.exceptions[0] from None

    async def _work(self, waiting: Iterator[Job]) -> None:
        for job in waiting:
            try:
                is_complete = await self._list_job(job)
            except ListingFailed as error:
                self._add_problem(error, job=job.id)
                self._react(job, error)
                continue
            self._failures_in_a_row = 0
            self._report.jobs_listed += 1
            if is_complete and self._book.finish(job, time.time()):
                self._lister.forget(job.id)

    def _react(self, job: Job, error: ListingFailed) -> None:
        """Forget a deleted job. End the pass if the provider is away.

        Otherwise each job would wait for all its attempts.
        """
        if isinstance(error, NotFound):
            self._book.drop(job)
        if isinstance(error, NotReachable):
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
                raise PassFailed("the provider is not reachable: the pass ends")

    async def _list_job(self, job: Job) -> bool:
        """List one job; return whether nothing is missing. What it did is counted in any case."""
        report = JobReport()
        try:
            return await self._lister.list_job(job, report)
        finally:
            self._report.checkpoints_seen += report.checkpoints_seen
            self._report.checkpoints_sent += report.checkpoints_sent
            self._add_problems(report.messages, job.id)
            self._report.problems += report.problems - len(report.messages)

    def _add_problems(self, problems: list[str], listing: str) -> None:
        for problem in problems:
            self._add_problem(problem, job=listing)

    def _add_problem(self, problem: object, **facts: object) -> None:
        self._report.problems += 1
        if self._report.problems <= LOGGED_PROBLEMS:
            log.warning("poll_failed", account=self.account.name, error=str(problem), **facts)
