"""The ready event: a CloudEvents 1.0 envelope around an enriched checkpoint.

`Meta` describes each field for subscribers. Limits in `extra_json_schema` are promises about what
the service writes: they are in the JSON Schema, but decoding does not check them.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

READY_TYPE: Final = "fine_tuning.job.checkpoint.ready"
# The type of the events by which a subscriber is tested. It announces no checkpoint.
CHECK_TYPE: Final = "fine_tuning.job.checkpoint.ready.check"
DATASCHEMA: Final = "urn:checkpoint-ready:schema:ready-event:1"
DATA_CONTENT_TYPE: Final = "application/json"
EVENT_CONTENT_TYPE: Final = "application/cloudevents+json; charset=UTF-8"
SPEC_VERSION: Final = "1.0"

SpecVersion = Annotated[
    str, Meta(description="Version of CloudEvents.", extra_json_schema={"const": SPEC_VERSION})
]
EventId = Annotated[
    str,
    Meta(
        description="Id of the checkpoint. There is one event for each id.",
        examples=["ftckpt_qtZ5Gyk4BLq1SfLFWp3RtO3P"],
        extra_json_schema={"minLength": 1},
    ),
]
Source = Annotated[
    str,
    Meta(
        description="The fine-tuning job as a URI reference.",
        examples=["/fine_tuning/jobs/ftjob-abc123"],
        extra_json_schema={"format": "uri-reference", "minLength": 1},
    ),
]
EventType = Annotated[
    str, Meta(description="Type of the event.", extra_json_schema={"const": READY_TYPE})
]
Subject = Annotated[
    str,
    Meta(
        description="Id of the checkpoint, the same as `id`.",
        examples=["ftckpt_qtZ5Gyk4BLq1SfLFWp3RtO3P"],
        extra_json_schema={"minLength": 1},
    ),
]
Rfc3339 = Annotated[
    str,
    Meta(
        description="Time at which the checkpoint was created, in UTC.",
        examples=["2024-07-23T20:01:07Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
DataContentType = Annotated[
    str, Meta(description="Format of `data`.", extra_json_schema={"const": DATA_CONTENT_TYPE})
]
DataSchema = Annotated[
    str,
    Meta(
        description="Address of the schema: the setting DATASCHEMA of the service.",
        examples=[DATASCHEMA],
        extra_json_schema={"format": "uri"},
    ),
]
PartitionKey = Annotated[
    str,
    Meta(
        description="Id of the fine-tuning job, which is also the key of the record.",
        examples=["ftjob-abc123"],
        extra_json_schema={"minLength": 1},
    ),
]
ReplayId = Annotated[
    str,
    Meta(
        description="Name of the replay that published the event again. A live event has none.",
        examples=["for-search"],
        extra_json_schema={"pattern": "^[A-Za-z0-9._-]+$"},
    ),
]
Metric = Literal["full_valid_loss", "valid_loss", "train_loss"]
Topic = Annotated[
    str, Meta(description="Topic of the record.", examples=["fine-tuning.checkpoints"])
]
Partition = Annotated[
    int,
    Meta(description="Partition of the record.", examples=[3], extra_json_schema={"minimum": 0}),
]
Offset = Annotated[
    int,
    Meta(description="Offset of the record.", examples=[4711], extra_json_schema={"minimum": 0}),
]
TimestampMs = Annotated[
    int,
    Meta(
        description="Timestamp of the record in milliseconds since 1970. -1: it has none.",
        examples=[1_721_764_870_123],
        extra_json_schema={"minimum": -1},
    ),
]
Provider = Annotated[
    str,
    Meta(
        description=(
            "`provider` of the checkpoint, else where the form of the model name comes from;"
            " `path` for a path or a URI, `unrecognised` for any other name. Expect values that are"
            " not among the examples."
        ),
        examples=[
            *("openai", "azure", "mistral", "together", "fireworks", "tinker"),
            *("path", "unrecognised"),
        ],
        extra_json_schema={"minLength": 1},
    ),
]
BaseModel = Annotated[
    str | None,
    Meta(
        description="Model that was fine-tuned: `base_model` of the checkpoint, else in the name.",
        examples=["gpt-4o-mini-2024-07-18"],
    ),
]
Organization = Annotated[
    str | None, Meta(description="Organization in the name.", examples=["my-org"])
]
Suffix = Annotated[str | None, Meta(description="Suffix in the name.", examples=["custom_suffix"])]
NameStep = Annotated[int | None, Meta(description="Step in the name.", examples=[88])]
IsFinal = Annotated[
    bool,
    Meta(description="A heuristic: a name of OpenAI, Azure or Mistral has no `:ckpt-step-N`."),
]
Loss = Annotated[
    float | None,
    Meta(
        description="`full_valid_loss`, else `valid_loss`, else `train_loss` of the metrics.",
        examples=[0.567],
    ),
]
LossMetric = Annotated[
    Metric | None, Meta(description="The metric that `loss` is.", examples=["full_valid_loss"])
]
Perplexity = Annotated[
    float | None,
    Meta(description="e to the power of `loss`.", examples=[1.762969]),
]
GeneralizationGap = Annotated[
    float | None,
    Meta(description="Validation loss minus training loss.", examples=[0.089]),
]


class Origin(Struct, frozen=True, gc=False):
    """Topic, partition, offset and timestamp of the source record (timestamp -1: it has none)."""

    topic: Topic
    partition: Partition
    offset: Offset
    timestamp_ms: TimestampMs


class Model(Struct, frozen=True, gc=False):
    """What the checkpoint and its model name say about the model.

    `is_final` is a heuristic: it is true if a name of OpenAI, Azure or Mistral has no
    `:ckpt-step-N`.
    """

    provider: Provider
    base_model: BaseModel = None
    organization: Organization = None
    suffix: Suffix = None
    step: NameStep = None
    is_final: IsFinal = False


class Evaluation(Struct, frozen=True, omit_defaults=True, gc=False):
    """The figures to compare checkpoints by. A figure is absent if it is unknown or not finite."""

    loss: Loss = None
    metric: LossMetric = None
    perplexity: Perplexity = None
    generalization_gap: GeneralizationGap = None


class ReadyData(Struct, frozen=True, gc=False):
    """The payload. `checkpoint` is the source object in wire spelling; unknown fields are kept."""

    checkpoint: dict[str, Any]
    model: Model
    evaluation: Evaluation
    origin: Origin


class ReadyEvent(Struct, frozen=True, gc=False):
    """A checkpoint is ready to use. Only a republished event has a `replayid`."""

    specversion: SpecVersion
    id: EventId
    source: Source
    type: EventType
    subject: Subject
    time: Rfc3339
    datacontenttype: DataContentType
    dataschema: DataSchema
    partitionkey: PartitionKey
    data: ReadyData
    replayid: ReplayId | UnsetType = UNSET


CheckId = Annotated[
    str, Meta(description="Id of the check; all of its events have it.", examples=["check-1"])
]
CheckType = Annotated[
    str,
    Meta(
        description="Type of the event. It announces no checkpoint.",
        extra_json_schema={"const": CHECK_TYPE},
    ),
]
CheckEventId = Annotated[
    str,
    Meta(description="Id of the check and number of the partition.", examples=["check-1-0"]),
]
CheckSource = Annotated[
    str,
    Meta(
        description="What published the event.",
        examples=["/subscribers/check"],
        extra_json_schema={"format": "uri-reference"},
    ),
]
CheckTime = Annotated[
    str,
    Meta(
        description="Time of the check, in UTC.",
        examples=["2026-11-27T12:00:00Z"],
        extra_json_schema={"format": "date-time"},
    ),
]


class CheckData(Struct, frozen=True, gc=False):
    """The payload of a check event: its meaning in words, and whether it was committed."""

    message: Annotated[str, Meta(description="What the event means. The text may change.")]
    check: CheckId
    partition: Annotated[
        int, Meta(description="Partition of the event.", extra_json_schema={"minimum": 0})
    ]
    committed: Annotated[
        bool,
        Meta(description="False: only a subscriber that does not read committed gets the event."),
    ]


class CheckEvent(Struct, frozen=True, gc=False):
    """Shows whether a subscriber reads committed. Subscribers ignore events of this type."""

    specversion: SpecVersion
    id: CheckEventId
    source: CheckSource
    type: CheckType
    subject: CheckId
    time: CheckTime
    datacontenttype: DataContentType
    partitionkey: CheckId
    data: CheckData
