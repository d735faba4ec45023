"""Turns a checkpoint into a ready event. The same source record always gives the same bytes."""

import math
from datetime import date
from functools import lru_cache
from typing import Any, Final, cast
from urllib.parse import quote

from msgspec import Raw
from msgspec.json import Encoder

from consumer.pipeline.codec import Decoded
from consumer.pipeline.model_name import parse_model_name
from consumer.pipeline.records import Header, ReadyRecord, ShardSettings
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
"""On every ready event: group, shard and number of shards of whoever published it."""

_SAFE_IN_SEGMENT: Final = "-._~!$&'()*+,;=:@"
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_SECONDS_PER_DAY: Final = 86_400
_MINUTES: Final = tuple(f"T{hour:02}:{minute:02}:" for hour in range(24) for minute in range(60))
_SECONDS: Final = tuple(f"{second:02}Z" for second in range(60))
# Of the characters that a cache entry holds: a producer may send ids of any length, and a cache of
# a thousand such ids would hold a thousand times the largest record.
_CACHED_JOB_ID_CHARS: Final = 256
_NOTHING_EVALUATED: Final = Evaluation()

_encode = Encoder().encode


def ready_headers(settings: ShardSettings) -> list[Header]:
    """Return the headers that every ready event of a shard begins with."""
    content_type = DATA_CONTENT_TYPE if settings.binary_mode else EVENT_CONTENT_TYPE
    return [
        ("content-type", content_type.encode()),
        (
            SHARD_HEADER,
            f"{settings.group_id}/{settings.shard}/{settings.shards}".encode(),
        ),
    ]


def enrich(
    decoded: Decoded, origin: Origin, headers: list[Header], *, binary_mode: bool = False
) -> ReadyRecord:
    """Return the ready event of a checkpoint. `headers`: those it begins with."""
    checkpoint = decoded.checkpoint
    checkpoint_id = decoded.id
    job_id = decoded.job_id
    make_address = _cached_address if len(job_id) <= _CACHED_JOB_ID_CHARS else _address
    source, key = make_address(job_id)
    event = ReadyEvent(
        SPEC_VERSION,
        checkpoint_id,
        source,
        READY_TYPE,
        checkpoint_id,
        rfc3339(checkpoint.created_at),
        DATA_CONTENT_TYPE,
        DATASCHEMA,
        job_id,
        ReadyData(
            # Encoded already: msgspec writes a Raw as it stands, whatever the field's type says.
            cast("dict[str, Any]", Raw(decoded.canonical)),
            parse_model_name(checkpoint.fine_tuned_model_checkpoint),
            evaluate(checkpoint.metrics),
            origin,
        ),
    )
    if binary_mode:
        value = _encode(event.data)
        headers = headers + _attributes(event)
    else:
        value = _encode(event)
    return ReadyRecord(checkpoint_id, job_id, key, value, headers, checkpoint.created_at, origin)


def replayed(event: ReadyRecord, replay_id: str, *, binary_mode: bool) -> ReadyRecord:
    """Return the event with one attribute more; everything else stays byte for byte.

    `replay_id` must be plain (letters, digits, '.', '_', '-'): it is not escaped.
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
    """Return the figures that `metrics` allow.

    A loss of exactly 0 whose accuracy is exactly 0 was not measured: SDKs in Go and Java write
    every number that is missing as 0.
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
    """Return a time of the years 1 to 9999 in UTC."""
    days, second = divmod(unix_seconds, _SECONDS_PER_DAY)
    minute, second = divmod(second, 60)
    return _day(days) + _MINUTES[minute] + _SECONDS[second]


@lru_cache(maxsize=1024)
def _day(days: int) -> str:
    return date.fromordinal(days + _EPOCH_ORDINAL).isoformat()


def _address(job_id: str) -> tuple[str, bytes]:
    """Return the event's `source`, which must be a URI reference, and the record's key."""
    return f"/fine_tuning/jobs/{quote(job_id, safe=_SAFE_IN_SEGMENT)}", job_id.encode()


_cached_address: Final = lru_cache(maxsize=1024)(_address)


def _perplexity(loss: float) -> float | None:
    try:
        return math.exp(loss)
    except OverflowError:
        return None


def _attributes(event: ReadyEvent) -> list[Header]:
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
