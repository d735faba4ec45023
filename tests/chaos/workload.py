"""A producer that continues to write during broker failures."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException, Producer

from tests.chaos.script import Script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.records import NewRecord

TURN_SECONDS = 0.01
FLUSH_SECONDS = 120.0
QUEUED_RECORDS = 20_000
PARTITIONS_SECONDS = 20.0


class Workload:
    """Writes the records of the script until it is stopped."""

    def __init__(
        self, settings: Mapping[str, Any], topic: str, seed: int, *, records_per_second: float
    ) -> None:
        self._settings = {
            **settings,
            "enable.idempotence": True,
            "linger.ms": 5,
            "message.timeout.ms": 0,  # no record is given up while brokers are down
            "queue.buffering.max.messages": QUEUED_RECORDS,
            "partitioner": "murmur2_random",
        }
        self._topic = topic
        self._rate = records_per_second
        self._script = Script(seed, records_per_second)
        self._producer = Producer(self._settings)
        self._partitions = 1
        self._acknowledged = 0
        self._failures: list[str] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._produce, name="workload", daemon=True)

    @property
    def produced(self) -> int:
        """The number of records that the brokers have acknowledged."""
        return self._acknowledged

    def start(self) -> None:
        """Start to write."""
        found = self._producer.list_topics(self._topic, timeout=PARTITIONS_SECONDS)
        self._partitions = max(1, len(found.topics[self._topic].partitions))
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait until everything is acknowledged; the brokers must run.

        Raises:
            AssertionError: the brokers refused records, or did not acknowledge all in time.
        """
        self._stopped.set()
        self._thread.join()
        left = self._producer.flush(FLUSH_SECONDS)
        problems = self._failures[:3] + ([f"{left} not acknowledged"] if left else [])
        if problems:
            raise AssertionError(f"the workload's records failed: {problems}")

    def _produce(self) -> None:
        began, written = time.monotonic(), 0
        # The wait sets the rate of the workload; it waits for no condition.
        while not self._stopped.wait(TURN_SECONDS):
            due = int((time.monotonic() - began) * self._rate)
            while written < due and not self._stopped.is_set():
                self._send(self._script.next(self._partitions))
                written += 1
            self._producer.poll(0)

    def _send(self, record: NewRecord) -> None:
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    value=record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=list(record.headers),
                    on_delivery=self._delivered,
                )
            except BufferError:  # brokers are down: wait for room
                self._producer.poll(0.1)
            except KafkaException as error:
                self._failures.append(str(error))
                return
            else:
                return

    def _delivered(self, error: Any, message: Any) -> None:  # noqa: ANN401 - librdkafka's own
        if error is not None:
            self._failures.append(str(error))
            return
        self._acknowledged += 1
        # New partitions are found by delivery: random keys reach them when the client knows them.
        self._partitions = max(self._partitions, message.partition() + 1)
