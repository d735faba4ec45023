"""Fills the inputs of a comparison: one keyed by id, one with random partitions.

Both have the same records, 30% of which repeat an id. With a key a record is on the partition that
Kafka's default partitioner chooses. That is the partition of the id's home shard too.
"""

import random
import time
import uuid
from enum import StrEnum
from typing import Final, NamedTuple

from confluent_kafka import Producer

from tests.support.cluster import Cluster
from tests.support.records import home_shard
from tests.support.records import realistic_checkpoint as checkpoint

PARTITIONS: Final = 6
DUPLICATES: Final = 0.3
SEED: Final = 7
FLUSH_SECONDS: Final = 120.0
FILL_SECONDS: Final = 900.0
ID_PREFIX: Final = "ftckpt_"


class Placement(StrEnum):
    """Where the records of an id are."""

    KEYED = "keyed by id"
    RANDOM = "random partitions"


class Backlog(NamedTuple):
    """A filled input topic, with `distinct` ids that are numbered from `first_number`."""

    topic: str
    placement: Placement
    events: int
    distinct: int
    first_number: int = 0


def checkpoint_id(number: int) -> str:
    """Return the id with this number."""
    return f"{ID_PREFIX}{number:024d}"


def id_number(text: str) -> int:
    """Return the number of an id."""
    return int(text[len(ID_PREFIX) :])


def fill(cluster: Cluster, events: int, placement: Placement, *, first_number: int = 0) -> Backlog:
    """Create an input topic and produce the records. The ids are numbered from `first_number`.

    Raises:
        RuntimeError: the broker did not accept all records in time.
    """
    word = placement.value.partition(" ")[0]
    topic = f"peers-input-{word}-{uuid.uuid4().hex[:6]}"
    cluster.create_topics({topic: PARTITIONS})
    producer = Producer(
        {
            **cluster.settings,
            "linger.ms": 20,
            "queue.buffering.max.messages": 500_000,
            "queue.buffering.max.kbytes": 262_144,
        }
    )
    chance = random.Random(SEED)
    distinct = 0
    deadline = time.monotonic() + FILL_SECONDS
    for _ in range(events):
        is_repeat = distinct > 0 and chance.random() < DUPLICATES
        number = first_number + (chance.randrange(distinct) if is_repeat else distinct)
        distinct += not is_repeat
        one = checkpoint_id(number)
        key, partition = None, chance.randrange(PARTITIONS)
        if placement is Placement.KEYED:
            key, partition = one.encode(), home_shard(one, PARTITIONS)
        while True:
            try:
                producer.produce(topic, checkpoint(one, number), key, partition)
            except BufferError:
                producer.poll(0.1)
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{topic} could not be filled in time") from None
            else:
                break
        producer.poll(0)
    if left := producer.flush(FLUSH_SECONDS):
        raise RuntimeError(f"{left} records of {topic} were not accepted in time")
    return Backlog(topic, placement, events, distinct, first_number)
