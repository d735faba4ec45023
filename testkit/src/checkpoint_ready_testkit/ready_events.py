"""Builders of ready events: exactly the events that the service publishes for the same checkpoint.

An event is a dict with the members of structured mode, as ``json.loads`` returns it for the value
of a record. `ready_record` gives the Kafka record of an event.
"""

import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from checkpoint_ready_testkit.checkpoints import (
    DEFAULT_CHECKPOINT_ID,
    DEFAULT_CREATED_AT,
    DEFAULT_JOB_ID,
    DEFAULT_STEP,
    checkpoint_object,
    default_metrics,
    default_model_name,
)
from checkpoint_ready_testkit.json_text import JsonObject
from checkpoint_ready_testkit.kafka_records import batch_bytes, ready_record
from checkpoint_ready_testkit.model_names import describe_model
from checkpoint_ready_testkit.validation import (
    require_absolute_uri,
    require_integer,
    require_origin,
)

READY_TYPE: Final = "fine_tuning.job.checkpoint.ready"
DATASCHEMA: Final = "urn:checkpoint-ready:schema:ready-event:1"
SPEC_VERSION: Final = "1.0"
DATA_CONTENT_TYPE: Final = "application/json"
INPUT_TOPIC: Final = "fine-tuning.checkpoints"
MAX_RECORD_BYTES: Final = 1_048_588
"""The default of `max.message.bytes` in Kafka."""

_SAFE_IN_SEGMENT: Final = "-._~!$&'()*+,;=:@"
_REPLAY_ID: Final = re.compile(r"[A-Za-z0-9._-]+")
_LOSSES: Final = (
    ("full_valid_loss", "full_valid_mean_token_accuracy"),
    ("valid_loss", "valid_mean_token_accuracy"),
)
_SECONDS_BETWEEN_CHECKPOINTS: Final = 600


def ready_event(  # noqa: PLR0913 - one parameter for each part of the event
    *,
    checkpoint_id: str = DEFAULT_CHECKPOINT_ID,
    job_id: str = DEFAULT_JOB_ID,
    step: int = DEFAULT_STEP,
    model: str | None = None,
    metrics: Mapping[str, Any] | None = None,
    created_at: int | datetime = DEFAULT_CREATED_AT,
    provider: str | None = None,
    base_model: str | None = None,
    uri: str | None = None,
    expires_at: int | datetime | None = None,
    unknown_fields: Mapping[str, Any] | None = None,
    topic: str = INPUT_TOPIC,
    partition: int = 0,
    offset: int = 4711,
    timestamp_ms: int = 1_721_764_870_123,
    replay_id: str | None = None,
    dataschema: str = DATASCHEMA,
    max_bytes: int = MAX_RECORD_BYTES,
) -> JsonObject:
    """Return the event that the service publishes for a checkpoint.

    Args:
        checkpoint_id: the id of the checkpoint, and of the event.
        job_id: the id of the fine-tuning job. It is also the key of the record.
        step: the step number of the checkpoint.
        model: the name of the model at this step. `data.model` has its parts.
        metrics: the metrics, also unknown ones. A metric that is None counts as absent.
        created_at: when the checkpoint was created: seconds since 1970, or a datetime with a zone.
        provider: who trained the checkpoint. In `data.model` it replaces that of the model's name.
        base_model: the model that was fine-tuned. It too replaces that of the model's name.
        uri: where the weights are.
        expires_at: when the weights are deleted, in the form of `created_at`.
        unknown_fields: members of the source object that the contract does not name.
        topic: the topic of the source record.
        partition: the partition of the source record.
        offset: the offset of the source record.
        timestamp_ms: the timestamp of the source record in milliseconds, or -1 for none.
        replay_id: the name of the replay, if the event was published again on purpose.
        dataschema: the service's setting DATASCHEMA, an absolute URI.
        max_bytes: `max.message.bytes` of the ready topic. The service does not publish an event
            whose record is larger. Here the record in structured mode is measured.

    Raises:
        ValueError: the service would not publish such an event.
    """
    require_origin(topic, partition, offset, timestamp_ms)
    require_absolute_uri("dataschema", dataschema)
    checkpoint = checkpoint_object(
        checkpoint_id=checkpoint_id,
        job_id=job_id,
        step=step,
        model=default_model_name(step) if model is None else model,
        metrics=default_metrics(step) if metrics is None else metrics,
        created_at=created_at,
        provider=provider,
        base_model=base_model,
        uri=uri,
        expires_at=expires_at,
        unknown_fields=unknown_fields or {},
    )
    event: JsonObject = {
        "specversion": SPEC_VERSION,
        "id": checkpoint_id,
        "source": f"/fine_tuning/jobs/{quote(job_id, safe=_SAFE_IN_SEGMENT)}",
        "type": READY_TYPE,
        "subject": checkpoint_id,
        "time": rfc3339(checkpoint["created_at"]),
        "datacontenttype": DATA_CONTENT_TYPE,
        "dataschema": dataschema,
        "partitionkey": job_id,
        "data": {
            "checkpoint": checkpoint,
            "model": describe_model(checkpoint),
            "evaluation": _evaluate(checkpoint["metrics"]),
            "origin": {
                "topic": topic,
                "partition": partition,
                "offset": offset,
                "timestamp_ms": timestamp_ms,
            },
        },
    }
    size_bytes = batch_bytes(ready_record(event))
    if size_bytes > max_bytes:
        raise ValueError(f"the event needs {size_bytes} bytes, but must have at most {max_bytes}")
    return event if replay_id is None else replayed(event, replay_id)


def replayed(event: Mapping[str, Any], replay_id: str = "again") -> JsonObject:
    """Return the event as a replay publishes it again: only `replayid` is added.

    Raises:
        ValueError: `replay_id` has other characters than letters, digits, '.', '_' and '-'.
    """
    if not _REPLAY_ID.fullmatch(replay_id):
        raise ValueError("replay_id must consist of letters, digits, '.', '_' and '-'")
    return {**event, "replayid": replay_id}


def job_events(
    steps: Iterable[int] = (88, 176, 264),
    *,
    job_id: str = DEFAULT_JOB_ID,
    newest_first: bool = False,
) -> list[JsonObject]:
    """Return the events of all checkpoints of a job. The last step is the final model.

    Args:
        steps: the step numbers, in the order of training.
        job_id: the id of the fine-tuning job.
        newest_first: whether the events come in the order of a list API. Subscribers must not rely
            on any order.
    """
    numbered = list(enumerate(steps))
    events = []
    for number, step in numbered:
        name = default_model_name(step)
        if number == len(numbered) - 1:
            name = name.partition(":ckpt-step-")[0]
        loss = 0.5 / (number + 1)
        events.append(
            ready_event(
                checkpoint_id=f"ftckpt_{job_id}_{step}",
                job_id=job_id,
                step=step,
                model=name,
                metrics={"full_valid_loss": loss + 0.0625, "step": step, "train_loss": loss},
                created_at=DEFAULT_CREATED_AT + number * _SECONDS_BETWEEN_CHECKPOINTS,
                offset=4711 + number,
            )
        )
    return events[::-1] if newest_first else events


def redelivery(events: Iterable[Any], *, committed: int = 0) -> list[Any]:
    """Return what a consumer gets that handled all events and crashed before it committed.

    Args:
        events: events or records, in the order of their offsets.
        committed: how many of them were committed before the crash. The others come again.

    Raises:
        ValueError: `committed` is negative, or larger than the number of events.
    """
    handled = list(events)
    require_integer("committed", committed, 0, len(handled))
    return handled + handled[committed:]


def later_version(event: Mapping[str, Any]) -> JsonObject:
    """Return the event as a later minor version may publish it: with a new member at each level.

    A subscriber must accept such an event, because `dataschema` is unchanged.
    """
    data = event["data"]
    replay_id = {"replayid": event["replayid"]} if "replayid" in event else {}
    attributes = {name: value for name, value in event.items() if name != "replayid"}
    members = {
        name: {**value, "new_member": {"since": 2}} if name != "checkpoint" else value
        for name, value in data.items()
    }
    return {**attributes, "data": {**members, "new_member": None}, "newattribute": "2"} | replay_id


def rfc3339(unix_seconds: int) -> str:
    """Return a time in the years 1 to 9999 as RFC 3339 in UTC."""
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=unix_seconds)
    return f"{time.replace(tzinfo=None).isoformat()}Z"


def _evaluate(metrics: Mapping[str, Any]) -> JsonObject:
    """Return the figures by which checkpoints are compared. An unknown figure is absent."""
    train_loss = _measured(metrics, "train_loss", "train_mean_token_accuracy")
    for metric, accuracy in _LOSSES:
        loss = _measured(metrics, metric, accuracy)
        if loss is not None:
            break
    else:
        metric, loss = "train_loss", train_loss
    if loss is None:
        return {}
    evaluation: JsonObject = {"loss": loss, "metric": metric}
    with suppress(OverflowError):
        evaluation["perplexity"] = math.exp(loss)
    if metric != "train_loss" and train_loss is not None and math.isfinite(loss - train_loss):
        evaluation["generalization_gap"] = loss - train_loss
    return evaluation


def _measured(metrics: Mapping[str, Any], name: str, accuracy: str) -> float | None:
    """Return a loss, or None if it is absent or counts as not measured.

    Some SDKs write 0 for a missing number, so a loss of 0 with an accuracy of 0 does not count.
    """
    loss: float | None = metrics.get(name)
    return None if not loss and metrics.get(accuracy) == 0 else loss
