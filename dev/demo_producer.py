"""Produces the records of the demo with librdkafka, which shares no code with the service."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from confluent_kafka import Producer

from tests.support.reader import CLIENT_SETTINGS

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

    from dev.demo_plan import PlannedRecord

MAX_RECORD_BYTES = 64 * 1024 * 1024


class DemoError(Exception):
    """The demo cannot continue. The message says why."""


class PacedProducer:
    """Produces the planned records at an even rate, and records the offset of each."""

    def __init__(self, servers: str, topic: str, records: list[PlannedRecord]) -> None:
        self.placed: dict[tuple[int, int], PlannedRecord] = {}
        self.sent = 0
        self._topic = topic
        self._records = records
        self._failure: str | None = None
        self._producer = Producer(
            {
                **CLIENT_SETTINGS,
                "bootstrap.servers": servers,
                "enable.idempotence": True,
                "linger.ms": 5,
                # Compressed, because one record is larger than the limit of the topic.
                "compression.type": "zstd",
                "message.max.bytes": MAX_RECORD_BYTES,
            }
        )

    @property
    def is_done(self) -> bool:
        """Whether the broker has acknowledged every record."""
        return len(self.placed) == len(self._records)

    def produce_up_to(self, share: float) -> None:
        """Send the records that are due after this share of the time. Handle delivery reports."""
        due = min(len(self._records), int(share * len(self._records)))
        for record in self._records[self.sent : due]:
            self._producer.produce(
                self._topic,
                key=record.key,
                value=record.value,
                headers=list(record.headers),
                partition=record.partition,
                on_delivery=partial(self._take_report, record),
            )
        self.sent = max(self.sent, due)
        self._producer.poll(0)
        if self._failure is not None:
            raise DemoError(self._failure)

    def _take_report(
        self, record: PlannedRecord, error: KafkaError | None, message: Message
    ) -> None:
        if error is not None:
            self._failure = f"a record could not be produced: {error}"
            return
        self.placed[cast("int", message.partition()), cast("int", message.offset())] = record
