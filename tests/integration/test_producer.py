"""The idempotent producer on a real broker: sends share batches, and each has its own outcome."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from consumer.errors import CheckpointReadyError
from consumer.kafka.client import Connection
from consumer.kafka.client.private_client import BootstrapServers
from consumer.kafka.client.producer import KafkaProducer
from consumer.kafka.types import NewRecord
from tests.support.records import home_shard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.cluster import Cluster
    from tests.support.topics import Names

PARTITIONS = 3
SENDS = 600
LIMIT_BYTES = 40_000
SECONDS = 30.0


@contextlib.asynccontextmanager
async def started(cluster: Cluster, topic: str) -> AsyncIterator[KafkaProducer]:
    """Start a producer while the context lasts."""
    connection = Connection(
        BootstrapServers(cluster.bootstrap_servers.split(",")), {"security_protocol": "PLAINTEXT"}
    )
    producer = KafkaProducer(connection, "test", topic, LIMIT_BYTES)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.close(0)


def records(number: int) -> list[NewRecord]:
    """Return the records of one send: none, some, or more than a batch holds."""
    count = 300 if number % 100 == 0 else number % 4
    return [
        NewRecord(b"%d-%d" % (number, one), b"v" * 400, (("h", b"%d" % number),))
        for one in range(count)
    ]


def test_every_record_of_concurrent_sends_is_written_once(cluster: Cluster, names: Names) -> None:
    """Also if a result is cancelled. Each record is on the partition of its key."""
    topic = names.topic()
    cluster.create_topics({topic: PARTITIONS})

    async def send_all() -> None:
        async with started(cluster, topic) as producer:
            results = []
            for number in range(SENDS):
                results.append(producer.send(records(number)))
                if number % 7 == 0:
                    results.pop().cancel()
                if number % 10 == 0:
                    await asyncio.sleep(0)  # batches are sent meanwhile
            await asyncio.wait_for(asyncio.gather(*results), SECONDS)
            await producer.close(SECONDS)
            assert not producer.is_broken

    asyncio.run(send_all())
    found = cluster.read(topic)
    wanted = {record.key: record for number in range(SENDS) for record in records(number)}
    assert Counter(record.key for record in found) == Counter(wanted.keys())
    for record in found:
        key = record.key or b""
        assert (record.value, record.header("h")) == (b"v" * 400, key.split(b"-")[0])
        assert record.partition == home_shard(key.decode(), PARTITIONS)


def test_a_refused_batch_fails_its_sends_and_breaks_the_producer(
    cluster: Cluster, names: Names
) -> None:
    """A send of another partition succeeds."""
    topic = names.topic()
    cluster.create_topics({topic: PARTITIONS}, {"max.message.bytes": "2000"})
    first, second = (
        next(key for key in map(str, range(100)) if home_shard(key, PARTITIONS) == partition)
        for partition in (0, 1)
    )
    large, small = (
        NewRecord(first.encode(), b"v" * 5000),
        NewRecord(second.encode(), b"v"),
    )

    async def send_all() -> None:
        async with started(cluster, topic) as producer:
            refused, accepted = producer.send([large]), producer.send([small])
            mixed = producer.send([large, small])
            await asyncio.wait_for(accepted, SECONDS)
            for result in (refused, mixed):
                with pytest.raises(CheckpointReadyError, match="TooLarge"):
                    await asyncio.wait_for(result, SECONDS)
            assert producer.is_broken

    asyncio.run(send_all())
    assert {record.value for record in cluster.read(topic)} == {b"v"}
