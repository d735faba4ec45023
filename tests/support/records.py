"""Makes records with chosen ids and keys, and produces them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import KafkaException
from murmurhash2 import murmurhash2

from tests.support import documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from confluent_kafka import Producer

DELIVERY_SECONDS = 60.0
REPEAT_EVERY = 3
MURMUR2_SEED = 0x9747B28C


class NewRecord(NamedTuple):
    """A record to produce; without a partition librdkafka chooses one by the key."""

    value: bytes | None
    key: bytes | None = None
    partition: int = -1
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp_ms: int = 0  # 0: now


def checkpoint(checkpoint_id: str, *, job: str = "ftjob-1", **fields: object) -> bytes:
    """Return the value of a checkpoint record; `fields` replace or add."""
    document = documents.checkpoint(id=checkpoint_id, fine_tuning_job_id=job, **fields)
    return json.dumps(document).encode()


def realistic_checkpoint(checkpoint_id: str, step: int) -> bytes:
    """Return a checkpoint with most metrics, about 430 bytes: the size that benchmarks measure."""
    document = documents.checkpoint(
        id=checkpoint_id,
        fine_tuning_job_id=f"ftjob-{step % 1000:024d}",
        created_at=1_719_763_200 + step % 100_000,
        fine_tuned_model_checkpoint=(
            f"ft:gpt-4o-mini-2024-07-18:my-org:custom_suffix:9ABel2dg:ckpt-step-{step}"
        ),
        metrics={
            "step": step,
            "train_loss": 0.478 + step % 7,
            "train_mean_token_accuracy": 0.874,
            "full_valid_loss": 0.567 + step % 5,
            "full_valid_mean_token_accuracy": 0.874,
        },
        step_number=step,
    )
    return documents.compact(document)


def numbered_ids(count: int, prefix: str = "ftckpt") -> list[str]:
    """Return distinct ids."""
    return [f"{prefix}_{number:05}" for number in range(count)]


def scattered(ids: Iterable[str]) -> list[NewRecord]:
    """Return a record of each id under a random key, and so on a random partition."""
    return [NewRecord(checkpoint(one), os.urandom(8)) for one in ids]


def home_shard(checkpoint_id: str, shards: int) -> int:
    """Return the home shard of an id, computed without the service's code."""
    return int(murmurhash2(checkpoint_id.encode(), MURMUR2_SEED) & 0x7FFFFFFF) % shards


def ids_at_home(shard: int, shards: int, count: int, prefix: str = "home") -> list[str]:
    """Return ids whose home is this shard."""
    ids = (f"{prefix}_{shard}_{number}" for number in range(1_000_000))
    mine = (one for one in ids if home_shard(one, shards) == shard)
    return [next(mine) for _ in range(count)]


def repeated(name: str, number: int, ids: list[str]) -> str:
    """Return a new id or, every third time, one from the middle of `ids`."""
    return ids[len(ids) // 2] if ids and number % REPEAT_EVERY == 0 else f"{name}_{number:05}"


def send(producer: Producer, topic: str, records: Iterable[NewRecord]) -> list[tuple[int, int]]:
    """Send records in order by this producer and return (partition, offset) of each."""
    placed: list[tuple[int, int]] = []
    pending: dict[int, tuple[int, int] | Exception] = {}
    count = 0
    for index, record in enumerate(records):
        count += 1

        def delivered(error: Any, message: Any, index: int = index) -> None:  # noqa: ANN401 - librdkafka's own
            pending[index] = (
                KafkaException(error) if error else (message.partition(), message.offset())
            )

        while True:
            try:
                producer.produce(
                    topic,
                    value=record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=list(record.headers),
                    timestamp=record.timestamp_ms,
                    on_delivery=delivered,
                )
            except BufferError:
                producer.poll(0.1)
            else:
                break
    left = producer.flush(DELIVERY_SECONDS)
    if left or len(pending) != count:
        message = f"{left} of {count} records could not be delivered to {topic} in time"
        raise AssertionError(message)
    for index in range(count):
        outcome = pending[index]
        if isinstance(outcome, Exception):
            raise outcome
        placed.append(outcome)
    return placed
