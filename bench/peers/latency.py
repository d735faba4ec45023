"""Measures latency end to end: from the producer's call to a read_committed subscriber.

This program is the producer and the subscriber, so one clock measures both. Each event has an id of
its own. The sender keeps its rate whether or not events arrive, so a slow contender cannot slow
down the measurement of itself. All contenders get the same streams after the same warm-up.
Contenders, broker and this program share all cores: broker and load together need more than one.
"""

import random
import sys
import threading
import time
import uuid
from array import array
from collections.abc import Iterator, Sequence
from typing import Final, Self

import msgspec
from confluent_kafka import Producer

from bench.peers.backlog import PARTITIONS, Backlog, Placement, checkpoint_id, id_number
from bench.peers.broker import Broker
from bench.peers.contenders.contender import Contender, Run
from bench.peers.sampling import ContenderFailed, tree_cpu_seconds
from bench.peers.throughput import started_contender
from tests.support.child_process import ChildProcess
from tests.support.records import home_shard
from tests.support.records import realistic_checkpoint as checkpoint
from tests.support.waiting import DeadlineExceeded, wait_until

AT_REST: Final = 0
"""The value of a rate that means single events with pauses."""
REST_SECONDS: Final = (0.25, 0.45)
"""The pauses are random: no event meets the same moment of a commit interval."""
WARM_UP_RATE: Final = 1_000
START_SECONDS: Final = 120.0
ARRIVAL_SECONDS: Final = 30.0
LINGER_MS: Final = 1
"""With 0 the producer sends a request for each event, and 10,000 a second overload the broker."""
FLUSH_SECONDS: Final = 30.0
SWITCH_SECONDS: Final = 0.0002
"""How long Python runs one thread before it considers the other one."""
SEED: Final = 7


class Load(msgspec.Struct, frozen=True):
    """A stream of events."""

    rate: int
    events: int

    def pauses(self, chance: random.Random) -> Iterator[float]:
        """Yield the time until each event (s)."""
        for _ in range(self.events):
            yield chance.uniform(*REST_SECONDS) if self.rate == AT_REST else 1 / self.rate


class LatencyFigures(msgspec.Struct, frozen=True):
    """The latencies of one stream (ms)."""

    contender: str
    rate: int
    """Events per second that were asked for; 0: single events."""
    sent_per_second: float
    events: int
    missing: int
    repeated: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    most_ms: float
    cores: float
    """CPU seconds of the contender per second."""
    broker_cores: float
    own_cores: float
    """Of this program. If the three together need all cores, the figures show the machine."""


class _Identified(msgspec.Struct):
    id: str


def loads(rates: Sequence[int], seconds: float, single_events: int) -> list[Load]:
    """Return the streams of these rates, each of this duration."""
    return [Load(rate, int(rate * seconds) or single_events) for rate in rates]


def measure_latency(
    broker: Broker, contender: Contender, streams: Sequence[Load], *, warm_up_seconds: float
) -> Iterator[LatencyFigures]:
    """Yield the latencies of each stream, on one process that runs all the time.

    Raises:
        ContenderFailed: it ended, or it did not publish the events of the warm-up.
    """
    warm_up = Load(WARM_UP_RATE, int(WARM_UP_RATE * warm_up_seconds) or 1)
    total = sum(one.events for one in streams) + warm_up.events + PARTITIONS
    topic = f"peers-input-latency-{uuid.uuid4().hex[:6]}"
    broker.cluster.create_topics({topic: PARTITIONS})
    backlog = Backlog(topic, Placement.KEYED, total, total)
    with (
        started_contender(broker, contender, backlog) as (run, processes),
        _Clock(run, contender.subscribed_topic(run)) as clock,
    ):
        try:
            clock.send(Load(WARM_UP_RATE, PARTITIONS))
            clock.wait_for_all(START_SECONDS)
            clock.send(warm_up)
            clock.wait_for_all(START_SECONDS)
        except DeadlineExceeded as error:
            tails = "\n".join(process.tail() for process in processes)
            raise ContenderFailed(f"{contender.name}: {error}\n{tails}") from None
        for load in streams:
            yield _measure(broker, contender, processes, clock, load)
    broker.cluster.delete_topics(topic)


def _measure(
    broker: Broker,
    contender: Contender,
    processes: Sequence[ChildProcess],
    clock: "_Clock",
    load: Load,
) -> LatencyFigures:
    first = clock.sent
    repeated = clock.repeated
    cpu = sum(tree_cpu_seconds(process.pid) for process in processes)
    broker_cpu, own_cpu = tree_cpu_seconds(broker.pid), time.process_time()
    began = time.monotonic()
    clock.send(load)
    took = time.monotonic() - began
    cpu = sum(tree_cpu_seconds(process.pid) for process in processes) - cpu
    broker_cpu = tree_cpu_seconds(broker.pid) - broker_cpu
    own_cpu = time.process_time() - own_cpu
    try:
        clock.wait_for_all(ARRIVAL_SECONDS)
    except DeadlineExceeded as error:
        print(f"{contender.name}: {error}", file=sys.stderr, flush=True)
    if ended := [process for process in processes if process.has_ended]:
        raise ContenderFailed(f"{contender.name} ended:\n{ended[0].tail()}")
    found = clock.latencies(first)
    return LatencyFigures(
        contender=contender.name,
        rate=load.rate,
        sent_per_second=round(load.events / took, 1),
        events=load.events,
        missing=load.events - len(found),
        repeated=clock.repeated - repeated,
        p50_ms=_percentile(found, 0.5),
        p99_ms=_percentile(found, 0.99),
        p999_ms=_percentile(found, 0.999),
        most_ms=_percentile(found, 1),
        cores=round(cpu / took, 3),
        broker_cores=round(broker_cpu / took, 3),
        own_cores=round(own_cpu / took, 3),
    )


def _percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value that this share of the ordered latencies does not exceed (ms)."""
    if not ordered:
        return float("nan")
    index = min(int(share * len(ordered)), len(ordered) - 1)
    return round(ordered[index] * 1000, 2)


class _Clock:
    """Sends events, and takes the time when each arrives at a subscriber, in a thread."""

    def __init__(self, run: Run, subscribed_topic: str) -> None:
        self._run = run
        self._subscribed_topic = subscribed_topic
        self._sent_at = array("d", bytes(8 * run.backlog.distinct))
        self._arrived_at = array("d", bytes(8 * run.backlog.distinct))
        self._arrived = 0
        self.sent = 0
        self.repeated = 0
        self._chance = random.Random(SEED)
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._switch_seconds = sys.getswitchinterval()
        self._producer = Producer({**run.cluster.settings, "linger.ms": LINGER_MS, "acks": "all"})

    def __enter__(self) -> Self:
        sys.setswitchinterval(SWITCH_SECONDS)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(FLUSH_SECONDS)
        sys.setswitchinterval(self._switch_seconds)

    def send(self, load: Load) -> None:
        """Send the events of a stream, and wait until the broker has all of them."""
        due = time.monotonic()
        for pause in load.pauses(self._chance):
            due += pause
            while (left := due - time.monotonic()) > 0:
                self._producer.poll(0)
                time.sleep(left)
            one = checkpoint_id(self.sent)
            value, partition = checkpoint(one, self.sent), home_shard(one, PARTITIONS)
            self._sent_at[self.sent] = time.monotonic()
            try:
                self._producer.produce(self._run.backlog.topic, value, one.encode(), partition)
            except BufferError:
                raise ContenderFailed("the broker is slower than the stream") from None
            self.sent += 1
            self._producer.poll(0)
        if left_over := self._producer.flush(FLUSH_SECONDS):
            raise ContenderFailed(f"the broker did not take {left_over} events in time")

    def wait_for_all(self, seconds: float) -> None:
        """Wait until every sent event has arrived.

        Raises:
            DeadlineExceeded: some have not.
        """

        def all_arrived() -> bool:
            if self._failure is not None:
                raise ContenderFailed(f"the subscriber failed: {self._failure}")
            return self._arrived == self.sent

        wait_until(all_arrived, seconds, what=f"the arrival of {self.sent} events")

    def latencies(self, first: int) -> list[float]:
        """Return the latencies of the events from this number on that have arrived, in order."""
        return sorted(
            self._arrived_at[number] - self._sent_at[number]
            for number in range(first, self.sent)
            if self._arrived_at[number]
        )

    def _receive(self) -> None:
        decode = msgspec.json.Decoder(_Identified).decode
        try:
            with self._run.cluster.subscriber(self._subscribed_topic) as reader:
                while not self._ended.is_set():
                    for record in reader.poll(most=1):
                        now = time.monotonic()
                        number = id_number(decode(record.value or b"").id)
                        if self._arrived_at[number]:
                            self.repeated += 1
                        else:
                            self._arrived_at[number] = now
                            self._arrived += 1
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits
            self._failure = error
