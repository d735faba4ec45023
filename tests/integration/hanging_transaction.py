"""A transaction that the brokers never end by themselves, and the command that ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.transaction_manager import PidAndEpoch

from tests.support.kafka_tools import KafkaTools

if TYPE_CHECKING:
    from aiokafka import TopicPartition

    from tests.support.cluster import Cluster

FORGED = b"never to be seen"


async def leave_open(
    cluster: Cluster,
    transactional_id: str,
    place: TopicPartition,
    writing_as: tuple[int, int] | None = None,
) -> None:
    """Write a record of a transaction that the coordinator does not know, so it never ends it.

    `writing_as`: producer id and epoch of another transactional id, which is not fenced by this.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=cluster.bootstrap_servers, transactional_id=transactional_id
    )
    await producer.start()
    try:
        manager = producer._txn_manager  # noqa: SLF001 - the library offers no forgery
        if writing_as is not None:
            manager._pid_and_epoch = PidAndEpoch(*writing_as)  # noqa: SLF001 - the same
        await producer.begin_transaction()
        manager._txn_partitions.add(place)  # noqa: SLF001 - so that it does not ask the coordinator
        await producer.send_and_wait(place.topic, FORGED, FORGED, place.partition)
        with pytest.raises(KafkaError):  # as it should: the coordinator knows nothing of it
            await producer.commit_transaction()
    finally:
        await producer.stop()


def abort_as_logged(bootstrap_servers: str, version: str, message: str) -> None:
    """Run the command that a message gives, with Kafka's own tool of this version."""
    command = message.partition("This aborts it there: ")[2]
    KafkaTools(bootstrap_servers, version).run_transactions_command(command)
