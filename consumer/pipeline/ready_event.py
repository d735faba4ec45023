"""Builds ready events from checkpoints. The same source record always gives the same bytes.

`ReadyEventBuilder` is built once per shard. It adds the headers, calls `enrich`, and refuses an
event that the ready topic would not accept. `replayed` marks an event that a replay publishes
again.
"""

import math
from datetime import date
from functools import lru_cache
from typing import Any, Final, Self, cast
from urllib.parse import quote
from uuid import UUID

from msgspec import Raw, Struct
from msgspec.json import Encoder

from consumer.pipeline.decode.checkpoint import Decoded
from consumer.pipeline.event_template import SOURCE_PREFIX, usual_text
from consumer.pipeline.model_name import describe_model
from consumer.pipeline.record_size import require_room, safe_size
from consumer.pipeline.records import (
    Header,
    Headers,
    InvalidRecord,
    ReadyRecord,
    Reason,
    ShardSettings,
    Stage,
)
from consumer.pipeline.trace_context import trace_headers
from schemas.checkpoint import Metrics
from schemas.ready_event import (
    DATA_CONTENT_TYPE,
    DATASCHEMA,
    EVENT_CONTENT_TYPE,
    READY_TYPE,
    SPEC_VERSION,
    Evaluation,
    Metric,
    Origin,
    ReadyData,
    ReadyEvent,
)

SHARD_HEADER: Final = "checkpoint-ready.shard"
"""On every ready event: the group, the home shard of its id, and the number of shards."""
SCHEMA_ID_HEADER: Final = "__value_schema_id"
"""Names the schema of the value: byte 1, and the 16 bytes of the schema's GUID in a registry.

Confluent's serializers write this header with the schema id in headers, and its deserializers look
for it before they look for a prefix of the value (`confluent_kafka.schema_registry`)."""
MAX_ID_CHARS: Final = 32_768
"""The limit of an id, because the changelog entry of an id contains it.

The entry must fit into the changelog even if the other topics accept larger records."""

_GUID_FOLLOWS: Final = b"\x01"
_SAFE_IN_SEGMENT: Final = "-._~!$&'()*+,;=:@"
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_SECONDS_PER_DAY: Final = 86_400
_MINUTES: Final = tuple(f"T{hour:02}:{minute:02}:" for hour in range(24) for minute in range(60))
_SECONDS: Final = tuple(f"{second:02}Z" for second in range(60))
_NOTHING_EVALUATED: Final = Evaluation()

_encode = Encoder().encode


class ReadyEventBuilder(Struct, frozen=True):
    """Builds the ready events of one shard, for live records and for a replay."""

    binary_mode: bool
    ready_max_bytes: int
    first_headers: list[Header]
    """The headers that every event begins with."""
    dataschema: str
    safe_size_bytes: int
    """An event with no other headers than `first_headers` fits the ready topic up to this size.

    The size is that of key and value together."""

    @classmethod
    def of(cls, settings: ShardSettings) -> Self:
        """Return the builder of a shard."""
        first_headers, max_bytes = ready_headers(settings), settings.limits.ready_max_bytes
        # In binary mode each event has headers of its own, so each event is measured.
        room = 0 if settings.binary_mode else safe_size(first_headers, max_bytes)
        return cls(settings.binary_mode, max_bytes, first_headers, settings.dataschema, room)

    def build(self, decoded: Decoded, origin: Origin, headers: Headers) -> ReadyRecord:
        """Return the ready event of a source record with these headers.

        Raises:
            InvalidRecord: the id or the event is too large.
        """
        if len(decoded.id) > MAX_ID_CHARS:
            message = f"the id has {len(decoded.id)} characters, the limit is {MAX_ID_CHARS}"
            raise InvalidRecord(Reason.TOO_LARGE, message, Stage.TASK_PUT, "RecordTooLarge")
        event_headers = self.first_headers
        has_headers = bool(headers or decoded.trace)
        if has_headers:
            event_headers = event_headers + trace_headers(headers, decoded.trace)
        event = enrich(
            decoded,
            origin,
            event_headers,
            binary_mode=self.binary_mode,
            dataschema=self.dataschema,
        )
        if has_headers or len(event.key) + len(event.value) > self.safe_size_bytes:
            require_room("ready event", event.key, event.value, event.headers, self.ready_max_bytes)
        return event


def ready_headers(settings: ShardSettings) -> list[Header]:
    """Return the headers that every ready event of a shard begins with."""
    content_type = DATA_CONTENT_TYPE if settings.binary_mode else EVENT_CONTENT_TYPE
    shard = f"{settings.group_id}/{settings.shard}/{settings.shards}"
    headers: list[Header] = [
        ("content-type", content_type.encode()),
        (SHARD_HEADER, shard.encode()),
    ]
    if settings.schema_guid:
        headers.append((SCHEMA_ID_HEADER, _GUID_FOLLOWS + UUID(settings.schema_guid).bytes))
    return headers


def enrich(
    decoded: Decoded,
    origin: Origin,
    headers: list[Header],
    *,
    binary_mode: bool = False,
    dataschema: str = DATASCHEMA,
) -> ReadyRecord:
    """Return the ready event of a checkpoint. Its headers begin with `headers`."""
    checkpoint = decoded.checkpoint
    evaluation = evaluate(checkpoint.metrics)
    value = None if binary_mode else usual_text(decoded, evaluation, origin, dataschema)
    if value is None:
        event = _event(decoded, evaluation, origin, dataschema)
        if binary_mode:
            value = _encode(event.data)
            headers = headers + _attribute_headers(event)
        else:
            value = _encode(event)
    job_id = decoded.job_id
    return ReadyRecord(
        decoded.id, job_id, job_id.encode(), value, headers, checkpoint.created_at, origin
    )


def _event(
    decoded: Decoded, evaluation: Evaluation, origin: Origin, dataschema: str = DATASCHEMA
) -> ReadyEvent:
    checkpoint = decoded.checkpoint
    return ReadyEvent(
        SPEC_VERSION,
        decoded.id,
        _source(decoded.job_id),
        READY_TYPE,
        decoded.id,
        rfc3339(checkpoint.created_at),
        DATA_CONTENT_TYPE,
        dataschema,
        decoded.job_id,
        ReadyData(
            # Already encoded: msgspec writes a Raw unchanged, for a field of any type.
            cast("dict[str, Any]", Raw(decoded.canonical)),
            describe_model(checkpoint),
            evaluation,
            origin,
        ),
    )


def replayed(event: ReadyRecord, replay_id: str, *, binary_mode: bool) -> ReadyRecord:
    """Return the event with the attribute `replayid`. All other bytes are unchanged.

    `replay_id` must consist of letters, digits, '.', '_' and '-', because it is not escaped.
    """
    if binary_mode:
        value, headers = event.value, [*event.headers, ("ce_replayid", replay_id.encode())]
    else:
        value = event.value[:-1] + f',"replayid":"{replay_id}"}}'.encode()
        headers = event.headers
    return ReadyRecord(
        event.id, event.job_id, event.key, value, headers, event.created_at, event.origin
    )


def evaluate(metrics: Metrics) -> Evaluation:
    """Return the figures that can be computed from `metrics`.

    A loss of exactly 0 with an accuracy of exactly 0 counts as not measured: SDKs in Go and Java
    write 0 for every number that is missing.
    """
    metric: Metric
    train_loss = metrics.train_loss
    if not train_loss and metrics.train_mean_token_accuracy == 0:
        train_loss = None
    valid_loss = metrics.full_valid_loss
    if not valid_loss and metrics.full_valid_mean_token_accuracy == 0:
        valid_loss = None
    if valid_loss is not None:
        metric = "full_valid_loss"
    else:
        valid_loss = metrics.valid_loss
        if not valid_loss and metrics.valid_mean_token_accuracy == 0:
            valid_loss = None
        if valid_loss is not None:
            metric = "valid_loss"
        elif train_loss is not None:
            return Evaluation(train_loss, "train_loss", _perplexity(train_loss))
        else:
            return _NOTHING_EVALUATED
    gap = None if train_loss is None else valid_loss - train_loss
    if gap is not None and not math.isfinite(gap):
        gap = None
    return Evaluation(valid_loss, metric, _perplexity(valid_loss), gap)


def rfc3339(unix_seconds: int) -> str:
    """Return a time in the years 1 to 9999 as RFC 3339 in UTC."""
    days, second = divmod(unix_seconds, _SECONDS_PER_DAY)
    minute, second = divmod(second, 60)
    return _day(days) + _MINUTES[minute] + _SECONDS[second]


@lru_cache(maxsize=1024)
def _day(days: int) -> str:
    return date.fromordinal(days + _EPOCH_ORDINAL).isoformat()


def _source(job_id: str) -> str:
    """Return the event's `source`, which must be a URI reference."""
    is_plain = job_id.isascii() and job_id.replace("-", "").isalnum()  # the usual ids: no escapes
    segment = job_id if is_plain else quote(job_id, safe=_SAFE_IN_SEGMENT)
    return f"{SOURCE_PREFIX}{segment}"


def _perplexity(loss: float) -> float | None:
    try:
        return math.exp(loss)
    except OverflowError:
        return None


def _attribute_headers(event: ReadyEvent) -> list[Header]:
    """Return the attributes of a CloudEvent in binary mode, as headers."""
    return [
        ("ce_specversion", event.specversion.encode()),
        ("ce_id", event.id.encode()),
        ("ce_source", event.source.encode()),
        ("ce_type", event.type.encode()),
        ("ce_subject", event.subject.encode()),
        ("ce_time", event.time.encode()),
        ("ce_dataschema", event.dataschema.encode()),
        ("ce_partitionkey", event.partitionkey.encode()),
    ]
