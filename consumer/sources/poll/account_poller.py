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
from consumer.sources.poll.job_listing import Client, JobLister, JobReport
from consumer.sources.poll.left_out_jobs import FIRST_DELAY_SECONDS, MAX_NOT_FOUND
from consumer.sources.poll.metrics import PollMetrics
from consumer.sources.poll.pages import Job
from consumer.sources.poll.paging import JOB_LIST, Paging
from consumer.sources.poll.providers import provider_of
from consumer.sources.poll.sink import Sink

MAX_FAILURES_IN_A_ROW: Final = 3
LOGGED_PROBLEMS: Final = 5
# After these limits a pass lists the checkpoints of the jobs that it has found, and the next pass
# continues the list of the jobs.
MAX_JOB_PAGES: Final = 100
MAX_JOB_SECONDS: Final = 30.0
MAX_PASS_SECONDS: Final = 300.0
"""After this time a pass begins no other job. The next pass begins with the jobs that are left."""
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
    jobs_left_out: int = 0
    """Jobs whose checkpoints are not found, so they are tried again only rarely."""
    is_paused: bool = False
    """Whether the next pass continues the list of the jobs, which is long."""
    is_incomplete: bool = False
    """Whether the pass ended early, or the list of the jobs could not be read."""
    problems: int = 0
    duration_ms: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether every listing was read and every checkpoint of it was acknowledged."""
        return self.problems == 0


class AccountPoller:
    """Polls one account; keeps in memory which jobs and checkpoints are done."""

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        account: Account,
        client: Client,
        sink: Sink,
        metrics: PollMetrics,
        *,
        max_record_bytes: int,
        sends_invalid: bool = True,
    ) -> None:
        self.account = account
        self._client = client
        self._metrics = metrics
        self._provider = provider_of(account)
        self._lister = JobLister(
            account,
            client,
            sink,
            metrics,
            lambda: max_record_bytes,
            sends_invalid=sends_invalid,
        )
        self._book = JobBook()
        self._paused: Paging | None = None
        self._ends = 0.0
        self._report = PassReport(account.name)
        self._failures_in_a_row = 0
        metrics.add_account(account.name, account.interval_seconds)

    async def run_pass(self) -> PassReport:
        """Run one pass, log it and return what it did. A problem is in the report."""
        report = self._report = PassReport(self.account.name)
        begun, requests = time.monotonic(), self._client.requests
        self._ends = begun + MAX_PASS_SECONDS
        self._failures_in_a_row = 0
        try:
            self._client.read_secrets()
            await self._list_jobs()
            await self._list_checkpoints(self._book.choose(self.account.max_jobs_per_pass))
        except CheckpointReadyError as error:
            report.is_incomplete = True
            self._add_problem(error)
        except Exception:  # a bug must not stop the other accounts
            report.is_incomplete = True
            report.problems += 1
            log.exception("poll_bug", account=self.account.name)
        report.requests = self._client.requests - requests
        report.jobs_waiting = self._book.never_listed
        report.jobs_left_out = self._book.left_out(time.monotonic())
        self._metrics.set_left_out(self.account.name, report.jobs_left_out)
        report.duration_ms = round((time.monotonic() - begun) * 1000, 3)
        if report.is_good and not report.is_paused:
            self._metrics.set_success(self.account.name, time.time())
        log.info("poll_pass", **msgspec.structs.asdict(report))
        return report

    async def _list_jobs(self) -> None:
        """List the jobs, or continue the list of the last pass."""
        oldest = self.account.oldest_job(time.time())
        # If this part fails, the next pass begins the list again.
        paging, self._paused = self._paused, None
        self._book.begin_pass()
        if paging is None:
            paging = Paging(JOB_LIST)
            self._book.begin_listing()
        try:
            if await self._read_job_pages(paging, oldest):
                self._book.end_listing()
            else:
                self._paused = paging
                self._report.is_paused = True
        except ListingFailed as error:
            # The jobs that are known are still listed.
            self._report.is_incomplete = True
            self._add_problem(error)

    async def _read_job_pages(self, paging: Paging, oldest: float | None) -> bool:
        """Read pages of the list of the jobs; return whether it has ended.

        Raises:
            ListingFailed: a page cannot be read, or the list is too long.
        """
        ends = time.monotonic() + MAX_JOB_SECONDS
        for _ in range(MAX_JOB_PAGES):
            path, query = self._provider.jobs_request(paging.after)
            page = self._provider.read_jobs(await self._client.get(path, query))
            self._add_problems(page.problems, "jobs")
            has_no_more = self._book.add_page(page.jobs, oldest, time.monotonic())
            if self._book.is_full:
                raise ListingFailed(
                    f"too many jobs wait ({self._book.unfinished}): set created_within_days"
                )
            if page.next_after is None or has_no_more:
                return True
            paging.advance(page.next_after, len(page.jobs))
            if time.monotonic() >= ends:
                break
        return False

    async def _list_checkpoints(self, jobs: list[Job]) -> None:
        """List the checkpoints of these jobs, some at a time."""
        waiting = iter(jobs)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.account.max_concurrency, len(jobs))):
                    group.create_task(self._work(waiting))
        except* CheckpointReadyError as errors:
            raise errors.exceptions[0] from None
        finally:
            for job in waiting:
                self._book.put_back(job)

    async def _work(self, waiting: Iterator[Job]) -> None:
        while time.monotonic() < self._ends and (job := next(waiting, None)) is not None:
            try:
                is_complete = await self._list_job(job)
            except ListingFailed as error:
                self._react(job, error)
                continue
            self._failures_in_a_row = 0
            self._report.jobs_listed += 1
            if is_complete and self._book.finish(job, time.time(), time.monotonic()):
                self._lister.forget(job.id)

    def _react(self, job: Job, error: ListingFailed) -> None:
        """Report the failure. Forget a deleted job. End the pass if the provider is away.

        Otherwise each job would wait for all its attempts.
        """
        not_found = 0
        if isinstance(error, NotFound):
            not_found = self._book.drop(job, time.monotonic())
        if not_found == MAX_NOT_FOUND:
            log.warning(
                "poll_job_left_out",
                account=self.account.name,
                job=job.id,
                error=str(error),
                retry_seconds=FIRST_DELAY_SECONDS,
            )
        if not_found < MAX_NOT_FOUND:
            self._add_problem(error, job=job.id)
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
