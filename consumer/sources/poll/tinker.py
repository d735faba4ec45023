"""Tinker (Thinking Machines): training runs, and the checkpoints of each.

Sources, of the package tinker 0.38.0, the SDK (repository thinking-machines-lab/tinker):

- `GET /api/v1/training_runs` with `limit` and `offset`: `lib/public_interfaces/rest_client.py`; the
  answer: `types/training_runs_response.py`, `types/training_run.py`, `types/cursor.py`.
- `GET /api/v1/training_runs/{id}/checkpoints`, one answer with all: `resources/weights.py`,
  `types/checkpoints_list_response.py` ("None for unpaginated responses"), `types/checkpoint.py`.
- The header `X-API-Key`: `lib/_auth_token_provider.py`. The address: `lib/base_url.py`.

A run has no status. It only has the time of its last request. So a run counts as ended after a day
without one. It is listed again if a later request shows that it continues.
"""

import time
from collections.abc import Callable
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

QUIET_SECONDS: Final = 86_400.0


class _Cursor(msgspec.Struct):
    offset: int
    total_count: int


class _RunsPage(msgspec.Struct):
    training_runs: list[msgspec.Raw]
    cursor: _Cursor


class _Run(msgspec.Struct):
    training_run_id: str
    base_model: Any = None
    last_request_time: Any = None


class _CheckpointsPage(msgspec.Struct):
    checkpoints: list[msgspec.Raw]


class _Checkpoint(msgspec.Struct):
    tinker_path: str
    time: Any = None
    expires_at: Any = None


_runs_page = msgspec.json.Decoder(_RunsPage)
_run = msgspec.json.Decoder(_Run)
_checkpoints_page = msgspec.json.Decoder(_CheckpointsPage)
_checkpoint = msgspec.json.Decoder(_Checkpoint)


class Tinker:
    """The lists of Tinker. See `providers.Provider` for the methods."""

    def __init__(self, page_size: int, clock: Callable[[], float] = time.time) -> None:
        """`clock` returns epoch seconds."""
        self._page_size = str(page_size)
        self._clock = clock

    def jobs_request(self, after: str | None) -> tuple[str, Query]:
        """Return path and parameters of a page of the runs; `after` is an offset."""
        return "/api/v1/training_runs", {"limit": self._page_size, "offset": after or "0"}

    def checkpoints_request(self, job: Job, after: str | None) -> tuple[str, Query]:  # noqa: ARG002 - of the protocol
        """Return the path of the checkpoints of a run."""
        return f"/api/v1/training_runs/{quote(job.id, safe='')}/checkpoints", {}

    def read_jobs(self, body: bytes) -> JobsPage:
        """Decode a page of runs."""
        page = decode_response(body, _runs_page)
        jobs, problems = read_each(page.training_runs, self._read_job)
        end = page.cursor.offset + len(page.training_runs)
        has_more = bool(page.training_runs) and end < page.cursor.total_count
        return JobsPage(jobs, str(end) if has_more else None, problems)

    def read_checkpoints(self, job: Job, body: bytes) -> CheckpointsPage:
        """Decode the checkpoints of a run."""
        page = decode_response(body, _checkpoints_page)
        elements, problems = read_each(page.checkpoints, partial(_read_element, job))
        return CheckpointsPage(elements, None, problems)

    def _read_job(self, raw: msgspec.Raw, number: int) -> Job:
        run = decode_element(raw, _run, number)
        last = epoch_seconds(run.last_request_time)
        has_ended = last is not None and self._clock() - last > QUIET_SECONDS
        return Job(
            check_job_id(run.training_run_id, number),
            has_ended,
            None,
            last if has_ended else None,
            model_name(run.base_model),
        )


def _read_element(job: Job, raw: msgspec.Raw, number: int) -> Element:
    found = decode_element(raw, _checkpoint, number)
    path = check_id(found.tinker_path, number)
    created_at = creation_time(found.time, number)
    return build_element(
        job,
        path,
        provider="tinker",
        model=path,
        step=step_in_name(path.rpartition("/")[2]),
        created_at=created_at,
        uri=path,
        expires_at=epoch_seconds(found.expires_at),
    )
