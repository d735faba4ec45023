"""A reader of one topic by an independent client: what a read_committed subscriber would see."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confluent_kafka import Message

REQUEST_SECONDS = 30.0
POLL_SECONDS = 0.05
CLIENT_SETTINGS: dict[str, Any] = {
    "broker.address.family": "v4",
    "log_level": 2,  # tests kill brokers: each would fill the output with refused connections
    "topic.metadata.refresh.interval.ms": 1000,
    "reconnect.backoff.max.ms": 500,
    "socket.timeout.ms": 10_000,
}


class Record(NamedTuple):
    """A record as it was read."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]

    def header(self, name: str) -> bytes | None:
        """Return the last header of this name."""
        return dict(self.headers).get(name)


class Subscriber:
    """Reads every partition of a topic from the start, and keeps what it has read in `records`."""

    def __init__(
        self, settings: Mapping[str, Any], topic: str, *, committed_only: bool = True
    ) -> None:
        """Assign all partitions; no group takes part, nothing is committed."""
        self.topic = topic
        self.records: list[Record] = []
        self._handled: dict[int, int] = {}  # partition: the first offset not yet passed
        self._admin = AdminClient(dict(settings))
        self._consumer = Consumer(
            {
                **settings,
                "group.id": "unused",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "isolation.level": "read_committed" if committed_only else "read_uncommitted",
                "fetch.wait.max.ms": 10,
                "fetch.message.max.bytes": 50_000_000,
            }
        )
        found = self._consumer.list_topics(topic, timeout=REQUEST_SECONDS).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        self._assign(sorted(found.partitions))

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()

    def read_available(self, wait_seconds: float = POLL_SECONDS) -> list[Record]:
        """Read what is there now (wait a moment for the first) and return only what is new."""
        new: list[Record] = []
        while messages := self._consumer.consume(2000, wait_seconds if not new else 0):
            for message in messages:
                self._handle(message, new)
        self.records += new
        return new

    def wait_for(self, count: int, deadline_seconds: float = 30.0) -> list[Record]:
        """Read until there are `count` records in all, and return all."""
        deadline = time.monotonic() + deadline_seconds
        while len(self.records) < count:
            if time.monotonic() > deadline:
                message = f"{self.topic}: {len(self.records)} records of {count} in time"
                raise AssertionError(message)
            self.read_available()
        return self.records

    def read_to_end(self, deadline_seconds: float = 30.0) -> list[Record]:
        """Read to what is the end now, uncommitted records included, and return all.

        Behind an open transaction this waits until that has ended: the markers of a commit that has
        already answered may still be on their way. The ends come from an admin client, because
        ``Consumer.get_watermark_offsets`` of a read_committed consumer returns the last stable
        offset, which is before them.
        """
        self._follow_new_partitions()
        deadline = time.monotonic() + deadline_seconds
        ends = end_offsets(self._admin, self.topic)
        while behind := {p: end for p, end in ends.items() if self._handled[p] < end}:
            if time.monotonic() > deadline:
                message = f"{self.topic}: at {self._handled}, not at the end of {behind} in time"
                raise AssertionError(message)
            self.read_available()
        return self.records

    def _assign(self, partitions: list[int]) -> None:
        self._handled |= dict.fromkeys(partitions, 0)
        self._consumer.incremental_assign(
            [TopicPartition(self.topic, partition, OFFSET_BEGINNING) for partition in partitions]
        )

    def _follow_new_partitions(self) -> None:
        found = self._consumer.list_topics(self.topic, timeout=REQUEST_SECONDS).topics[self.topic]
        if new := sorted(set(found.partitions) - set(self._handled)):
            self._assign(new)

    def _handle(self, message: Message, new: list[Record]) -> None:
        error = message.error()
        partition, offset = message.partition(), message.offset()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
            if error.retriable() or error.code() in {
                KafkaError._TRANSPORT,  # noqa: SLF001
                KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
            }:
                return
            raise KafkaException(error)
        assert partition is not None
        assert offset is not None
        if error is not None:
            # The end, which lies behind aborted records and markers that are never delivered.
            self._handled[partition] = max(self._handled[partition], offset)
            return
        self._handled[partition] = offset + 1
        new.append(
            Record(
                self.topic,
                partition,
                offset,
                message.timestamp()[1],
                message.key(),
                message.value(),
                cast("list[tuple[str, bytes | None]]", message.headers() or []),
            )
        )


def end_offsets(admin: AdminClient, topic: str) -> dict[int, int]:
    """Return the end offset of every partition, records of open transactions included."""
    found = admin.list_topics(topic, timeout=REQUEST_SECONDS).topics[topic]
    asked = {
        TopicPartition(topic, partition): OffsetSpec.latest() for partition in found.partitions
    }
    answers = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_UNCOMMITTED)
    return {at.partition: future.result(REQUEST_SECONDS).offset for at, future in answers.items()}
