"""Fireworks: the trainer jobs of its Training API, and the checkpoints of each.

Sources:

- `GET /v1/accounts/{account}/rlorTrainerJobs` with `pageSize` (at most 200) and `pageToken`, the
  answer with `nextPageToken`, and the fields and states of a job: docs.fireworks.ai, reference
  "List Reinforcement Fine-tuning Steps", and `types/reinforcement_fine_tuning_step.py` of the
  repository fw-ai-external/python-sdk.
- `GET .../rlorTrainerJobs/{job}/checkpoints` with the same parameters, oldest first, the two names
  of its list, and the fields of a checkpoint: `list_checkpoints` of `FireworksClient` in the
  package fireworks-ai 1.2.30.
- `Authorization: Bearer`: docs.fireworks.ai, the same reference.

Only a checkpoint that is `promotable` can become a model, so only such a checkpoint is sent. The
others are for resuming a training.
"""

from functools import partial
from typing import Any, Final
from urllib.parse import quote

import msgspec

from consumer.sources.poll.built_checkpoints import build_element, step_in_name
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
    decode_response,
    epoch_seconds,
    model_name,
    read_each,
)

MAX_PAGE_SIZE: Final = 200
ENDED: Final = frozenset(
    f"JOB_STATE_{state}"
    for state in (
        "COMPLETED",
        "FAILED",
        "CANCELLED",
        "EXPIRED",
        "EARLY_STOPPED",
        "DELETING",
        "DELETING_CLEANING_UP",
        "DELETED",
        "ARCHIVED",
    )
)


class _JobsPage(msgspec.Struct, rename="camel"):
    rlor_trainer_jobs: list[msgspec.Raw] = []
    next_page_token: str = ""


class _TrainingConfig(msgspec.Struct, rename="camel"):
    base_model: Any = None


class _Job(msgspec.Struct, rename="camel"):
    name: str
    state: str = ""
    create_time: Any = None
    completed_time: Any = None
    training_config: _TrainingConfig | None = None


class _CheckpointsPage(msgspec.Struct, rename="camel"):
    checkpoints: list[msgspec.Raw] = []
    rlor_trainer_job_checkpoints: list[msgspec.Raw] = []
    next_page_token: str = ""


class _Checkpoint(msgspec.Struct, rename="camel"):
    name: str
    create_time: Any = None
    promotable: bool = False


_jobs_page = msgspec.json.Decoder(_JobsPage)
_job = msgspec.json.Decoder(_Job)
_checkpoints_page = msgspec.json.Decoder(_CheckpointsPage)
_checkpoint = msgspec.json.Decoder(_Checkpoint)


class Fireworks:
    """The lists of Fireworks. See `providers.Provider` for the methods."""

    def __init__(self, page_size: int) -> None:
        self._page_size = str(min(page_size, MAX_PAGE_SIZE))

    def jobs_request(self, after: str | None) -> tuple[str, Query]:
        """Return path and parameters of a page of the jobs."""
        return "/rlorTrainerJobs", self._query(after)

    def checkpoints_request(self, job: Job, after: str | None) -> tuple[str, Query]:
        """Return path and parameters of a page of the checkpoints of a job."""
        return f"/rlorTrainerJobs/{quote(job.id, safe='')}/checkpoints", self._query(after)

    def read_jobs(self, body: bytes) -> JobsPage:
        """Decode a page of jobs."""
        page = decode_response(body, _jobs_page)
        jobs, problems = read_each(page.rlor_trainer_jobs, _read_job)
        return JobsPage(jobs, page.next_page_token or None, problems)

    def read_checkpoints(self, job: Job, body: bytes) -> CheckpointsPage:
        """Decode a page of checkpoints; leave out those that are not promotable."""
        page = decode_response(body, _checkpoints_page)
        raws = page.checkpoints or page.rlor_trainer_job_checkpoints
        elements, problems = read_each(raws, partial(_read_element, job))
        return CheckpointsPage(elements, page.next_page_token or None, problems)

    def _query(self, after: str | None) -> Query:
        query = {"pageSize": self._page_size}
        return query if after is None else {**query, "pageToken": after}


def _read_job(raw: msgspec.Raw, number: int) -> Job:
    found = decode_element(raw, _job, number)
    base_model = found.training_config.base_model if found.training_config else None
    return Job(
        check_job_id(found.name.rpartition("/")[2], number),
        found.state in ENDED,
        epoch_seconds(found.create_time),
        epoch_seconds(found.completed_time),
        model_name(base_model),
    )


def _read_element(job: Job, raw: msgspec.Raw, number: int) -> Element | None:
    found = decode_element(raw, _checkpoint, number)
    if not found.promotable:
        return None
    name = check_id(found.name, number)
    created_at = creation_time(found.create_time, number)
    return build_element(
        job,
        name,
        provider="fireworks",
        model=name,
        step=step_in_name(name.rpartition("/")[2]),
        created_at=created_at,
    )
