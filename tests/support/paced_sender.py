"""Sends checkpoints at a steady rate with librdkafka, and measures the pauses of both sides.

The pauses of the service come from the timestamps of its ready topic, which the brokers set. So no
subscriber, which may be disturbed itself, is part of the measurement.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from confluent_kafka import Producer

from tests.support.records import checkpoint, home_shard
from tests.support.verdicts import event_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.cluster import Cluster

FLUSH_SECONDS = 90.0
TRANSACTION_STATE = struct.Struct(">hqhib")  # version, producer id, epoch, timeout, status
PREPARE_COMMIT, COMPLETE_COMMIT = 2, 4


class PacedSender:
    """An idempotent producer of librdkafka in a thread; a context manager that ends the thread."""

    def __init__(
        self, cluster: Cluster, topic: str, partitions: int, *, records_per_second: float = 30.0
    ) -> None:
        """Send new ids, keyed by nothing, to each partition in turn."""
        self.sent: list[str] = []
        self._topic, self._partitions = topic, partitions
        self._pause = 1 / records_per_second
        self._delivered: dict[int, list[float]] = defaultdict(list)
        self._failures: list[str] = []
        settings: dict[str, Any] = {**cluster.settings, "enable.idempotence": True, "linger.ms": 1}
        del settings["socket.timeout.ms"]  # the default of librdkafka
        self._producer = Producer(settings)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Begin to send."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and wait for every delivery."""
        self._stopped.set()
        self._thread.join()
        left = self._producer.flush(FLUSH_SECONDS)
        assert not left
        assert not self._failures

    def longest_pause(self) -> float:
        """Return the longest time (s) between two deliveries to one partition."""
        return max(longest_seconds(spans_between(times)) for times in self._delivered.values())

    def _run(self) -> None:
        while not self._stopped.wait(self._pause):
            partition = len(self.sent) % self._partitions
            one = f"ftckpt_paced_{len(self.sent):06}"
            self.sent.append(one)
            self._producer.produce(
                self._topic, checkpoint(one), partition=partition, on_delivery=self._on_delivery
            )
            self._producer.poll(0)

    def _on_delivery(self, error: object, message: Any) -> None:  # noqa: ANN401 - of librdkafka
        if error is not None:
            self._failures.append(str(error))
        else:
            self._delivered[message.partition()].append(time.monotonic())


def append_times(cluster: Cluster, ready_topic: str) -> None:
    """Let the brokers set the timestamps of the ready topic."""
    cluster.set_config(ready_topic, message_timestamp_type="LogAppendTime")


class Span(NamedTuple):
    """A period, in seconds since the epoch by the brokers' clocks."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """The length."""
        return self.end - self.begin

    def seconds_outside(self, others: Iterable[Span]) -> float:
        """Return the length of what the other spans do not cover; they do not overlap."""
        common = (min(self.end, other.end) - max(self.begin, other.begin) for other in others)
        return self.seconds - sum(each for each in common if each > 0)


def spans_between(times: Iterable[float]) -> list[Span]:
    """Return the spans between one time and the next."""
    return [Span(*pair) for pair in pairwise(sorted(times))]


def longest_seconds(spans: Iterable[Span]) -> float:
    """Return the length of the longest span."""
    return max((span.seconds for span in spans), default=0.0)


def pauses_by_shard(cluster: Cluster, ready_topic: str, shards: int) -> dict[int, float]:
    """Return the longest time (s) between two ready events of each home shard."""
    found = spans_by_shard(cluster, ready_topic, shards)
    return {shard: longest_seconds(spans) for shard, spans in found.items()}


def spans_by_shard(cluster: Cluster, ready_topic: str, shards: int) -> dict[int, list[Span]]:
    """Return the spans between two ready events of each home shard."""
    times: dict[int, list[float]] = defaultdict(list)
    for record in cluster.read(ready_topic):
        shard = home_shard(event_id(record), shards)
        times[shard].append(record.timestamp_ms / 1000)
    return {shard: spans_between(found) for shard, found in sorted(times.items())}


def commit_waits_by_id(cluster: Cluster) -> dict[str, list[Span]]:
    """Return the spans between decision and end of each commit, by transactional id.

    In between, the coordinator waits for the leaders of the transaction to write its markers. A
    leader that hangs keeps it waiting for the brokers' ``request.timeout.ms`` (30 s), whatever the
    producer does. The times are in the coordinators' own log (``TransactionLogValue.json``).
    """
    decided: dict[str, float] = {}
    waits: dict[str, list[Span]] = defaultdict(list)
    for record in cluster.read("__transaction_state", committed_only=False):
        if record.key is None or record.value is None:
            continue
        (length,) = struct.unpack_from(">h", record.key, 2)
        transactional_id = record.key[4 : 4 + length].decode()
        *_, status = TRANSACTION_STATE.unpack_from(record.value)
        if status == PREPARE_COMMIT:
            decided.setdefault(transactional_id, record.timestamp_ms / 1000)
        elif status == COMPLETE_COMMIT and transactional_id in decided:
            begin = decided.pop(transactional_id)
            waits[transactional_id].append(Span(begin, record.timestamp_ms / 1000))
    return waits
