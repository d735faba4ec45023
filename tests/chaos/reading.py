"""Reading topics by librdkafka, without a group: every partition from its start, committed only."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from tests.chaos.record import ReadRecord
from tests.integration.subscriber import end_offsets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from confluent_kafka import Message
    from confluent_kafka.admin import AdminClient

BATCH_RECORDS = 2000
POLL_SECONDS = 0.1
METADATA_SECONDS = 5.0
FOLLOW_SECONDS = 2.0
# What can only mean that the log has become another one; all else heals with the brokers.
LOST_PLACE = {
    KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 - its public name
    KafkaError._LOG_TRUNCATION,  # noqa: SLF001
    KafkaError.OFFSET_OUT_OF_RANGE,
}


class CommittedReader:
    """Reads some topics, those of their partitions that are added meanwhile as well."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        topics: Sequence[str],
        starts: Mapping[tuple[str, int], int] | None = None,
    ) -> None:
        self.problems: list[str] = []
        self._topics = topics
        self._starts = starts or {}
        self._positions: dict[tuple[str, int], int] = {}
        self._followed_at = float("-inf")
        self._consumer = Consumer(
            {
                **settings,
                "group.id": "unused",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 16_384,
            }
        )

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self._consumer.close()

    def position(self, topic: str, partition: int) -> int:
        """Return the first offset that was not passed yet, records or not."""
        return self._positions.get((topic, partition), 0)

    def poll(self, wait_seconds: float = POLL_SECONDS) -> Iterator[ReadRecord]:
        """Yield what has come; waits a moment for the first."""
        self._follow_partitions()
        for message in self._consumer.consume(BATCH_RECORDS, wait_seconds):
            record = self._take(message)
            if record is not None:
                yield record

    def _follow_partitions(self) -> None:
        if time.monotonic() - self._followed_at < FOLLOW_SECONDS:
            return
        new: list[tuple[str, int]] = []
        for topic in self._topics:
            try:
                found = self._consumer.list_topics(topic, timeout=METADATA_SECONDS).topics[topic]
            except KafkaException:  # brokers are down: the next time will do
                continue
            new += [
                (topic, p) for p in sorted(found.partitions) if (topic, p) not in self._positions
            ]
        if new:
            self._consumer.incremental_assign(
                [TopicPartition(*place, self._starts.get(place, OFFSET_BEGINNING)) for place in new]
            )
            self._positions.update({place: self._starts.get(place, 0) for place in new})
        self._followed_at = time.monotonic()

    def _take(self, message: Message) -> ReadRecord | None:
        error = message.error()
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                place = (str(topic), int(partition or 0))
                self._positions[place] = max(self._positions[place], int(offset or 0))
            elif error.code() in LOST_PLACE:
                self.problems.append(f"{topic}/{partition}: {error}")
            elif error.fatal():
                raise KafkaException(error)
            return None
        assert topic is not None
        assert partition is not None
        assert offset is not None
        self._positions[topic, partition] = offset + 1
        return ReadRecord(
            topic,
            partition,
            offset,
            message.timestamp()[1],
            message.key(),
            message.value(),
            cast("list[tuple[str, bytes | None]]", message.headers() or []),
        )


def ends_of(
    admin: AdminClient, topic: str, passed: Mapping[int, int], deadline_seconds: float
) -> dict[int, int]:
    """Return the end offsets of a topic, uncommitted records included.

    A new leader may lag, a broker just back may not know all partitions: so they are asked for
    again until they reach what readers have `passed`, or the deadline.
    """
    deadline = time.monotonic() + deadline_seconds
    while True:
        late = time.monotonic() > deadline
        try:
            ends = end_offsets(admin, topic)
        except (KafkaException, TimeoutError):  # a leader is on its way
            if late:
                raise
        else:
            if late or all(ends.get(p, 0) >= offset for p, offset in passed.items()):
                return ends
        time.sleep(POLL_SECONDS)


def read_to(
    settings: Mapping[str, Any],
    topic: str,
    ends: Mapping[int, int],
    quiet_seconds: float,
    starts: Mapping[tuple[str, int], int] | None = None,
) -> Iterator[ReadRecord]:
    """Yield a topic's committed records up to these ends, from its start or from `starts`.

    Raises:
        AssertionError: for so long nothing came, though the ends are not reached.
    """
    with CommittedReader(settings, [topic], starts) as reader:
        deadline = time.monotonic() + quiet_seconds
        while True:
            positions = {partition: reader.position(topic, partition) for partition in ends}
            behind = {p: (positions[p], end) for p, end in ends.items() if positions[p] < end}
            if not behind:
                return
            if time.monotonic() > deadline:
                shown = ", ".join(f"{p} at {at} of {end}" for p, (at, end) in behind.items())
                raise AssertionError(
                    f"{topic} cannot be read to its end, a transaction is open or a broker gone: "
                    f"{shown}"
                )
            yield from reader.poll()
            if any(reader.position(topic, p) != at for p, at in positions.items()):
                deadline = time.monotonic() + quiet_seconds
