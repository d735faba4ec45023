"""Turns a checkpoint into a ready event. The same source record always gives the same bytes."""

import math
import re
from datetime import date
from functools import lru_cache
from typing import Any, Final, Self, cast
from urllib.parse import quote

from msgspec import Raw, Struct
from msgspec.json import Encoder

from consumer.pipeline.decode.checkpoint import Decoded
from consumer.pipeline.record_size import require_room, room_beside
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
    Model,
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


# Makes ready events that fit their topic: of live records and of replayed ones alike.

MAX_ID_CHARS: Final = 32_768
"""An id stands in the changelog too, whose records must fit whatever the other topics take."""


class ReadyEventBuilder(Struct, frozen=True):
    """What stays the same from one ready event of a shard to the next."""

    binary_mode: bool
    ready_max_bytes: int
    first_headers: list[Header]
    sure_room_bytes: int
    """Key and value that need no more than this fit the ready topic beside `first_headers`."""

    @classmethod
    def of(cls, settings: ShardSettings) -> Self:
        """Return the builder of a shard."""
        first_headers, max_bytes = ready_headers(settings), settings.limits.ready_max_bytes
        # In binary mode each event has headers of its own, so each one is measured.
        room = 0 if settings.binary_mode else room_beside(first_headers, max_bytes)
        return cls(settings.binary_mode, max_bytes, first_headers, room)

    def build(self, decoded: Decoded, origin: Origin, headers: Headers) -> ReadyRecord:
        """Return the ready event of a record; raise the poison that is too large for one."""
        if len(decoded.id) > MAX_ID_CHARS:
            message = f"the id has {len(decoded.id)} characters, at most {MAX_ID_CHARS} are taken"
            raise InvalidRecord(Reason.TOO_LARGE, message, Stage.TASK_PUT, "RecordTooLarge")
        event_headers = self.first_headers
        has_headers = bool(headers or decoded.trace)
        if has_headers:
            event_headers = event_headers + trace_headers(headers, decoded.trace)
        event = enrich(decoded, origin, event_headers, binary_mode=self.binary_mode)
        if has_headers or len(event.key) + len(event.value) > self.sure_room_bytes:
            require_room("ready event", event.key, event.value, event.headers, self.ready_max_bytes)
        return event


# Reads what a checkpoint's model name says. Total: any text gives an answer, nothing is raised.
#
# ::
#
#     ft:{base model}:{organization}:{suffix}:{job}[:ckpt-step-{n}]      openai
#     {base model}.ft-{32 hex}[-{suffix}][:ckpt-step-{n}]                azure
#     /any/path/checkpoint-{n}                                           path
#
# A name without a step is taken for the final model of its job (openai, azure). That is a
# heuristic:
# the list API names the last checkpoint so, but nothing promises it.

# 18 digits at most: every step fits 64 bits, and no text can make int() refuse or slow.
_OPENAI: Final = re.compile(
    r"ft:([^:]+):([^:]*):([^:]*):(?!ckpt-step-)[^:]+(?::ckpt-step-([0-9]{1,18}))?"
).fullmatch
_STEP_TAIL: Final = re.compile(r"ckpt-step-([0-9]{1,18})").fullmatch
_AZURE_JOB: Final = re.compile(r"\.ft-[0-9a-f]{32}(?:-|\Z)").match
_JOB_MARK: Final = ".ft-"
_PATH: Final = re.compile(r"(?:[~.]{0,2}[/\\]|[A-Za-z]:[/\\]|[a-z][a-z0-9+.-]*://)").match
_PATH_STEP: Final = re.compile(r"(?:\A|.*[/\\])checkpoint-([0-9]{1,18})[/\\]?", re.DOTALL).fullmatch

UNRECOGNISED: Final = Model("unrecognised")


def parse_model_name(name: str) -> Model:
    """Return what `name` says about the model."""
    openai = _OPENAI(name)
    if openai is not None:
        base_model, organization, suffix, step = openai.groups()
        number = None if step is None else int(step)
        return Model(
            "openai", base_model, organization or None, suffix or None, number, step is None
        )
    azure = _azure(name)
    if azure is not None:
        return azure
    path_step = _PATH_STEP(name)
    if path_step is not None:
        return Model("path", step=int(path_step[1]))
    return Model("path") if _PATH(name) else UNRECOGNISED


def _azure(name: str) -> Model | None:
    """Return what an Azure name says, None for any other text, in linear time.

    The base model and the suffix may both contain `.ft-` and 32 digits. One pattern for the whole
    name tries each of those places against all text behind it: 1 MB then takes minutes. The job is
    the last such place that leaves a complete name, so this searches from the end.
    """
    head, colon, tail = name.partition(":")
    step = _STEP_TAIL(tail) if colon else None
    if (colon and step is None) or "/" in head or "\\" in head:
        return None
    place = head.rfind(_JOB_MARK)
    while place > 0:
        job = _AZURE_JOB(head, place)
        if job is not None:
            suffix = head[job.end() :]
            if suffix or not job[0].endswith("-"):
                number = None if step is None else int(step[1])
                return Model("azure", head[:place], None, suffix or None, number, step is None)
        place = head.rfind(_JOB_MARK, 0, place)
    return None
