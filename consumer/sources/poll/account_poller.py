"""One pass over one account: list the jobs, list their checkpoints, send what is new.

A page counts only after its records are acknowledged. So if the process is killed at any point, the
next process lists the same jobs again and sends what is missing.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Final, Protocol

import msgspec
import structlog

from consumer.errors import CheckpointReadyError
from consumer.sources.poll.accounts import Account
from consumer.sources.poll.errors import ListingFailed, NotFound, NotReachable, PassFailed
from consumer.sources.poll.job_book import JobBook
from consumer.sources.poll.known_ids import KnownIds
from consumer.sources.poll.metrics import PollMetrics
from consumer.sources.poll.pages import CheckpointsPage, Element, Job, is_newest_first
from consumer.sources.poll.providers import Query, provider_of
from consumer.sources.poll.sink import CheckpointRecord, Sink

MAX_PAGES: Final = 100_000
MAX_FAILURES_IN_A_ROW: Final = 3
LOGGED_PROBLEMS: Final = 5
# Key, headers and framing of a record, as a broker counts them in a batch of its own.
RECORD_OVERHEAD_BYTES: Final = 1024
log = structlog.get_logger(__name__)


class Client(Protocol):
    """Sends the requests of one account."""

    requests: int

    def read_secrets(self) -> None:
        """Read the files of the secrets again."""

    async def get(self, path: str, query: Query) -> bytes:
        """Return the body of a response with status 200."""


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
        self._sink = sink
        self._metrics = metrics
        self._max_value_bytes = max_record_bytes - RECORD_OVERHEAD_BYTES
        self._provider = provider_of(account)
        self._book = JobBook()
        self._known = KnownIds()
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
                after = _advanced(after, page.next_after)
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
                self._known.remove(job.id)

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
        """Send the new checkpoints of a job, page by page; return whether nothing is missing."""
        entry = self._known.of(job.id)
        # If the last listing did not reach its end, older checkpoints may be missing behind a
        # known one. An ended job is always listed to its end.
        may_stop = entry.is_complete and not job.has_ended
        entry.is_complete = False
        problems = self._report.problems
        after: str | None = None
        for _ in range(MAX_PAGES):
            path, query = self._provider.checkpoints_request(job, after)
            page = self._provider.read_checkpoints(job, await self._client.get(path, query))
            self._add_problems(page.problems, job.id)
            is_rest_known = _is_rest_known(page, entry.ids)
            await self._send(job, [one for one in page.elements if one.id not in entry.ids])
            self._report.checkpoints_seen += len(page.elements)
            if page.next_after is None or (may_stop and is_rest_known):
                break
            after = _advanced(after, page.next_after)
        is_complete = self._report.problems == problems
        self._known.of(job.id).is_complete = is_complete
        return is_complete

    async def _send(self, job: Job, elements: list[Element]) -> None:
        fitting = []
        for element in elements:
            size = len(element.id.encode()) + len(element.value)
            if size > self._max_value_bytes:
                self._add_problems([f"a checkpoint of {size} bytes does not fit the topic"], job.id)
            else:
                fitting.append(element)
        if not fitting:
            return
        await self._sink.send(
            [CheckpointRecord(element.id.encode(), element.value) for element in fitting]
        )
        self._known.add(job.id, [element.id for element in fitting])
        self._report.checkpoints_sent += len(fitting)
        self._metrics.count_sent(self.account.name, len(fitting))

    def _add_problems(self, problems: list[str], listing: str) -> None:
        for problem in problems:
            self._add_problem(problem, job=listing)

    def _add_problem(self, problem: object, **facts: object) -> None:
        self._report.problems += 1
        if self._report.problems <= LOGGED_PROBLEMS:
            log.warning("poll_failed", account=self.account.name, error=str(problem), **facts)


def _advanced(after: str | None, next_after: str) -> str:
    if next_after == after:
        raise ListingFailed("malformed page: the provider repeats a page, it ignores `after`")
    return next_after


def _is_rest_known(page: CheckpointsPage, known: set[str]) -> bool:
    """Return whether the page proves that all checkpoints after it are older than a known one."""
    if not page.elements or page.elements[-1].id not in known:
        return False
    return is_newest_first([element.created_at for element in page.elements])
