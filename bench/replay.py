"""Measures a large replay with kills during a live stream: correctness, rate, effect on latency."""

import hashlib
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, Self

import msgspec

from bench.service import PARTITIONS, BenchService
from bench.throughput import DEADLINE_SECONDS, fill
from schemas.ready_event import ReadyEvent
from tests.support.stream import Stream
from tests.support.verdicts import compare_ids
from tests.support.waiting import DeadlineExceeded

NAME: Final = "bench"
STREAM_PAUSE_MS: Final = 20
_decode = msgspec.json.Decoder(ReadyEvent).decode


class LiveLatency:
    """Measures the time from the timestamp of each stream event to its delivery, in a thread."""

    def __init__(self, service: BenchService) -> None:
        self.ids: Counter[str] = Counter()
        self._latencies_ms: list[float] = []
        self._service = service
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow)
        self._is_ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self._is_ready.wait(DEADLINE_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def take(self) -> list[float]:
        """Return the latencies since the last call."""
        taken, self._latencies_ms = self._latencies_ms, []
        return sorted(taken)

    def _follow(self) -> None:
        topic = self._service.ready_topic
        with self._service.cluster.subscriber(topic, at_end=True) as reader:
            self._is_ready.set()
            while not self._stopped.is_set():
                for record in reader.poll(0.2, most=1):
                    event = _decode(record.value or b"")
                    now_ms = time.time_ns() / 1e6
                    self.ids[event.id] += 1
                    self._latencies_ms.append(now_ms - event.data.origin.timestamp_ms)


def measure_replay(
    bootstrap_servers: str, *, records: int, kills: int, alone_seconds: float = 15.0, seed: int = 7
) -> Iterator[dict[str, object]]:
    """Yield figures; raise AssertionError if an id is lost, published twice or changed."""
    with BenchService(bootstrap_servers, "replay", start=False) as service:
        distinct = fill(service, records, spread=True)
        service.start()
        with service.cluster.subscriber(service.ready_topic) as subscriber:
            subscriber.wait_for(distinct, DEADLINE_SECONDS)
        stream = Stream(
            service.cluster, service.input_topic, pause_ms=STREAM_PAUSE_MS, shards=PARTITIONS
        )
        with LiveLatency(service) as live, stream:
            time.sleep(alone_seconds)  # the duration of the first measurement
            yield _latency("live stream alone", live.take())
            yield _replay(service, records=records, kills=kills, chance=random.Random(seed))
            yield _latency("live stream during the replay", live.take())
        yield _check(service, distinct)
        streamed = service.cluster.read(service.ready_topic, deadline_seconds=DEADLINE_SECONDS)
        found = Counter(_decode(record.value or b"").id for record in streamed)
        streamed_ids = set(stream.ids)
        verdict = compare_ids(
            streamed_ids, Counter({one: n for one, n in found.items() if one in streamed_ids})
        )
        if not verdict.is_exactly_once:
            raise AssertionError(f"of the live stream: {verdict}")
        yield {"measure": "live_stream", "ids": len(stream.ids), "lost": 0, "published_twice": 0}


def _replay(
    service: BenchService, *, records: int, kills: int, chance: random.Random
) -> dict[str, object]:
    """Kill the replay `kills` times at random moments, then run it to its end."""
    began = time.monotonic()
    longest_seconds = records / 40_000
    command = ("consumer", "replay", "--name", NAME, "--execute")
    for _ in range(kills):
        process = service.start_logged(*command)
        # Kill the process at a random time between its start and its last transaction.
        with suppress(DeadlineExceeded):
            process.wait(2.0 + chance.uniform(0, longest_seconds))
        process.kill()
    process = service.start_logged(*command)
    process.wait(DEADLINE_SECONDS)
    reports = [line["replay"] for line in process.lines if "replay" in line]
    if not reports:
        raise AssertionError(f"the replay has no result:\n{process.tail()}")
    facts: dict[str, Any] = reports[-1]
    return {
        "measure": "replay",
        "records": facts["counts"]["records"],
        "events": facts["counts"]["events"],
        "kills": kills,
        "transactions": facts["transactions"],
        "busy_seconds": facts["busy_seconds"],
        "records_per_second": facts["records_per_second"],
        "events_per_second": facts["events_per_second"],
        "wall_seconds_with_restarts": round(time.monotonic() - began, 1),
    }


def _check(service: BenchService, distinct: int) -> dict[str, object]:
    """Compare the replay with the live events, both read by librdkafka, read_committed."""
    cluster = service.cluster
    suffix = f',"replayid":"{NAME}"}}'.encode()
    replayed: dict[str, bytes] = {}
    twice = 0
    target = f"{service.ready_topic}.replay"
    for record in cluster.read(target, deadline_seconds=DEADLINE_SECONDS):
        value = record.value or b""
        event = _decode(value)
        if not value.endswith(suffix):
            raise AssertionError(f"{event.id} does not end with its replayid")
        twice += event.id in replayed
        replayed[event.id] = _digest(value[: -len(suffix)] + b"}")
    different = 0
    lost = 0
    for record in cluster.read(service.ready_topic, deadline_seconds=DEADLINE_SECONDS):
        event = _decode(record.value or b"")
        again = replayed.get(event.id)
        lost += again is None and event.id.startswith("ftckpt_0")
        different += again is not None and again != _digest(record.value or b"")
    if twice or lost or different or len(replayed) < distinct:
        raise AssertionError(f"{twice} twice, {lost} lost, {different} unlike live")
    return {
        "measure": "replay_check",
        "ids": len(replayed),
        "lost": lost,
        "published_twice": twice,
        "unlike_live": different,
    }


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=16).digest()


def _latency(path: str, latencies_ms: list[float]) -> dict[str, object]:
    return {
        "measure": "live_latency_ms",
        "path": path,
        "samples": len(latencies_ms),
        "p50": round(statistics.median(latencies_ms), 2),
        "p90": round(latencies_ms[int(len(latencies_ms) * 0.9)], 2),
        "p99": round(latencies_ms[int(len(latencies_ms) * 0.99)], 2),
    }
