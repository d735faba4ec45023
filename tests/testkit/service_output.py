"""What the real pipeline writes for the source record of an event or a dead letter of the kit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from checkpoint_ready_testkit import KafkaRecord
from checkpoint_ready_testkit.kafka_records import GROUP_ID, SHARDS

from consumer.pipeline.decider import Decider, Decision
from consumer.pipeline.ready_event import replayed
from consumer.pipeline.records import Limits, ShardSettings, SourceBatch
from consumer.pipeline.routing import home
from consumer.pipeline.seen_ids import SeenIds
from tests.builders import NO_CEILING_MS, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from checkpoint_ready_testkit import Mode

    from consumer.pipeline.records import DeadLetter, Headers, ReadyRecord

READY_MAX_BYTES = 1_048_588


def written(record: ReadyRecord | DeadLetter) -> KafkaRecord:
    """Return a record of the pipeline as a record of the kit."""
    return KafkaRecord(record.key, record.value, list(record.headers))


def published(  # noqa: PLR0913 - each by its name
    event: dict[str, Any],
    mode: Mode,
    *,
    headers: Headers = (),
    group_id: str = GROUP_ID,
    shards: int = SHARDS,
    schema_guid: str = "",
) -> KafkaRecord:
    """Return what the home shard of the event's id publishes for the source of the event."""
    data, replay_id = event["data"], event.get("replayid")
    origin = data["origin"]
    value = json.dumps(data["checkpoint"]).encode()
    source = Record(origin["offset"], origin["timestamp_ms"], None, value, headers)
    batch = SourceBatch(origin["topic"], origin["partition"], [source], forwarded=False)
    is_binary = mode == "binary"
    settings = ShardSettings(
        home(event["id"], shards),
        shards,
        group_id,
        _limits(),
        binary_mode=is_binary,
        schema_guid=schema_guid,
        dataschema=event["dataschema"],
    )
    (ready,) = _decide([batch], settings).ready
    return written(
        ready if replay_id is None else replayed(ready, replay_id, binary_mode=is_binary)
    )


def dead_letters(
    batches: Sequence[SourceBatch], *, max_bytes: int = 2 * READY_MAX_BYTES
) -> list[KafkaRecord]:
    """Return the dead letters of the only shard, written to a topic that accepts `max_bytes`."""
    settings = ShardSettings(0, 1, GROUP_ID, _limits(max_bytes))
    return [written(letter) for letter in _decide(batches, settings).dead_letters]


def _decide(batches: Sequence[SourceBatch], settings: ShardSettings) -> Decision:
    decision = Decision()
    decider = Decider(settings, SeenIds(0))
    for batch in batches:
        decider.decide(batch, decision, NO_CEILING_MS)
    return decision


def _limits(dead_letter_max_bytes: int = 2 * READY_MAX_BYTES) -> Limits:
    return Limits(READY_MAX_BYTES, dead_letter_max_bytes, READY_MAX_BYTES)
