"""A transaction of another producer that stays open for as long as a test wants."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from confluent_kafka import Producer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.integration.cluster import Cluster

SECONDS = 30.0
# A lone broker that has just started takes itself for the coordinator of old; where it then ends a
# timed-out transaction, that hangs in the leaderless partitions (docs/protocol.md).
NO_TIMED_OUT_TRANSACTIONS = {
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "3600000"
}


@contextmanager
def open_transaction(
    cluster: Cluster, transactional_id: str, topic: str, values: Iterable[bytes], partition: int = 0
) -> Iterator[None]:
    """Write these values in a transaction; it is open meanwhile, and aborted at the end."""
    producer = Producer({**cluster.settings, "transactional.id": transactional_id})
    producer.init_transactions(SECONDS)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, partition=partition)
    producer.flush(SECONDS)
    try:
        yield
    finally:
        producer.abort_transaction(SECONDS)
