"""Measures the peak memory of one process, under loads that could raise it.

Each load runs on a new process with the default settings. The benchmark needs a local Kafka,
because it freezes the broker to make it slow.
"""

import json
import random
import time
from collections.abc import Iterable, Iterator

from confluent_kafka import Producer

from bench.service import PARTITIONS, BenchService
from bench.throughput import fill
from dev.kafka import LocalKafka
from tests.support.records import NewRecord, send
from tests.support.records import realistic_checkpoint as checkpoint

DEADLINE_SECONDS = 600.0
LARGE_TOPIC_BYTES = 11_000_000
LARGE_VALUE_BYTES = 10_000_000
LARGE_RECORDS = 100
BOMBS = 12
BOMB_BYTES = 100_000_000
FROZEN_SECONDS = 0.5
MIB = 1024 * 1024


def measure_memory(kafka: LocalKafka, *, events: int) -> Iterator[dict[str, object]]:
    """Yield the peak of each load."""
    servers = kafka.bootstrap_servers
    with BenchService(servers, "memory-idle", start=False) as service:
        produce(service, [NewRecord(checkpoint("ftckpt_idle", 1))])
        service.start()
        wait_for(service, ready=1)
        yield figures(service, "idle, one event", 1)
    for name, node in (("backlog", None), ("slow-broker", 1)):
        with BenchService(servers, f"memory-{name}", start=False) as service:
            distinct = fill(service, events, spread=True)
            service.start()
            wait_for(service, ready=distinct, freeze=(kafka, node) if node else None)
            load = f"backlog of {events}" + (", broker frozen half of the time" if node else "")
            yield figures(service, load, distinct)
    with BenchService(servers, "memory-large", start=False, max_bytes=LARGE_TOPIC_BYTES) as service:
        produce(service, large_records())
        service.start()
        wait_for(service, ready=LARGE_RECORDS * 4 // 5, dead=LARGE_RECORDS // 5)
        load = f"{LARGE_RECORDS} records of {LARGE_VALUE_BYTES // MIB} MiB, most forwarded"
        yield figures(service, load, LARGE_RECORDS * 4 // 5)
    with BenchService(servers, "memory-bombs", start=False) as service:
        for compression in ("lz4", "zstd"):
            produce(service, bombs(), compression)
        service.start()
        wait_for(service, dead=BOMBS)
        yield figures(service, f"{BOMBS} batches that inflate to {BOMB_BYTES // MIB} MiB", 0)


def large_records() -> Iterator[NewRecord]:
    """Yield records of 10 MB on random partitions; every fifth is invalid."""
    chance = random.Random(7)
    for number in range(LARGE_RECORDS):
        document = json.loads(checkpoint(f"ftckpt_large_{number}", number))
        document["padding"] = "x" * (LARGE_VALUE_BYTES - 1000)
        if number % 5 == 0:
            document["object"] = "something.else"
        value = json.dumps(document).encode()
        yield NewRecord(value, partition=chance.randrange(PARTITIONS))


def bombs() -> Iterator[NewRecord]:
    """Yield records that compress to a few bytes."""
    for number in range(BOMBS // 2):
        yield NewRecord(b" " * BOMB_BYTES, partition=number % PARTITIONS)


def produce(service: BenchService, records: Iterable[NewRecord], compression: str = "none") -> None:
    """Send each record before the next one is created, so that this process needs little memory."""
    producer = Producer(
        {
            **service.cluster.settings,
            "message.max.bytes": 1_000_000_000,
            "compression.type": compression,
            "linger.ms": 0,
        }
    )
    for record in records:
        send(producer, service.input_topic, [record])


def wait_for(
    service: BenchService,
    *,
    ready: int = 0,
    dead: int = 0,
    freeze: tuple[LocalKafka, int] | None = None,
) -> None:
    """Read until all expected records are visible. `freeze` freezes the broker half of the time."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    for topic, wanted in ((service.ready_topic, ready), (service.dead_letter_topic, dead)):
        with service.cluster.subscriber(topic) as subscriber:
            count = 0
            while count < wanted:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{topic}: {count} records of {wanted} in time")
                if freeze is not None:
                    kafka, node = freeze
                    kafka.pause(node)
                    time.sleep(FROZEN_SECONDS)
                    kafka.resume(node)
                count += len(subscriber.read_available(FROZEN_SECONDS))
                subscriber.records.clear()


def figures(service: BenchService, load: str, ids: int) -> dict[str, object]:
    """Return the figures of one load."""
    return {
        "measure": "peak_memory_mib",
        "load": load,
        "ids_in_memory": ids,
        "peak_memory_mib": service.peak_memory_mib,
    }
