"""The one reader of topics: librdkafka, which shares no code with the service.

It belongs to no group and commits nothing. By default it sees what a read_committed consumer sees.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from tests.support.waiting import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confluent_kafka import Message

REQUEST_SECONDS = 30.0
METADATA_SECONDS = 5.0
POLL_SECONDS = 0.05
FOLLOW_SECONDS = 2.0
BATCH_RECORDS = 2000
CLIENT_SETTINGS: dict[str, Any] = {
    "broker.address.family": "v4",
    "log_level": 2,  # tests kill brokers: each would fill the output with refused connections
    "topic.metadata.refresh.interval.ms": 1000,
    "reconnect.backoff.max.ms": 500,
    "socket.timeout.ms": 10_000,
}
# The log was truncated or deleted. All other errors are temporary: they end when brokers recover.
LOST_POSITION = {
    KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 - its public name
    KafkaError._LOG_TRUNCATION,  # noqa: SLF001
    KafkaError.OFFSET_OUT_OF_RANGE,
}
BROKER_DOWN = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}  # noqa: SLF001

Header = tuple[str, bytes | None]
Place = tuple[str, int]


class Record(NamedTuple):
    """A record as it was read."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[Header]

    def header(self, name: str) -> bytes | None:
        """Return the last header of this name."""
        return dict(self.headers).get(name)

    @property
    def place(self) -> str:
        """Topic, partition and offset, for a message."""
        return f"{self.topic}/{self.partition} at offset {self.offset}"


class Reader:
    """Reads every partition of some topics."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        *topics: str,
        committed_only: bool = True,
        starts: Mapping[Place, int] | None = None,
        at_end: bool = False,
        tolerant: bool = False,
    ) -> None:
        """Assign all partitions.

        Args:
            settings: librdkafka's settings for every client.
            topics: the topics to read.
            committed_only: whether to skip records of open and aborted transactions.
            starts: the first offset of a partition (default: its beginning).
            at_end: whether to begin at the end of each partition instead.
            tolerant: whether brokers may fail meanwhile. Then partitions that are added are
                followed, and lost positions are kept in `problems` instead of raised.

        Raises:
            KafkaException: there is no such topic (unless `tolerant`).
        """
        self.records: list[Record] = []  # of all calls but `poll`
        self.problems: list[str] = []
        self._topics = topics
        self._starts = starts or {}
        self._default_start = OFFSET_END if at_end else OFFSET_BEGINNING
        self._is_tolerant = tolerant
        self._positions: dict[Place, int] = {}
        self._unconfirmed: set[Place] = set()
        self._followed_at = float("-inf")
        self._settings = dict(settings)
        self._admin: AdminClient | None = None
        self._consumer = Consumer(
            {
                "fetch.wait.max.ms": 10,
                "fetch.message.max.bytes": 50_000_000,
                **settings,
                "group.id": "unused",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "isolation.level": "read_committed" if committed_only else "read_uncommitted",
            }
        )
        if not tolerant:
            self._follow_partitions()
        if at_end:
            self._wait_for_ends()

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()

    def position(self, topic: str, partition: int) -> int:
        """Return the offset after everything that was read or skipped."""
        return self._positions.get((topic, partition), 0)

    def poll(
        self, wait_seconds: float = POLL_SECONDS, *, most: int = BATCH_RECORDS
    ) -> list[Record]:
        """Return new records; waits for this time, or until there are `most`."""
        if self._is_tolerant and time.monotonic() - self._followed_at >= FOLLOW_SECONDS:
            self._follow_partitions()
        found = map(self._take, self._consumer.consume(most, wait_seconds))
        return [record for record in found if record is not None]

    def next(self, deadline_seconds: float) -> Record:
        """Return the next record as soon as it is there.

        Raises:
            DeadlineExceeded: no record in time.
        """
        deadline = time.monotonic() + deadline_seconds
        while (left := deadline - time.monotonic()) > 0:
            for record in self.poll(left, most=1):
                return record
        message = f"{', '.join(self._topics)}: no record within {deadline_seconds} s"
        raise DeadlineExceeded(message)

    def read_available(self, wait_seconds: float = POLL_SECONDS) -> list[Record]:
        """Return all available records. Wait up to `wait_seconds` for the first one."""
        new: list[Record] = []
        while messages := self._consumer.consume(BATCH_RECORDS, 0 if new else wait_seconds):
            new += [record for record in map(self._take, messages) if record is not None]
        self.records += new
        return new

    def wait_for(self, count: int, deadline_seconds: float = 30.0) -> list[Record]:
        """Read until there are `count` records in all, and return all.

        Raises:
            DeadlineExceeded: there are fewer.
        """
        deadline = time.monotonic() + deadline_seconds
        while len(self.records) < count:
            if time.monotonic() > deadline:
                topics = ", ".join(self._topics)
                message = f"{topics}: {len(self.records)} records of {count} in time"
                raise DeadlineExceeded(message)
            self.read_available()
        return self.records

    def read_to_end(self, deadline_seconds: float = 30.0) -> list[Record]:
        """Read to the current end, uncommitted records included, and return all records.

        While a transaction is open this waits: the markers of a commit that was already
        acknowledged may still be on their way.

        Raises:
            DeadlineExceeded: the end was not reached.
        """
        self._follow_partitions()
        deadline = time.monotonic() + deadline_seconds
        if self._admin is None:
            self._admin = AdminClient(self._settings)
        ends = {
            (topic, partition): end
            for topic in self._topics
            for partition, end in end_offsets(self._admin, topic).items()
        }
        while missing := self.missing(ends):
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"not at the end in time: {missing}")
            self.read_available()
        return self.records

    def missing(self, ends: Mapping[Place, int]) -> str:
        """Return which partitions were not read up to these ends; empty: none."""
        return ", ".join(
            f"{topic}/{partition} is at {self.position(topic, partition)} of {end}"
            for (topic, partition), end in ends.items()
            if self.position(topic, partition) < end
        )

    def _follow_partitions(self) -> None:
        new: list[Place] = []
        for topic in self._topics:
            try:
                partitions = _partitions(self._consumer, topic, self._timeout)
            except KafkaException:
                if self._is_tolerant:  # brokers are down: the next call tries again
                    continue
                raise
            new += [(topic, p) for p in partitions if (topic, p) not in self._positions]
        if new:
            self._consumer.incremental_assign(
                [
                    TopicPartition(*place, self._starts.get(place, self._default_start))
                    for place in new
                ]
            )
            self._positions.update({place: self._starts.get(place, 0) for place in new})
            self._unconfirmed.update(new)
        self._followed_at = time.monotonic()

    @property
    def _timeout(self) -> float:
        return METADATA_SECONDS if self._is_tolerant else REQUEST_SECONDS

    def _wait_for_ends(self) -> None:
        """Wait until librdkafka has found the end of each partition."""
        deadline = time.monotonic() + REQUEST_SECONDS
        while self._unconfirmed:
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"the ends of {sorted(self._unconfirmed)} were not found")
            self.poll(POLL_SECONDS, most=len(self._unconfirmed))

    def _take(self, message: Message) -> Record | None:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
            self._take_error(error, f"{topic}/{partition}")
            return None
        assert topic is not None
        assert partition is not None
        assert offset is not None
        place = (topic, partition)
        self._unconfirmed.discard(place)
        if error is not None:
            # The end. It may be after aborted records and markers, which are never delivered.
            self._positions[place] = max(self._positions[place], offset)
            return None
        self._positions[place] = offset + 1
        return Record(
            topic,
            partition,
            offset,
            message.timestamp()[1],
            message.key(),
            message.value(),
            cast("list[Header]", message.headers() or []),
        )

    def _take_error(self, error: KafkaError, where: str) -> None:
        if self._is_tolerant and not error.fatal():
            if error.code() in LOST_POSITION:
                self.problems.append(f"{where}: {error}")
        elif not (error.retriable() or error.code() in BROKER_DOWN):
            raise KafkaException(error)


def end_offsets(admin: AdminClient, topic: str) -> dict[int, int]:
    """Return the end offset of every partition, records of open transactions included.

    The result is empty if there is no such topic.

    A read_committed consumer cannot return it. Its `get_watermark_offsets` returns the last stable
    offset. While a transaction is open, committed records may be after that offset.
    """
    found = admin.list_topics(topic, timeout=REQUEST_SECONDS).topics[topic]
    asked = {
        TopicPartition(topic, partition): OffsetSpec.latest() for partition in found.partitions
    }
    answers = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_UNCOMMITTED)
    return {at.partition: future.result(REQUEST_SECONDS).offset for at, future in answers.items()}


def _partitions(consumer: Consumer, topic: str, timeout: float) -> list[int]:
    found = consumer.list_topics(topic, timeout=timeout).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return sorted(found.partitions)
