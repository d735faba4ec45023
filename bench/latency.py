"""Measures latency without load: from a source event to the visible ready event."""

import statistics
import time
from collections.abc import Callable

from confluent_kafka import Producer

from bench.service import PARTITIONS, BenchService, home_partition
from tests.support.records import realistic_checkpoint as checkpoint

# Longer than the commit interval, so that the shard is idle again when the next event arrives.
PAUSE_SECONDS = 0.15
EVENT_SECONDS = 30.0
REQUEST_SECONDS = 30.0
WARM_UP = 10


def measure_latency(service: BenchService, *, samples: int, spread: bool) -> dict[str, object]:
    """Return milliseconds from ``produce`` to delivery.

    With ``spread`` each event goes to a partition that its home shard does not read.
    """
    producer = Producer({**service.cluster.settings, "linger.ms": 0, "acks": "all"})

    def send(number: int) -> None:
        checkpoint_id = f"ftckpt_latency_{spread}_{number}"
        home = home_partition(checkpoint_id)
        partition = (home + 1) % PARTITIONS if spread else home
        producer.produce(
            service.input_topic, checkpoint(checkpoint_id, number), partition=partition
        )
        producer.poll(0)

    path = "forwarded to its home shard" if spread else "produced to its home partition"
    return _measure(service, samples, path, send, producer)


def measure_bare_transaction(service: BenchService, *, samples: int) -> dict[str, object]:
    """Return the latency of one librdkafka transaction over two partitions: Kafka's own cost.

    The service needs this time too, and also reads the event before. So compare the service with
    this figure, and not with a figure from another machine.
    """
    producer = Producer(
        {
            **service.cluster.settings,
            "linger.ms": 0,
            "transactional.id": f"{service.ready_topic}-bare",
        }
    )
    producer.init_transactions(REQUEST_SECONDS)

    def send(number: int) -> None:
        value = checkpoint("ftckpt_bare", number)
        producer.begin_transaction()
        for partition in (0, 1):
            producer.produce(service.ready_topic, value, partition=partition)
        producer.commit_transaction(REQUEST_SECONDS)

    return _measure(
        service, samples, "a bare librdkafka transaction, no service", send, producer, records=2
    )


def _measure(  # noqa: PLR0913, PLR0917 - the parts of a measurement
    service: BenchService,
    samples: int,
    path: str,
    send: Callable[[int], None],
    producer: Producer,
    records: int = 1,
) -> dict[str, object]:
    latencies_ms = []
    with service.cluster.subscriber(service.ready_topic, at_end=True) as reader:
        for number in range(samples + WARM_UP):
            began = time.perf_counter()
            send(number)
            for _ in range(records):
                reader.next(EVENT_SECONDS)
            latencies_ms.append((time.perf_counter() - began) * 1000)
            producer.flush()
            time.sleep(PAUSE_SECONDS)
    measured = sorted(latencies_ms[WARM_UP:])
    return {
        "measure": "latency_at_rest_ms",
        "path": path,
        "samples": len(measured),
        "p50": round(statistics.median(measured), 2),
        "p90": round(measured[int(len(measured) * 0.9)], 2),
        "p99": round(measured[int(len(measured) * 0.99)], 2),
    }
