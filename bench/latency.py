"""One event in, visible to a read_committed subscriber: the service at rest."""

import statistics
import time

from confluent_kafka import OFFSET_END, Consumer, Producer, TopicPartition

from bench.events import checkpoint
from bench.service import PARTITIONS, BenchService

# Longer than the commit interval: the shard is at rest again when the next event comes.
PAUSE_SECONDS = 0.15
EVENT_SECONDS = 30.0


def measure_latency(service: BenchService, *, samples: int, spread: bool) -> dict[str, object]:
    """Return milliseconds from ``produce`` to delivery; ``spread``: to a partition not its home."""
    producer = Producer({**service.cluster.settings, "linger.ms": 0, "acks": "all"})
    consumer = Consumer(
        {
            **service.cluster.settings,
            "group.id": "unused",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 500,
        }
    )
    consumer.assign([TopicPartition(service.output, p, OFFSET_END) for p in range(PARTITIONS)])
    consumer.poll(1.0)
    latencies_ms = []
    for number in range(samples + 10):
        checkpoint_id = f"ftckpt_latency_{spread}_{number}"
        home = service.home_partition(checkpoint_id)
        partition = (home + 1) % PARTITIONS if spread else home
        began = time.perf_counter()
        producer.produce(service.input, checkpoint(checkpoint_id, number), partition=partition)
        producer.poll(0)
        message = consumer.poll(EVENT_SECONDS)
        if message is None or message.error() is not None:
            raise AssertionError(f"no ready event within {EVENT_SECONDS} s")
        latencies_ms.append((time.perf_counter() - began) * 1000)
        producer.flush()
        time.sleep(PAUSE_SECONDS)
    consumer.close()
    measured = sorted(latencies_ms[10:])  # the first ones warm everything up
    return {
        "measure": "latency_at_rest_ms",
        "path": "forwarded to its home shard" if spread else "produced to its home partition",
        "samples": len(measured),
        "p50": round(statistics.median(measured), 2),
        "p90": round(measured[int(len(measured) * 0.9)], 2),
        "p99": round(measured[int(len(measured) * 0.99)], 2),
    }
