"""The raw requests for topic ids and leader epochs, and the doubt that a silent broker raises."""

from __future__ import annotations

from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest_v4, MetadataResponse_v4

from consumer.kafka.client.metadata import (
    EpochEndsRequest,
    MetadataRequest_v10,
    MetadataResponse_v10,
    PartitionMetadata,
    TopicMetadata,
    TopicsRequest,
    topics_of,
)
from consumer.kafka.client.private_api import watch_fetches
from consumer.kafka.types import TopicPartition

OLD_BROKER = {3: (0, 9)}
NEW_BROKER = {3: (0, 13), 23: (2, 4)}
TOPIC_ID = bytes(range(16))


def test_the_version_with_ids_is_taken_where_there_is_one() -> None:
    """Brokers before Kafka 2.8 are asked in the version that forbids creation, and no older."""
    new, old = (TopicsRequest(["one"]).prepare(versions) for versions in (NEW_BROKER, OLD_BROKER))
    assert isinstance(new, MetadataRequest_v10)
    assert isinstance(old, MetadataRequest_v4)
    # One topic: no id, its name, no tags; and four times: no.
    assert new.encode() == b"\x02" + bytes(16) + b"\x04one" + b"\x00" * 5
    assert old.encode().endswith(b"one\x00")
    assert EpochEndsRequest({"one": {0: 3}}).prepare(NEW_BROKER).API_VERSION == 3


@pytest.mark.parametrize(("topic_id", "known"), [(TOPIC_ID, TOPIC_ID.hex()), (bytes(16), None)])
def test_ids_and_epochs_are_read(topic_id: bytes, known: str | None) -> None:
    """An id of zeros is none."""
    partition: tuple[Any, ...] = (0, 0, 1, 7, [1, 2], [1], [], {})
    topic: tuple[Any, ...] = (0, "one", topic_id, False, [partition], 0, {})
    response = MetadataResponse_v10(0, [(1, "host", 9092, None, {})], "c", 1, [topic], 0, {})
    read = MetadataResponse_v10.decode(BytesIO(response.encode()))
    assert list(topics_of(read)) == [
        TopicMetadata(0, "one", known, [PartitionMetadata(0, 1, 7, [1, 2])])
    ]


def test_an_old_answer_has_neither() -> None:
    """What is not known is None."""
    topic = (0, "one", False, [(0, 0, 1, [1], [1])])
    response = MetadataResponse_v4(0, [(1, "host", 9092, None)], "c", 1, [topic])
    assert list(topics_of(response)) == [
        TopicMetadata(0, "one", None, [PartitionMetadata(0, 1, None, [1])])
    ]


async def test_the_answer_behind_a_silence_is_in_doubt() -> None:
    """The broker may have come back without its last records; once it is said, it is said."""
    source = TopicPartition("one", 0)
    answer = SimpleNamespace(topics=[("one", [(0, 0)])])
    outcomes: list[Any] = [answer, KafkaConnectionError(), answer, answer]

    async def send(*_: object) -> Any:  # noqa: ANN401 - a response
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    consumer: Any = SimpleNamespace(_client=SimpleNamespace(send=send))
    noted: list[tuple[TopicPartition, bool]] = []
    watch_fetches(consumer, lambda at, _, is_refused: noted.append((at, is_refused)))
    request = FetchRequest(0, 0, 0, 1, [("one", [(0, 5, 100)])])
    await consumer._client.send(1, request)  # noqa: SLF001
    with pytest.raises(KafkaConnectionError):
        await consumer._client.send(1, request)  # noqa: SLF001
    for _ in range(2):
        await consumer._client.send(1, request)  # noqa: SLF001
    assert noted == [(source, False), (source, True), (source, False)]
