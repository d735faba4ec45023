"""The headers of the records that the service writes, as structs.

They only describe the headers: `consumer/pipeline` writes them. A header value is UTF-8 text. The
one exception is `SchemaId`.
"""

from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct, UnsetType, field

from consumer.pipeline.dead_letters import (
    REASON_HEADER,
    REDRIVE_HEADER,
    TIMESTAMP_HEADER,
    TRAILING_NAMES,
    VALUE_SHA256_HEADER,
    VALUE_SIZE_HEADER,
)
from consumer.pipeline.ready_event import SCHEMA_ID_HEADER, SHARD_HEADER
from consumer.pipeline.records import Reason, Stage
from consumer.pipeline.trace_context import TRACEPARENT, TRACESTATE
from schemas.ready_event import (
    DATA_CONTENT_TYPE,
    EVENT_CONTENT_TYPE,
    CheckEventId,
    CheckId,
    CheckSource,
    CheckTime,
    CheckType,
    DataSchema,
    EventId,
    EventType,
    PartitionKey,
    ReplayId,
    Rfc3339,
    Source,
    SpecVersion,
    Subject,
)

_TOPIC, _PARTITION, _OFFSET, _STAGE, _CLASS, _MESSAGE = TRAILING_NAMES[:6]
_NUMBER: Final = {"pattern": "^[0-9]+$"}

Shard = Annotated[
    str,
    Meta(
        description="Group, home shard of the id, and number of shards. Only the service needs it.",
        examples=["checkpoint-ready/2/6"],
        extra_json_schema={"pattern": "^[a-zA-Z0-9._-]{1,200}/[0-9]+/[0-9]+$"},
    ),
]
SchemaId = Annotated[
    str,
    Meta(
        description=(
            "Byte 1 and the 16 bytes of the schema's GUID in a registry (setting SCHEMA_GUID). "
            "This header is not text: in JSON its 17 bytes are in base64."
        ),
        examples=["AYl5F2IjNkGGlnQpm5CoAuI="],
        min_length=24,
        max_length=24,
        extra_json_schema={"contentEncoding": "base64"},
    ),
]
TraceParent = Annotated[
    str,
    Meta(
        description="W3C trace context of the source record, unchanged, even if it is not valid.",
        examples=["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
    ),
]
TraceState = Annotated[
    str, Meta(description="W3C trace state of the source record, unchanged.", examples=["a=1"])
]


class ReadyEventStructuredHeaders(Struct, frozen=True):
    """Headers of a ready event in structured mode. The attributes are in the value."""

    content_type: Annotated[
        str,
        Meta(description="CloudEvents as JSON.", extra_json_schema={"const": EVENT_CONTENT_TYPE}),
    ] = field(name="content-type")
    shard: Shard = field(name=SHARD_HEADER)
    schema_id: SchemaId | UnsetType = field(name=SCHEMA_ID_HEADER, default=UNSET)
    traceparent: TraceParent | UnsetType = field(name=TRACEPARENT, default=UNSET)
    tracestate: TraceState | UnsetType = field(name=TRACESTATE, default=UNSET)


class ReadyEventHeaders(Struct, frozen=True):
    """Headers of a ready event in binary mode: the attributes. The value is `data` alone."""

    content_type: Annotated[
        str,
        Meta(description="Format of the value.", extra_json_schema={"const": DATA_CONTENT_TYPE}),
    ] = field(name="content-type")
    shard: Shard = field(name=SHARD_HEADER)
    specversion: SpecVersion = field(name="ce_specversion")
    id: EventId = field(name="ce_id")
    source: Source = field(name="ce_source")
    type: EventType = field(name="ce_type")
    subject: Subject = field(name="ce_subject")
    time: Rfc3339 = field(name="ce_time")
    dataschema: DataSchema = field(name="ce_dataschema")
    partitionkey: PartitionKey = field(name="ce_partitionkey")
    replayid: ReplayId | UnsetType = field(name="ce_replayid", default=UNSET)
    schema_id: SchemaId | UnsetType = field(name=SCHEMA_ID_HEADER, default=UNSET)
    traceparent: TraceParent | UnsetType = field(name=TRACEPARENT, default=UNSET)
    tracestate: TraceState | UnsetType = field(name=TRACESTATE, default=UNSET)


class CheckEventHeaders(Struct, frozen=True):
    """Headers of a check event in binary mode. A subscriber ignores an event of this `ce_type`."""

    content_type: Annotated[
        str,
        Meta(description="Format of the value.", extra_json_schema={"const": DATA_CONTENT_TYPE}),
    ] = field(name="content-type")
    specversion: SpecVersion = field(name="ce_specversion")
    id: CheckEventId = field(name="ce_id")
    source: CheckSource = field(name="ce_source")
    type: CheckType = field(name="ce_type")
    subject: CheckId = field(name="ce_subject")
    time: CheckTime = field(name="ce_time")
    partitionkey: CheckId = field(name="ce_partitionkey")


class DeadLetterHeaders(Struct, frozen=True):
    """The headers after those of the producer: why the record could not be published.

    A producer may have headers of these names too. The last header of a name is the service's.
    """

    topic: Annotated[
        str,
        Meta(
            description="Topic of the source record.",
            examples=["fine-tuning.checkpoints"],
            extra_json_schema={"pattern": "^[a-zA-Z0-9._-]{1,249}$"},
        ),
    ] = field(name=_TOPIC)
    partition: Annotated[
        str,
        Meta(
            description="Partition of the source record.",
            examples=["3"],
            extra_json_schema=_NUMBER,
        ),
    ] = field(name=_PARTITION)
    offset: Annotated[
        str,
        Meta(
            description="Offset of the source record.", examples=["4711"], extra_json_schema=_NUMBER
        ),
    ] = field(name=_OFFSET)
    stage: Annotated[
        Stage, Meta(description="Where the record failed, in the words of Kafka Connect.")
    ] = field(name=_STAGE)
    error_class: Annotated[
        str, Meta(description="Class of the error.", examples=["ValidationError"])
    ] = field(name=_CLASS)
    message: Annotated[
        str,
        Meta(description="What was wrong. The text may change with each release."),
    ] = field(name=_MESSAGE)
    reason: Annotated[Reason, Meta(description="Why the record is a dead letter.")] = field(
        name=REASON_HEADER
    )
    timestamp: Annotated[
        str,
        Meta(
            description="Timestamp of the source record in ms since 1970. -1: it has none.",
            examples=["1721764870123"],
            extra_json_schema={"pattern": "^-?[0-9]+$"},
        ),
    ] = field(name=TIMESTAMP_HEADER)
    value_sha256: (
        Annotated[
            str,
            Meta(
                description="SHA-256 of the whole value, if a part is truncated.",
                extra_json_schema={"pattern": "^[0-9a-f]{64}$"},
            ),
        ]
        | UnsetType
    ) = field(name=VALUE_SHA256_HEADER, default=UNSET)
    value_size: (
        Annotated[
            str,
            Meta(
                description="Size of the whole value in bytes, if a part is truncated.",
                examples=["3000000"],
                extra_json_schema=_NUMBER,
            ),
        ]
        | UnsetType
    ) = field(name=VALUE_SIZE_HEADER, default=UNSET)
    redrive: (
        Annotated[
            str,
            Meta(description="JSON text of the last redrive, if the record was redriven before."),
        ]
        | UnsetType
    ) = field(name=REDRIVE_HEADER, default=UNSET)
