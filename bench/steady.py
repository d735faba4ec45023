"""Measures CPU and memory under a steady stream, from idle to more than one core can handle.

Three of ten events are repeats. This process makes the events before the measurement begins, and
sends them by librdkafka. Producer, broker and service share the machine. If it has too few cores,
the stream is slower than requested, and ``events_per_second`` is the actual rate.
"""

import random
import time
from collections.abc import Iterator
from typing import NamedTuple

from confluent_kafka import Producer

from bench.service import PARTITIONS, BenchService, home_partition
from bench.throughput import DUPLICATES
from tests.support.records import realistic_checkpoint as checkpoint

DEADLINE_SECONDS = 600.0
SLICE_SECONDS = 0.02


class Load(NamedTuple):
    """A stream: its events per second, and the number of processes that handle it."""

    rate: int
    processes: int = 1


LOADS = (Load(0), Load(1_000), Load(10_000), Load(50_000), Load(50_000, processes=2))


def measure_steady(
    bootstrap_servers: str, *, seconds: float, spread: bool
) -> Iterator[dict[str, object]]:
    """Yield the cost of each load over `seconds`; with ``spread`` on random partitions."""
    for load in LOADS:
        with BenchService(bootstrap_servers, f"steady-{load.rate}", start=False) as service:
            for _ in range(load.processes):
                service.start()
            yield _measure(service, load, seconds, spread=spread)


def _measure(
    service: BenchService, load: Load, seconds: float, *, spread: bool
) -> dict[str, object]:
    stream = _stream(int(load.rate * seconds), spread=spread)
    distinct = len({value for value, _ in stream})
    producer = Producer(
        {**service.cluster.settings, "linger.ms": 5, "queue.buffering.max.messages": 1_000_000}
    )
    with service.cluster.subscriber(service.ready_topic) as subscriber:
        for partition in range(PARTITIONS):  # one event of each shard shows that all shards run
            value = checkpoint(f"ftckpt_first_{partition}", partition)
            producer.produce(service.input_topic, value, partition=partition)
        subscriber.wait_for(PARTITIONS, DEADLINE_SECONDS)
        cpu_before, began = service.cpu_seconds, time.monotonic()
        _produce(producer, service.input_topic, stream, load.rate, seconds)
        subscriber.wait_for(PARTITIONS + distinct, DEADLINE_SECONDS)
        took = time.monotonic() - began
        cpu = service.cpu_seconds - cpu_before
    return {
        "measure": "steady",
        "path": "random partitions, 5 of 6 forwarded" if spread else "keyed by id",
        "asked_per_second": load.rate,
        "processes": load.processes,
        "events_per_second": round(len(stream) / took),
        "cores": round(cpu / took, 3),
        "cores_per_10k_events_per_second": round(cpu / len(stream) * 10_000, 2) if stream else None,
        "memory_mib": service.memory_mib,
        "ids_in_memory": distinct + PARTITIONS,
    }


def _stream(events: int, *, spread: bool) -> list[tuple[bytes, int]]:
    """Return the records of a stream: each value with its partition."""
    chance = random.Random(7)
    firsts: list[tuple[bytes, int]] = []
    stream = []
    for _ in range(events):
        if firsts and chance.random() < DUPLICATES:
            value, home = chance.choice(firsts)
        else:
            checkpoint_id = f"ftckpt_{len(firsts):024d}"
            value = checkpoint(checkpoint_id, len(firsts))
            home = home_partition(checkpoint_id)
            firsts.append((value, home))
        stream.append((value, chance.randrange(PARTITIONS) if spread else home))
    return stream


def _produce(
    producer: Producer, topic: str, stream: list[tuple[bytes, int]], rate: int, seconds: float
) -> None:
    """Produce at this rate, or as fast as possible, and wait for all acknowledgements."""
    began, done = time.monotonic(), 0
    while True:
        elapsed = time.monotonic() - began
        due = min(len(stream), int(elapsed * rate))
        for value, partition in stream[done:due]:
            while True:
                try:
                    producer.produce(topic, value, partition=partition)
                except BufferError:
                    producer.poll(SLICE_SECONDS)
                else:
                    break
        done = due
        if elapsed >= seconds and done == len(stream):
            break
        producer.poll(SLICE_SECONDS)
    producer.flush()
