"""Data for tests: checkpoints, records around them, and a shard to decide about them."""

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from consumer.pipeline.decider import Decider, Decision
from consumer.pipeline.records import Header, Headers, Limits, ShardSettings, SourceBatch
from consumer.pipeline.seen_ids import SeenIds

TOPIC: Final = "fine-tuning.checkpoints"
TIMESTAMP_MS: Final = 1_721_764_900_000
NO_CEILING_MS: Final = 2**62
STRUCTURED: Final[Header] = ("content-type", b"application/cloudevents+json; charset=UTF-8")
SDK_EXAMPLE: Final = (
    b'{"id":"<id>","createdAt":975522,"fineTunedModelCheckpoint":"<value>","stepNumber":855804,'
    b'"metrics":{},"fineTuningJobId":"<id>","object":"fine_tuning.job.checkpoint"}'
)


class Record(NamedTuple):
    """A consumed record; tests hand it to the pipeline as the engine hands over the client's."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def checkpoint(**changes: object) -> dict[str, Any]:
    """Return a valid checkpoint in wire spelling; a change to `...` leaves the field out."""
    fields: dict[str, Any] = {
        "id": "ftckpt_qtZ5Gyk4BLq1SfLFWp3RtO3P",
        "object": "fine_tuning.job.checkpoint",
        "created_at": 1_721_764_867,
        "fine_tuned_model_checkpoint": (
            "ft:gpt-4o-mini-2024-07-18:my-org:custom_suffix:9ABel2dg:ckpt-step-88"
        ),
        "fine_tuning_job_id": "ftjob-abc123",
        "metrics": {"step": 88, "train_loss": 0.478, "full_valid_loss": 0.567},
        "step_number": 88,
    } | changes
    return {name: found for name, found in fields.items() if found is not ...}


def camel(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields, and those of objects among them, in the SDKs' spelling."""
    return {
        _camel_name(name): camel(found) if isinstance(found, dict) else found
        for name, found in fields.items()
    }


def envelope(data: object, **changes: object) -> dict[str, Any]:
    """Return a CloudEvents envelope around `data`; a change to `...` leaves the member out."""
    members: dict[str, Any] = {
        "specversion": "1.0",
        "id": "event-1",
        "source": "/poller",
        "type": "fine_tuning.job.checkpoint",
        "data": data,
    } | changes
    return {name: found for name, found in members.items() if found is not ...}


def connect(payload: object, schema: object = ...) -> dict[str, Any]:
    """Return what Kafka Connect's JsonConverter writes, by default with a schema."""
    some: dict[str, Any] = {"type": "struct", "optional": False, "fields": []}
    return {"schema": some if schema is ... else schema, "payload": payload}


def record(  # noqa: PLR0913 - one parameter for each part of a record
    value: object = None,
    *,
    offset: int = 0,
    timestamp_ms: int = TIMESTAMP_MS,
    key: bytes | None = b"key",
    headers: Sequence[Header] = (),
    raw: bytes | None = None,
) -> Record:
    """Return a record of a JSON value, or of `raw` bytes when there is no `value`."""
    payload = raw if value is None else json.dumps(value).encode()
    return Record(offset, timestamp_ms, key, payload, list(headers))


def batch(
    *records: Record, topic: str = TOPIC, partition: int = 0, forwarded: bool = False
) -> SourceBatch:
    """Return records of one partition."""
    return SourceBatch(topic, partition, records, forwarded)


def shard_settings(
    *,
    shard: int = 0,
    shards: int = 1,
    max_bytes: int = 1_048_588,
    dead_letter_max_bytes: int = 2_097_152,
    binary_mode: bool = False,
) -> ShardSettings:
    """Return the settings of a shard; by default the only one, at which every id is at home."""
    limits = Limits(max_bytes, dead_letter_max_bytes, max_bytes)
    return ShardSettings(shard, shards, "group", limits, binary_mode)


def decide(
    *batches: SourceBatch,
    seen: SeenIds | None = None,
    settings: ShardSettings | None = None,
    ceiling_ms: int = NO_CEILING_MS,
) -> Decision:
    """Return what a shard decides about the batches, by default with an empty memory."""
    decision = Decision()
    memory = SeenIds(0) if seen is None else seen
    decider = Decider(settings or shard_settings(), memory)
    for source in batches:
        decider.decide(source, decision, ceiling_ms)
    return decision


def _camel_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
