"""Builders for the tests of the pipeline: records, batches and settings of a shard, its decisions.

The documents inside the records are those of `tests.support.documents`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from consumer.pipeline.decider import Decider, Decision
from consumer.pipeline.records import Header, Headers, Limits, ShardSettings, SourceBatch
from consumer.pipeline.seen_ids import SeenIds
from tests.support.documents import SDK_EXAMPLE, STRUCTURED, camel, checkpoint, connect, envelope

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "NO_CEILING_MS",
    "SDK_EXAMPLE",
    "STRUCTURED",
    "TIMESTAMP_MS",
    "TOPIC",
    "Record",
    "batch",
    "camel",
    "checkpoint",
    "connect",
    "decide",
    "envelope",
    "record",
    "shard_settings",
]

TOPIC: Final = "fine-tuning.checkpoints"
TIMESTAMP_MS: Final = 1_721_764_900_000
NO_CEILING_MS: Final = 2**62


class Record(NamedTuple):
    """A consumed record, with the fields of the Kafka client's that the pipeline reads."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


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


def shard_settings(  # noqa: PLR0913 - each by its name
    *,
    shard: int = 0,
    shards: int = 1,
    max_bytes: int = 1_048_588,
    dead_letter_max_bytes: int = 2_097_152,
    binary_mode: bool = False,
    schema_guid: str = "",
) -> ShardSettings:
    """Return the settings of a shard; by default of the only one, the home shard of every id."""
    limits = Limits(max_bytes, dead_letter_max_bytes, max_bytes)
    return ShardSettings(shard, shards, "group", limits, binary_mode, schema_guid=schema_guid)


def decide(
    *batches: SourceBatch,
    seen: SeenIds | None = None,
    settings: ShardSettings | None = None,
    ceiling_ms: int = NO_CEILING_MS,
) -> Decision:
    """Return the decision of a shard about the batches; by default it remembers no id."""
    decision = Decision()
    memory = SeenIds(0) if seen is None else seen
    decider = Decider(settings or shard_settings(), memory)
    for source in batches:
        decider.decide(source, decision, ceiling_ms)
    return decision
