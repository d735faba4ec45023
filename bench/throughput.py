"""Measures how fast one process handles a backlog. A process has one thread: it uses one core."""

import random
import time
from collections.abc import Sequence

from confluent_kafka import Producer

from bench.service import PARTITIONS, BenchService, home_partition
from tests.support.records import realistic_checkpoint as checkpoint

DUPLICATES = 0.3
DEADLINE_SECONDS = 600.0
Headers = Sequence[tuple[str, str | bytes | None]]


def measure_throughput(
    service: BenchService,
    *,
    events: int,
    spread: bool,
    headers: Headers = (),
) -> dict[str, object]:
    """Return source events per second.

    With ``spread`` events are on random partitions, so 5 of 6 are not on their home partition.

    The rate is measured from the first to the last broker timestamp of the ready events. It does
    not include the start and the restore. ``events_per_cpu_second`` includes both.
    """
    distinct = fill(service, events, spread=spread, headers=headers)
    service.start()
    with service.cluster.subscriber(service.ready_topic) as subscriber:
        subscriber.wait_for(distinct, DEADLINE_SECONDS)
        records = subscriber.records
    # Every id is published now. The records that the process has still to handle are duplicates.
    stamps = [record.timestamp_ms for record in records]
    seconds = (max(stamps) - min(stamps)) / 1000
    return {
        "measure": "throughput",
        "path": "random partitions, 5 of 6 forwarded" if spread else "keyed by id",
        "source_events": events,
        "distinct_ids": distinct,
        "seconds": round(seconds, 2),
        "events_per_second": round(events / seconds),
        "events_per_cpu_second": round(events / service.cpu_seconds),
    }


def fill(
    service: BenchService,
    events: int,
    *,
    spread: bool,
    headers: Headers = (),
) -> int:
    """Produce a backlog with 30% duplicates, and return the number of distinct ids."""
    chance = random.Random(7)
    producer = Producer(
        {**service.cluster.settings, "linger.ms": 20, "queue.buffering.max.messages": 1_000_000}
    )
    distinct = 0
    deadline = time.monotonic() + DEADLINE_SECONDS
    for _ in range(events):
        is_repeat = distinct > 0 and chance.random() < DUPLICATES
        number = chance.randrange(distinct) if is_repeat else distinct
        distinct += not is_repeat
        checkpoint_id = f"ftckpt_{number:024d}"
        home = home_partition(checkpoint_id)
        partition = chance.randrange(PARTITIONS) if spread else home
        value = checkpoint(checkpoint_id, number)
        while True:
            try:
                producer.produce(
                    service.input_topic, value, partition=partition, headers=list(headers)
                )
            except BufferError:
                producer.poll(0.2)
                if time.monotonic() > deadline:
                    raise
            else:
                break
        producer.poll(0)
    producer.flush()
    return distinct
