"""Produces a steady stream of checkpoints in a separate thread."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import Producer

from tests.support.records import REPEAT_EVERY, NewRecord, checkpoint, home_shard, repeated
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.cluster import Cluster

FLUSH_SECONDS = 45.0


class Stream:
    """Produces in the background, a record every few milliseconds; a context manager.

    Every third record repeats an id under another key. With `shards` each record goes to the
    partition of its home shard instead, one shard after the other, and no id is repeated.
    """

    def __init__(
        self, cluster: Cluster, topic: str, *, pause_ms: float = 10, shards: int | None = None
    ) -> None:
        """Prepare the stream. Entering the context starts it."""
        self.ids: list[str] = []
        self._producer = Producer({**cluster.settings, "linger.ms": 0, "enable.idempotence": True})
        self._topic = topic
        self._pause_seconds = pause_ms / 1000
        self._shards = shards
        self._stopped = threading.Event()
        self._failures: list[str] = []
        self._thread = threading.Thread(target=self._produce)

    def __enter__(self) -> Self:
        """Start producing."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop and wait until everything is delivered."""
        self._stopped.set()
        self._thread.join()
        assert self._producer.flush(FLUSH_SECONDS) == 0
        assert not self._failures

    def wait_for_more(self, count: int) -> None:
        """Wait until `count` more ids have been produced."""
        goal = len(self.ids) + count
        wait_until(lambda: len(self.ids) >= goal, what=f"{count} more records of the stream")

    def _produce(self) -> None:
        next_record = (
            self._anywhere if self._shards is None else self._round_the_shards(self._shards)
        )
        number = 0
        # The wait sets the rate of the stream; it waits for no condition.
        while not self._stopped.wait(self._pause_seconds):
            number += 1
            record = next_record(number)
            self._producer.produce(
                self._topic,
                value=record.value,
                key=record.key,
                partition=record.partition,
                on_delivery=self._delivered,
            )
            self._producer.poll(0)

    def _anywhere(self, number: int) -> NewRecord:
        one = repeated("stream", number, self.ids)
        if number % REPEAT_EVERY:
            self.ids.append(one)
        return NewRecord(checkpoint(one), os.urandom(8))

    def _round_the_shards(self, shards: int) -> Callable[[int], NewRecord]:
        waiting: list[list[str]] = [[] for _ in range(shards)]
        fresh = iter(f"steady_{number:05}" for number in range(1_000_000))

        def next_record(number: int) -> NewRecord:
            shard = number % shards
            while not waiting[shard]:
                one = next(fresh)
                waiting[home_shard(one, shards)].append(one)
            chosen = waiting[shard].pop()
            self.ids.append(chosen)
            return NewRecord(checkpoint(chosen), chosen.encode(), shard)

        return next_record

    def _delivered(self, error: Any, _: object) -> None:  # noqa: ANN401 - librdkafka's own
        if error is not None:
            self._failures.append(str(error))
