"""Records to produce, and the one function that sends them by an independent client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import KafkaException

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from confluent_kafka import Producer

DELIVERY_SECONDS = 60.0


class NewRecord(NamedTuple):
    """A record to produce; without a partition librdkafka chooses one by the key."""

    value: bytes | None
    key: bytes | None = None
    partition: int = -1
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp_ms: int = 0  # 0: now


def send(producer: Producer, topic: str, records: Iterable[NewRecord]) -> list[tuple[int, int]]:
    """Send records in order by any producer and return (partition, offset) of each."""
    placed: list[tuple[int, int]] = []
    pending: dict[int, tuple[int, int] | Exception] = {}
    count = 0
    for index, record in enumerate(records):
        count += 1

        def delivered(error: Any, message: Any, index: int = index) -> None:  # noqa: ANN401 - librdkafka's own
            pending[index] = (
                KafkaException(error) if error else (message.partition(), message.offset())
            )

        while True:
            try:
                producer.produce(
                    topic,
                    value=record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=list(record.headers),
                    timestamp=record.timestamp_ms,
                    on_delivery=delivered,
                )
            except BufferError:
                producer.poll(0.1)
            else:
                break
    left = producer.flush(DELIVERY_SECONDS)
    if left or len(pending) != count:
        message = f"{left} of {count} records could not be delivered to {topic} in time"
        raise AssertionError(message)
    for index in range(count):
        outcome = pending[index]
        if isinstance(outcome, Exception):
            raise outcome
        placed.append(outcome)
    return placed
