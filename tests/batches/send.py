"""Sends record batches to a broker byte by byte, as any client can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import errors
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.structs import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_MS = 30_000


async def send_batches(
    bootstrap_servers: str, topic: str, batches: Sequence[bytes], partition: int = 0
) -> list[int | str]:
    """Send each batch by a request of its own; return its first offset, or the broker's error."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers)
    await client.bootstrap()
    try:
        await client.add_topic(topic)
        leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        outcomes: list[int | str] = []
        for batch in batches:
            request = ProduceRequest(None, -1, TIMEOUT_MS, [(topic, [(partition, batch)])])
            response = await client.send(leader, request)
            ((_, ((_, error_code, offset, *_),)),) = response.topics
            error = errors.for_code(error_code)
            outcomes.append(offset if error is errors.NoError else error.__name__)
        return outcomes
    finally:
        await client.close()
