"""The providers: which addresses list jobs and checkpoints, and what their elements mean.

Sources: OpenAI `openapi.yaml` (ListPaginatedFineTuningJobs, ListFineTuningJobCheckpoints), which
Azure and gateways follow. Together: docs.together.ai, reference of `GET /fine-tunes` and
`GET /fine-tunes/{id}/checkpoints`, and `FinetuneJobStatus` of its SDK. Tinker and Fireworks have
modules of their own.
"""

from functools import partial
from typing import Any, Final, Protocol
from urllib.parse import quote

import msgspec

from consumer.sources.poll.accounts import Account
from consumer.sources.poll.built_checkpoints import build_element
from consumer.sources.poll.errors import ListingFailed
from consumer.sources.poll.fireworks import Fireworks
from consumer.sources.poll.pages import (
    CheckpointsPage,
    Element,
    Job,
    JobsPage,
    Query,
    check_id,
    check_job_id,
    creation_time,
    decode_element,
    decode_page,
    epoch_seconds,
    model_name,
    read_each,
)
from consumer.sources.poll.tinker import Tinker

OPENAI_ENDED: Final = ("succeeded", "failed", "cancelled")
TOGETHER_ENDED: Final = ("completed", "error", "user_error", "cancelled")


class Provider(Protocol):
    """The dialect of one kind of account."""

    def jobs_request(self, after: str | None) -> tuple[str, Query]:
        """Return path and parameters of a page of the jobs."""

    def checkpoints_request(self, job: Job, after: str | None) -> tuple[str, Query]:
        """Return path and parameters of a page of the checkpoints of a job."""

    def read_jobs(self, body: bytes) -> JobsPage:
        """Decode a page of jobs.

        Raises:
            ListingFailed: it is malformed.
        """

    def read_checkpoints(self, job: Job, body: bytes) -> CheckpointsPage:
        """Decode a page of checkpoints.

        Raises:
            ListingFailed: it is malformed.
        """


class _Job(msgspec.Struct):
    """The fields of a job that the poller needs. An unknown status counts as running."""

    id: str
    status: str = ""
    created_at: Any = None
    finished_at: Any = None
    model: Any = None


class _OpenAICheckpoint(msgspec.Struct):
    id: str
    created_at: Any = None


class _TogetherCheckpoint(msgspec.Struct):
    step: int
    created_at: Any = None
    path: str = ""
    checkpoint_type: str = ""


_job = msgspec.json.Decoder(_Job)
_openai_checkpoint = msgspec.json.Decoder(_OpenAICheckpoint)
_together_checkpoint = msgspec.json.Decoder(_TogetherCheckpoint)


def provider_of(account: Account) -> Provider:
    """Return the provider of an account."""
    match account.kind:
        case "together":
            return Together()
        case "tinker":
            return Tinker(account.page_size)
        case "fireworks":
            return Fireworks(account.page_size)
        case _:
            return OpenAI(account.page_size)


class OpenAI:
    """OpenAI, Azure OpenAI, Microsoft Foundry, and gateways with the same endpoints."""

    def __init__(self, page_size: int) -> None:
        self._page_size = str(page_size)

    def jobs_request(self, after: str | None) -> tuple[str, Query]:
        """Return path and parameters of a page of the jobs."""
        return "/fine_tuning/jobs", self._query(after)

    def checkpoints_request(self, job: Job, after: str | None) -> tuple[str, Query]:
        """Return path and parameters of a page of the checkpoints of a job."""
        return f"/fine_tuning/jobs/{quote(job.id, safe='')}/checkpoints", self._query(after)

    def read_jobs(self, body: bytes) -> JobsPage:
        """Decode a page of jobs."""
        page = decode_page(body)
        jobs, problems = _jobs(page.data, OPENAI_ENDED)
        last = jobs[-1].id if jobs else None
        return JobsPage(jobs, _next_after(last, has_more=bool(page.has_more)), problems)

    def read_checkpoints(self, job: Job, body: bytes) -> CheckpointsPage:  # noqa: ARG002 - of the protocol
        """Decode a page of checkpoints."""
        page = decode_page(body)
        elements, problems = read_each(page.data, _openai_element)
        last = elements[-1].id if elements else None
        return CheckpointsPage(elements, _next_after(last, has_more=bool(page.has_more)), problems)

    def _query(self, after: str | None) -> Query:
        query = {"limit": self._page_size}
        return query if after is None else {**query, "after": after}


class Together:
    """Together AI. A list is one response, and a checkpoint has no id."""

    def jobs_request(self, after: str | None) -> tuple[str, Query]:  # noqa: ARG002 - of the protocol
        """Return the path of the jobs."""
        return "/fine-tunes", {}

    def checkpoints_request(self, job: Job, after: str | None) -> tuple[str, Query]:  # noqa: ARG002 - of the protocol
        """Return the path of the checkpoints of a job."""
        return f"/fine-tunes/{quote(job.id, safe='')}/checkpoints", {}

    def read_jobs(self, body: bytes) -> JobsPage:
        """Decode the jobs."""
        jobs, problems = _jobs(decode_page(body).data, TOGETHER_ENDED)
        return JobsPage(jobs, None, problems)

    def read_checkpoints(self, job: Job, body: bytes) -> CheckpointsPage:
        """Decode the checkpoints, and build an object of each."""
        read = partial(_together_element, job)
        elements, problems = read_each(decode_page(body).data, read)
        return CheckpointsPage(elements, None, problems)


def _openai_element(raw: msgspec.Raw, number: int) -> Element:
    found = decode_element(raw, _openai_checkpoint, number)
    return Element(check_id(found.id, number), epoch_seconds(found.created_at), bytes(raw))


def _together_element(job: Job, raw: msgspec.Raw, number: int) -> Element:
    found = decode_element(raw, _together_checkpoint, number)
    created_at = creation_time(found.created_at, number)
    kind = found.checkpoint_type or "checkpoint"
    # A path with a query may be signed. Each listing would then give other bytes for the same id.
    return build_element(
        job,
        f"{job.id}:{found.step}:{kind}",
        provider="together",
        # The name by which Together continues from a checkpoint (`from_checkpoint`).
        model=f"{job.id}:{found.step}",
        step=found.step,
        created_at=created_at,
        uri=found.path if "?" not in found.path else None,
    )


def _jobs(data: list[msgspec.Raw], ended: tuple[str, ...]) -> tuple[list[Job], list[str]]:
    def read(raw: msgspec.Raw, number: int) -> Job:
        found = decode_element(raw, _job, number)
        return Job(
            check_job_id(found.id, number),
            found.status.lower() in ended,
            epoch_seconds(found.created_at),
            epoch_seconds(found.finished_at),
            model_name(found.model),
        )

    return read_each(data, read)


def _next_after(last: str | None, *, has_more: bool) -> str | None:
    if not has_more:
        return None
    if last is None:
        raise ListingFailed("malformed page: has_more is true, but there is no element to continue")
    return last
