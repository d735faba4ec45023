"""The checkpoint object in a ready event: the source object in wire spelling (snake_case).

Facts about the fields are in the JSON Schema that ``checkpoint-ready schema export`` prints.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from checkpoint_ready_testkit.json_text import JsonObject, in_name_order
from checkpoint_ready_testkit.validation import (
    MAX_DEPTH,
    require_integer,
    require_members,
    require_text,
)

CHECKPOINT_OBJECT: Final = "fine_tuning.job.checkpoint"
DEFAULT_CHECKPOINT_ID: Final = "ftckpt_qtZ5Gyk4BLq1SfLFWp3RtO3P"
DEFAULT_JOB_ID: Final = "ftjob-abc123"
DEFAULT_STEP: Final = 88
DEFAULT_CREATED_AT: Final = 1_721_764_867
FIRST_UNIX_SECOND: Final = -62_135_596_800
"""0001-01-01T00:00:00Z"""
LAST_UNIX_SECOND: Final = 253_402_300_799
"""9999-12-31T23:59:59Z"""
MAX_ID_CHARS: Final = 32_768
STEP_BITS: Final = 63
"""The absolute value of a step fits this number of bits."""

METRIC_NAMES: Final = (
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
    "step",
    "train_loss",
    "train_mean_token_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
)
OPTIONAL_NAMES: Final = ("base_model", "expires_at", "provider", "uri")
FIELD_NAMES: Final = (
    *OPTIONAL_NAMES,
    "created_at",
    "fine_tuned_model_checkpoint",
    "fine_tuning_job_id",
    "id",
    "metrics",
    "object",
    "step_number",
)
_CAMEL_CASE: Final = re.compile(r"[a-z][a-z0-9]*(?:[A-Z][a-z0-9]+)*[A-Z]?")
_WORDS: Final = re.compile(r"[A-Za-z][a-z0-9]*")


def default_model_name(step: int) -> str:
    """Return the name of a hosted model at a step."""
    return f"ft:gpt-4o-mini-2024-07-18:my-org:custom_suffix:9ABel2dg:ckpt-step-{step}"


def default_metrics(step: int) -> JsonObject:
    """Return the metrics of a checkpoint of a job with a validation file."""
    return {"full_valid_loss": 0.134, "step": step, "train_loss": 0.478}


def checkpoint_object(  # noqa: PLR0913 - one parameter for each field
    *,
    checkpoint_id: str,
    job_id: str,
    step: int,
    model: str,
    metrics: Mapping[str, Any],
    created_at: int | datetime,
    provider: str | None,
    base_model: str | None,
    uri: str | None,
    expires_at: int | datetime | None,
    unknown_fields: Mapping[str, Any],
) -> JsonObject:
    """Return the checkpoint as the service publishes it. An optional field that is None is absent.

    Raises:
        ValueError: the service would not publish a source record with these values.
    """
    for name, value in {"checkpoint_id": checkpoint_id, "job_id": job_id, "model": model}.items():
        require_text(name, value)
    require_integer("step", step)
    require_members("unknown_fields", unknown_fields, MAX_DEPTH)
    require_members("metrics", metrics, MAX_DEPTH - 1)
    if not checkpoint_id or len(checkpoint_id) > MAX_ID_CHARS:
        raise ValueError(f"checkpoint_id must have 1 to {MAX_ID_CHARS} characters")
    if not job_id:
        raise ValueError("job_id must not be empty")
    if not -(2**STEP_BITS) <= step < 2**STEP_BITS:
        raise ValueError(f"step must be an integer of 64 bits, not {step!r}")
    texts = {"provider": provider, "base_model": base_model, "uri": uri}
    for name, chosen in texts.items():
        if chosen is not None:
            require_text(name, chosen)
            if not chosen:
                raise ValueError(f"{name} must not be empty")
    optional = {
        **texts,
        "expires_at": None if expires_at is None else unix_seconds(expires_at, "expires_at"),
    }
    fields = {
        **{name: value for name, value in optional.items() if value is not None},
        "created_at": unix_seconds(created_at),
        "fine_tuned_model_checkpoint": model,
        "fine_tuning_job_id": job_id,
        "id": checkpoint_id,
        "metrics": _published_metrics(metrics),
        "object": CHECKPOINT_OBJECT,
        "step_number": step,
    }
    unknown = _in_snake_case(unknown_fields, FIELD_NAMES)
    published: JsonObject = in_name_order({**fields, **unknown})
    return published


def unix_seconds(time: int | datetime, name: str = "created_at") -> int:
    """Return a time as seconds since 1970. `name` is that of its field.

    Raises:
        ValueError: it has no time zone, or is not in the years 1 to 9999.
    """
    if isinstance(time, datetime):
        if time.tzinfo is None:
            raise ValueError(f"{name} must have a time zone")
        time = math.floor((time - datetime.fromtimestamp(0, UTC)).total_seconds())
    require_integer(name, time)
    if not FIRST_UNIX_SECOND <= time <= LAST_UNIX_SECOND:
        raise ValueError(f"{name} must be in the years 1 to 9999")
    return time


def _published_metrics(metrics: Mapping[str, Any]) -> JsonObject:
    known = {
        name: _metric(name, metrics[name]) for name in METRIC_NAMES if metrics.get(name) is not None
    }
    unknown = {name: value for name, value in metrics.items() if name not in METRIC_NAMES}
    return {**known, **_in_snake_case(unknown, METRIC_NAMES)}


def _metric(name: str, value: object) -> float:
    """Return a metric as the service writes it: `step` stays an integer, others are floats."""
    problem = f"metrics.{name} must be a finite number, not {value!r}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(problem)  # noqa: TRY004 - every refused value gives the same error
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(problem) from None
    if not math.isfinite(number):
        raise ValueError(problem)
    if name != "step":
        return number
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _in_snake_case(members: Mapping[str, Any], known: tuple[str, ...]) -> JsonObject:
    """Return unknown members under the names with which the service publishes them."""
    renamed: JsonObject = {}
    for name, value in members.items():
        wire_name = _snake_case(name)
        if name in known or wire_name in known:
            raise ValueError(f"{name} is a field of the contract: use its own parameter")
        renamed[name if wire_name in members else wire_name] = value
    return renamed


def _snake_case(name: str) -> str:
    if not _CAMEL_CASE.fullmatch(name):
        return name
    return "_".join(_WORDS.findall(name)).lower()
