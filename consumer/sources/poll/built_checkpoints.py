"""Builds the object of a checkpoint for providers whose lists have another form.

The same checkpoint must always give the same bytes, because the service reports a repeated id with
another content as a conflict.
"""

import re
from typing import Final

import msgspec

from consumer.sources.poll.pages import Element, Job

# At most 18 digits, so the step fits 64 bits.
_STEP: Final = re.compile(r"(?:step|checkpoint|ckpt|resume)[-_]?([0-9]{1,18})(?![0-9])").search
_NUMBER: Final = re.compile(r"[0-9]{1,18}").fullmatch


def step_in_name(name: str) -> int:
    """Return the step in the user's name of a checkpoint: `step-100`, `000100`. 0 without one."""
    found = _STEP(name)
    if found is not None:
        return int(found[1])
    return int(name) if _NUMBER(name) else 0


def build_element(  # noqa: PLR0913 - the fields of a checkpoint
    job: Job,
    identity: str,
    *,
    provider: str,
    model: str,
    step: int,
    created_at: float,
    uri: str | None = None,
    expires_at: float | None = None,
) -> Element:
    """Return the object of a checkpoint. Times are in epoch seconds."""
    document: dict[str, object] = {
        "id": identity,
        "object": "fine_tuning.job.checkpoint",
        "created_at": int(created_at),
        "fine_tuning_job_id": job.id,
        "fine_tuned_model_checkpoint": model,
        "step_number": step,
        "metrics": {"step": step},
        "provider": provider,
    }
    if job.base_model:
        document["base_model"] = job.base_model
    if uri:
        document["uri"] = uri
    if expires_at is not None:
        document["expires_at"] = int(expires_at)
    return Element(identity, created_at, msgspec.json.encode(document))
