"""A topic of a real broker with ready events, written in transactions as the service writes them.

It needs the extra ``kafka``. The topic has the settings that the service gives to its ready topic.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from checkpoint_ready_testkit.kafka_records import KafkaRecord, Mode, ready_record
from checkpoint_ready_testkit.partitions import default_partition

REQUEST_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.02
TOPIC_CONFIG: Final = {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"}

Publishable = Mapping[str, Any] | KafkaRecord


class ReadyTopic:
    """A new topic, which is deleted at the end of the ``with`` statement."""

    def __init__(
        self,
        client_settings: Mapping[str, Any],
        *,
        name: str = "",
        partitions: int = 1,
        mode: Mode = "structured",
    ) -> None:
        """Connect to the broker.

        Args:
            client_settings: librdkafka's settings: ``bootstrap.servers``, and a login if needed.
            name: the name of the topic, by default a unique one.
            partitions: the number of partitions. The key of a record selects its partition.
            mode: the mode of the records of events.
        """
        self.client_settings: dict[str, Any] = dict(client_settings)
        self.name = name or f"ready-topic-{uuid.uuid4().hex[:12]}"
        self.partitions = partitions
        self.mode: Mode = mode
        self._admin = AdminClient(self.client_settings)
        self._producer: Producer | None = None

    def __enter__(self) -> Self:
        """Create the topic, and return when every partition has a leader.

        Raises:
            KafkaException: the broker did not create it.
            TimeoutError: a partition has no leader in time.
        """
        topic = NewTopic(self.name, self.partitions, -1, config=TOPIC_CONFIG)
        created = self._admin.create_topics([topic], request_timeout=REQUEST_SECONDS)
        created[self.name].result(REQUEST_SECONDS)
        deadline = time.monotonic() + REQUEST_SECONDS
        while not self._has_leaders():
            if time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise TimeoutError(f"{self.name} has no leader after {REQUEST_SECONDS:g} s")
            time.sleep(POLL_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Delete the topic."""
        self._producer = None
        deleted = self._admin.delete_topics([self.name], request_timeout=REQUEST_SECONDS)
        deleted[self.name].result(REQUEST_SECONDS)

    @property
    def bootstrap_servers(self) -> str:
        """The addresses of the brokers, for the consumer under test."""
        return str(self.client_settings["bootstrap.servers"])

    def publish(self, *events: Publishable) -> list[KafkaRecord]:
        """Publish events in one committed transaction, and return their records.

        An event is a dict or a `KafkaRecord`, for example a damaged one.
        """
        producer, records = self._begin(), self._records(events)
        self._send(producer, records)
        producer.commit_transaction(REQUEST_SECONDS)
        return records

    def publish_aborted(self, *events: Publishable) -> list[KafkaRecord]:
        """Write events in a transaction that is aborted, and return their records.

        A consumer with ``isolation.level=read_committed`` never sees them. Any other consumer does.
        """
        producer, records = self._begin(), self._records(events)
        self._send(producer, records)
        producer.abort_transaction(REQUEST_SECONDS)
        return records

    def publish_twice(self, *events: Publishable) -> list[KafkaRecord]:
        """Publish all events, and then all of them again, as records with other offsets.

        The service does not do this. But a consumer gets the events in this order if it crashes
        before it commits its offset. So it must handle each event once.
        """
        return self.publish(*events) + self.publish(*events)

    def _has_leaders(self) -> bool:
        found = self._admin.list_topics(self.name, REQUEST_SECONDS).topics[self.name].partitions
        return len(found) == self.partitions and all(one.leader >= 0 for one in found.values())

    def _records(self, events: Sequence[Publishable]) -> list[KafkaRecord]:
        return [
            event if isinstance(event, KafkaRecord) else ready_record(event, mode=self.mode)
            for event in events
        ]

    def _begin(self) -> Producer:
        if self._producer is None:
            settings = {"transactional.id": f"{self.name}-testkit", **self.client_settings}
            self._producer = Producer(settings)
            self._producer.init_transactions(REQUEST_SECONDS)
        self._producer.begin_transaction()
        return self._producer

    def _send(self, producer: Producer, records: Sequence[KafkaRecord]) -> None:
        """Write the records to the log. An aborted transaction must not lose any on the way.

        Raises:
            KafkaException: the broker refused a record. The transaction is not committed.
            TimeoutError: the broker did not confirm all records in time.
        """
        failures: list[KafkaException] = []

        def delivered(error: Any, _: object) -> None:  # noqa: ANN401 - its type has no stub
            if error is not None:
                failures.append(KafkaException(error))

        for record in records:
            partition = 0 if record.key is None else default_partition(record.key, self.partitions)
            producer.produce(
                self.name,
                record.value,
                record.key,
                partition,
                headers=list(record.headers),
                on_delivery=delivered,
            )
        remaining = producer.flush(REQUEST_SECONDS)
        if not failures and not remaining:
            return
        # The next transaction needs a new producer, which also aborts the one that is still open.
        self._producer = None
        if failures:
            raise failures[0]
        raise TimeoutError(f"{remaining} records were not written in {REQUEST_SECONDS:g} s")
