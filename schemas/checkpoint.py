"""The checkpoint object as producers send it: in wire spelling and in the spelling of SDKs.

The fields must stay in alphabetical order, so that the encoded `Checkpoint` has sorted keys. The
canonical form, which is published, and the comparison form, whose digest is stored, need sorted
keys. Decoding drops unknown fields without an error. Code that must keep them decodes to a dict.
An optional field that is null is the same as an absent one, and is not encoded.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

CHECKPOINT_OBJECT: Final = "fine_tuning.job.checkpoint"

FIRST_UNIX_SECOND: Final = -62_135_596_800
"""0001-01-01T00:00:00Z, the first second that ``datetime`` can represent."""
LAST_UNIX_SECOND: Final = 253_402_300_799
"""9999-12-31T23:59:59Z, the last second that RFC 3339 and ``datetime`` can represent."""

JobId = Annotated[
    str,
    Meta(min_length=1, description="Id of the fine-tuning job.", examples=["ftjob-abc123"]),
]
CheckpointId = Annotated[
    str,
    Meta(
        min_length=1,
        description="Id of the checkpoint. Two records with the same id are one checkpoint.",
        examples=["ftckpt_qtZ5Gyk4BLq1SfLFWp3RtO3P"],
    ),
]
UnixSeconds = Annotated[
    int,
    Meta(
        ge=FIRST_UNIX_SECOND,
        le=LAST_UNIX_SECOND,
        description="Time of creation in seconds since 1970 (UTC), in the years 1 to 9999.",
        examples=[1_721_764_867],
    ),
]
Step = Annotated[
    int,
    Meta(
        ge=-(2**63),
        le=2**63 - 1,
        description="Step of the fine-tuning job at which the checkpoint was created.",
        examples=[88],
    ),
]
ModelName = Annotated[
    str,
    Meta(
        description="Name of the model of this checkpoint. Any text is accepted.",
        examples=["ft:gpt-4o-mini-2024-07-18:my-org:custom_suffix:9ABel2dg:ckpt-step-88"],
    ),
]
FilledText = Annotated[str, Meta(min_length=1)]
Provider = Annotated[
    FilledText | None,
    Meta(
        description=(
            "Who trained the checkpoint: a hosted provider, or a trainer of your own. Any text that"
            " is not empty is accepted. It takes the place of the provider in the model name."
        ),
        examples=["openai", "azure", "mistral", "together", "fireworks", "tinker", "trainer"],
    ),
]
BaseModel = Annotated[
    FilledText | None,
    Meta(
        description=(
            "Model that was fine-tuned. It takes the place of the base model in the model name."
        ),
        examples=["meta-llama/Llama-3.1-8B"],
    ),
]
WeightsUri = Annotated[
    FilledText | None,
    Meta(
        description="Where the weights are. Any text that is not empty is accepted.",
        examples=["s3://bucket/runs/7/checkpoint-500"],
    ),
]
ExpiresAt = Annotated[
    Annotated[int, Meta(ge=FIRST_UNIX_SECOND, le=LAST_UNIX_SECOND)] | None,
    Meta(
        description=(
            "Time at which the weights are deleted, in seconds since 1970 (UTC), in the years 1 to"
            " 9999."
        ),
        examples=[1_724_356_867],
    ),
]
CheckpointObject = Annotated[
    Literal["fine_tuning.job.checkpoint"], Meta(description="Type of the object.")
]
FullValidLoss = Annotated[float | None, Meta(description="Loss on the whole validation data.")]
FullValidAccuracy = Annotated[
    float | None, Meta(description="Mean token accuracy on the whole validation data.")
]
MetricsStep = Annotated[int | float | None, Meta(description="Step of these metrics.")]
TrainLoss = Annotated[float | None, Meta(description="Loss on the training batch.")]
TrainAccuracy = Annotated[
    float | None, Meta(description="Mean token accuracy on the training batch.")
]
ValidLoss = Annotated[float | None, Meta(description="Loss on the validation batch.")]
ValidAccuracy = Annotated[
    float | None, Meta(description="Mean token accuracy on the validation batch.")
]


class Metrics(Struct, frozen=True, omit_defaults=True, gc=False):
    """The metrics measured at the step. Each number may be missing."""

    full_valid_loss: FullValidLoss = None
    full_valid_mean_token_accuracy: FullValidAccuracy = None
    step: MetricsStep = None
    train_loss: TrainLoss = None
    train_mean_token_accuracy: TrainAccuracy = None
    valid_loss: ValidLoss = None
    valid_mean_token_accuracy: ValidAccuracy = None


class Checkpoint(Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A model checkpoint of a fine-tuning job, ready to use."""

    base_model: BaseModel = None
    created_at: UnixSeconds
    expires_at: ExpiresAt = None
    fine_tuned_model_checkpoint: ModelName
    fine_tuning_job_id: JobId
    id: CheckpointId
    metrics: Metrics
    object: CheckpointObject
    provider: Provider = None
    step_number: Step
    uri: WeightsUri = None


class SdkMetrics(Struct, frozen=True, omit_defaults=True, gc=False, rename="camel"):
    """`Metrics` in the spelling of SDKs (camelCase)."""

    full_valid_loss: FullValidLoss = None
    full_valid_mean_token_accuracy: FullValidAccuracy = None
    step: MetricsStep = None
    train_loss: TrainLoss = None
    train_mean_token_accuracy: TrainAccuracy = None
    valid_loss: ValidLoss = None
    valid_mean_token_accuracy: ValidAccuracy = None


class SdkCheckpoint(
    Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False, rename="camel"
):
    """`Checkpoint` in the spelling of SDKs (camelCase)."""

    base_model: BaseModel = None
    created_at: UnixSeconds
    expires_at: ExpiresAt = None
    fine_tuned_model_checkpoint: ModelName
    fine_tuning_job_id: JobId
    id: CheckpointId
    metrics: SdkMetrics
    object: CheckpointObject
    provider: Provider = None
    step_number: Step
    uri: WeightsUri = None
