"""The ready event: a CloudEvents 1.0 envelope around an enriched checkpoint."""

from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

READY_TYPE: Final = "fine_tuning.job.checkpoint.ready"
# The type of the events by which a subscriber is tested. It announces no checkpoint.
CHECK_TYPE: Final = "fine_tuning.job.checkpoint.ready.check"
DATASCHEMA: Final = "urn:checkpoint-ready:schema:ready-event:1"
DATA_CONTENT_TYPE: Final = "application/json"
EVENT_CONTENT_TYPE: Final = "application/cloudevents+json; charset=UTF-8"
SPEC_VERSION: Final = "1.0"

Rfc3339 = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Metric = Literal["full_valid_loss", "valid_loss", "train_loss"]


class Origin(Struct, frozen=True, gc=False):
    """Topic, partition, offset and timestamp of the source record (timestamp -1: it has none)."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


class Model(Struct, frozen=True, gc=False):
    """The parsed model name of the checkpoint.

    `is_final` is a heuristic: it is true if the name of a hosted model has no `:ckpt-step-N`.
    """

    provider: Literal["openai", "azure", "path", "unrecognised"]
    base_model: str | None = None
    organization: str | None = None
    suffix: str | None = None
    step: int | None = None
    is_final: bool = False


class Evaluation(Struct, frozen=True, omit_defaults=True, gc=False):
    """The figures to compare checkpoints by. A figure is absent if it is unknown or not finite."""

    loss: float | None = None
    metric: Metric | None = None
    perplexity: float | None = None
    generalization_gap: float | None = None


class ReadyData(Struct, frozen=True, gc=False):
    """The payload. `checkpoint` is the source object in wire spelling; unknown fields are kept."""

    checkpoint: dict[str, Any]
    model: Model
    evaluation: Evaluation
    origin: Origin


class ReadyEvent(Struct, frozen=True, gc=False):
    """A checkpoint is ready to use. Only a republished event has a `replayid`."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: Rfc3339
    datacontenttype: str
    dataschema: str
    partitionkey: str
    data: ReadyData
    replayid: str | UnsetType = UNSET


class CheckData(Struct, frozen=True, gc=False):
    """The payload of a check event: its meaning in words, and whether it was committed."""

    message: str
    check: str
    partition: int
    committed: bool


class CheckEvent(Struct, frozen=True, gc=False):
    """Shows whether a subscriber reads committed. Subscribers ignore events of this type."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: Rfc3339
    datacontenttype: str
    partitionkey: str
    data: CheckData
