"""The broker in the hands of the demo: librdkafka, which shares no code with the service."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from dev.demo_services import DemoError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from confluent_kafka import Message

    from dev.demo_plan import PlannedRecord

REQUEST_SECONDS = 20.0
READ_SECONDS = 30.0
MAX_RECORD_BYTES = 64 * 1024 * 1024
CLIENT: dict[str, Any] = {"broker.address.family": "v4", "log_level": 2}


class Topics(NamedTuple):
    """The names of one run of the demo."""

    group: str
    input: str
    ready: str
    dead_letters: str

    @property
    def internal(self) -> tuple[str, str]:
        """The changelog and the repartition topic."""
        return (f"{self.group}.changelog", f"{self.group}.repartition")


class ReadRecord(NamedTuple):
    """A record as a read_committed subscriber sees it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class PacedProducer:
    """Produces planned records at an even pace, and notes where each one came to stand."""

    def __init__(self, servers: str, topic: str, records: list[PlannedRecord]) -> None:
        self.placed: dict[tuple[int, int], PlannedRecord] = {}
        self.sent = 0
        self._topic = topic
        self._records = records
        self._failure: str | None = None
        self._producer = Producer(
            {
                **CLIENT,
                "bootstrap.servers": servers,
                "enable.idempotence": True,
                "linger.ms": 5,
                # A record that is too large for the ready topic only gets in compressed.
                "compression.type": "zstd",
                "message.max.bytes": MAX_RECORD_BYTES,
            }
        )

    @property
    def is_done(self) -> bool:
        """Whether every record is on the broker."""
        return len(self.placed) == len(self._records)

    def produce_up_to(self, share: float) -> None:
        """Send what is due when this share of the time has passed, and take in the answers."""
        due = min(len(self._records), int(share * len(self._records)))
        for record in self._records[self.sent : due]:
            self._producer.produce(
                self._topic,
                key=record.key,
                value=record.value,
                headers=list(record.headers),
                partition=record.partition,
                on_delivery=partial(self._note, record),
            )
        self.sent = max(self.sent, due)
        self._producer.poll(0)
        if self._failure is not None:
            raise DemoError(self._failure)

    def _note(self, record: PlannedRecord, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = f"a record could not be produced: {error}"
            return
        self.placed[cast("int", message.partition()), cast("int", message.offset())] = record


class CommittedReader:
    """Reads every partition of some topics from their start, read_committed."""

    def __init__(self, servers: str, topics: Iterable[str]) -> None:
        self._admin = AdminClient({**CLIENT, "bootstrap.servers": servers})
        self._consumer = Consumer(
            {
                **CLIENT,
                "bootstrap.servers": servers,
                "group.id": "unused",  # librdkafka asks for one; nothing is committed
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 20,
                "fetch.message.max.bytes": MAX_RECORD_BYTES // 4,
            }
        )
        self._positions: dict[tuple[str, int], int] = {}
        for topic in topics:
            for partition in _partitions(self._consumer, topic):
                self._positions[topic, partition] = 0
        self._consumer.assign(
            [
                TopicPartition(topic, partition, OFFSET_BEGINNING)
                for topic, partition in self._positions
            ]
        )

    def read(self, wait_seconds: float) -> list[ReadRecord]:
        """Return what has become visible since the last call."""
        records = []
        for message in self._consumer.consume(1000, wait_seconds):
            error = message.error()
            place = (cast("str", message.topic()), cast("int", message.partition()))
            if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                raise KafkaException(error)
            if error is not None:
                self._positions[place] = max(self._positions[place], cast("int", message.offset()))
                continue
            self._positions[place] = cast("int", message.offset()) + 1
            headers = cast("list[tuple[str, bytes | None]]", message.headers() or [])
            records.append(ReadRecord(place[0], message.key(), message.value(), headers))
        return records

    def read_to_end(self) -> list[ReadRecord]:
        """Read up to what is the end now, also behind transactions that are still open."""
        ends = _ends(self._admin, {topic for topic, _ in self._positions})
        deadline = time.monotonic() + READ_SECONDS
        records = []
        while any(self._positions[place] < end for place, end in ends.items()):
            if time.monotonic() > deadline:
                message = "the output topics could not be read to their end: a transaction is open"
                raise DemoError(message)
            records += self.read(0.05)
        return records

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()


class Broker:
    """What the demo asks of the cluster itself."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self._admin = AdminClient({**CLIENT, "bootstrap.servers": servers})

    def max_message_bytes(self, topic: str) -> int:
        """Return the largest batch that a topic takes."""
        asked = [ConfigResource(ResourceType.TOPIC, topic)]
        entries = _only(self._admin.describe_configs(asked)).items()
        return int(next(entry.value for name, entry in entries if name == "max.message.bytes"))

    def is_all_handled(self, topics: Topics) -> bool:
        """Tell whether the group has handled all there is, forwards on their way included.

        Its offsets are asked for before the ends: the other way round, the last input could be
        handled in between and its forwards be overlooked.
        """
        group = [ConsumerGroupTopicPartitions(topics.group)]
        found = _only(self._admin.list_consumer_group_offsets(group)).topic_partitions
        committed = {(at.topic, at.partition): at.offset for at in found}
        ends = _ends(self._admin, (topics.input, topics.internal[1]))
        return all(committed.get(place, 0) >= end for place, end in ends.items())

    def delete(self, topics: Topics) -> None:
        """Delete what one run has left behind."""
        names = [topics.input, topics.ready, topics.dead_letters, *topics.internal]
        for future in self._admin.delete_topics(names).values():
            future.result(REQUEST_SECONDS)
        _only(self._admin.delete_consumer_groups([topics.group]))


def _partitions(client: Consumer | AdminClient, topic: str) -> list[int]:
    found = client.list_topics(topic, timeout=REQUEST_SECONDS).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return sorted(found.partitions)


def _ends(admin: AdminClient, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """Return the end offset of every partition, records of open transactions included.

    A read_committed consumer cannot be asked: it returns the last stable offset.
    """
    asked = {
        TopicPartition(topic, partition): OffsetSpec.latest()
        for topic in topics
        for partition in _partitions(admin, topic)
    }
    answers = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_UNCOMMITTED)
    return {
        (place.topic, place.partition): answer.result(REQUEST_SECONDS).offset
        for place, answer in answers.items()
    }


def _only(futures: Mapping[Any, Any]) -> Any:  # noqa: ANN401 - whatever was asked for
    """Return the answer to the one thing that was asked."""
    (future,) = futures.values()
    return future.result(REQUEST_SECONDS)
