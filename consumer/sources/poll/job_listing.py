"""The listing of one job: its checkpoints page by page, each page sent before the next one.

A page counts only after its records are acknowledged. The poller and the trigger of the receiver
use this step.
"""

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from consumer.sources.poll.accounts import Account
from consumer.sources.poll.known_ids import KnownIds
from consumer.sources.poll.metrics import PollMetrics
from consumer.sources.poll.pages import CheckpointsPage, Element, Job, Query, is_newest_first
from consumer.sources.poll.paging import CHECKPOINT_LIST, Paging
from consumer.sources.poll.providers import provider_of
from consumer.sources.poll.refusals import refusal
from consumer.sources.poll.sink import CheckpointRecord, Sink

MAX_MESSAGES: Final = 5
# Key, headers and framing of a record, as a broker counts them in a batch of its own.
RECORD_OVERHEAD_BYTES: Final = 1024


class Client(Protocol):
    """Sends the requests of one account."""

    requests: int

    @property
    def blocked_seconds(self) -> float:
        """How long the provider has asked to send no request from now on."""

    def read_secrets(self) -> None:
        """Read the files of the secrets again."""

    async def get(self, path: str, query: Query) -> bytes:
        """Return the body of a response with status 200."""


class JobReport(msgspec.Struct):
    """What the listing of one job did, also if it failed."""

    checkpoints_seen: int = 0
    checkpoints_sent: int = 0
    problems: int = 0
    messages: list[str] = []
    """The first problems."""

    def add_problems(self, problems: list[str]) -> None:
        """Count problems, and keep the first ones."""
        self.problems += len(problems)
        self.messages += problems[: MAX_MESSAGES - len(self.messages)]


class JobLister:
    """Lists the jobs of one account, and remembers which checkpoints were sent."""

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        account: Account,
        client: Client,
        sink: Sink,
        metrics: PollMetrics,
        max_record_bytes: Callable[[], int],
        *,
        sends_invalid: bool = True,
    ) -> None:
        """`max_record_bytes` returns the largest batch that the topic accepts.

        With `sends_invalid`, the service decides what is invalid, and writes a dead letter.
        """
        self._account = account
        self._provider = provider_of(account)
        self._client = client
        self._sink = sink
        self._metrics = metrics
        self._max_record_bytes = max_record_bytes
        self._sends_invalid = sends_invalid
        self._known = KnownIds()

    def forget(self, job_id: str) -> None:
        """Forget the checkpoints of a job that needs no other listing."""
        self._known.remove(job_id)

    async def list_job(self, job: Job, report: JobReport) -> bool:
        """Send the new checkpoints of a job, page by page; return whether nothing is missing.

        Raises:
            CheckpointReadyError: a request or the delivery of a page failed. The report has what
                was done before.
        """
        entry = self._known.of(job.id)
        # If the last listing did not reach its end, older checkpoints may be missing behind a
        # known one. An ended job is always listed to its end.
        may_stop = entry.is_complete and not job.has_ended
        entry.is_complete = False
        paging = Paging(CHECKPOINT_LIST)
        while True:
            path, query = self._provider.checkpoints_request(job, paging.after)
            page = self._provider.read_checkpoints(job, await self._client.get(path, query))
            report.add_problems(page.problems)
            is_rest_known = _is_rest_known(page, entry.ids)
            new = [one for one in page.elements if one.id not in entry.ids]
            await self._send(job, new, report)
            report.checkpoints_seen += len(page.elements)
            if page.next_after is None or (may_stop and is_rest_known):
                break
            paging.advance(page.next_after, len(page.elements))
        is_complete = report.problems == 0
        self._known.of(job.id).is_complete = is_complete
        return is_complete

    async def _send(self, job: Job, elements: list[Element], report: JobReport) -> None:
        if not elements:
            return
        max_value_bytes = self._max_record_bytes() - RECORD_OVERHEAD_BYTES
        fitting = []
        for element in elements:
            size = len(element.id.encode()) + len(element.value)
            if size > max_value_bytes:
                report.add_problems([f"a checkpoint of {size} bytes does not fit the topic"])
            elif not self._sends_invalid and (reason := refusal(element)) is not None:
                report.add_problems([reason])
            else:
                fitting.append(element)
        if not fitting:
            return
        await self._sink.send(
            [CheckpointRecord(element.id.encode(), element.value) for element in fitting]
        )
        self._known.add(job.id, [element.id for element in fitting])
        report.checkpoints_sent += len(fitting)
        self._metrics.count_sent(self._account.name, len(fitting))


def _is_rest_known(page: CheckpointsPage, known: set[str]) -> bool:
    """Return whether the page proves that all checkpoints after it are older than a known one."""
    if not page.elements or page.elements[-1].id not in known:
        return False
    return is_newest_first([element.created_at for element in page.elements])
