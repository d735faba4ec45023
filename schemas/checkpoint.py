"""The checkpoint object as producers send it: in wire spelling and in the spelling of SDKs.

The fields must stay in alphabetical order, so that the encoded `Checkpoint` has sorted keys. The
canonical form, which is published, and the comparison form, whose digest is stored, need sorted
keys. Decoding drops unknown fields without an error. Code that must keep them decodes to a dict.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

CHECKPOINT_OBJECT: Final = "fine_tuning.job.checkpoint"

FIRST_UNIX_SECOND: Final = -62_135_596_800
"""0001-01-01T00:00:00Z, the first second that ``datetime`` can represent."""
LAST_UNIX_SECOND: Final = 253_402_300_799
"""9999-12-31T23:59:59Z, the last second that RFC 3339 and ``datetime`` can represent."""

Name = Annotated[str, Meta(min_length=1)]
UnixSeconds = Annotated[int, Meta(ge=FIRST_UNIX_SECOND, le=LAST_UNIX_SECOND)]
Step = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Metrics(Struct, frozen=True, omit_defaults=True, gc=False):
    """The metrics measured at the step. Each number may be missing."""

    full_valid_loss: float | None = None
    full_valid_mean_token_accuracy: float | None = None
    step: int | float | None = None
    train_loss: float | None = None
    train_mean_token_accuracy: float | None = None
    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None


class Checkpoint(Struct, frozen=True, gc=False):
    """A model checkpoint of a fine-tuning job, ready to use."""

    created_at: UnixSeconds
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: Name
    id: Name
    metrics: Metrics
    object: Literal["fine_tuning.job.checkpoint"]
    step_number: Step


class SdkMetrics(Struct, frozen=True, omit_defaults=True, gc=False, rename="camel"):
    """`Metrics` in the spelling of SDKs (camelCase)."""

    full_valid_loss: float | None = None
    full_valid_mean_token_accuracy: float | None = None
    step: int | float | None = None
    train_loss: float | None = None
    train_mean_token_accuracy: float | None = None
    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None


class SdkCheckpoint(Struct, frozen=True, gc=False, rename="camel"):
    """`Checkpoint` in the spelling of SDKs (camelCase)."""

    created_at: UnixSeconds
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: Name
    id: Name
    metrics: SdkMetrics
    object: Literal["fine_tuning.job.checkpoint"]
    step_number: Step
