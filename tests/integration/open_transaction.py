"""A transaction of another producer that a test keeps open."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from confluent_kafka import Producer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.support.cluster import Cluster

SECONDS = 30.0
# A single broker that has just started acts as coordinator at once. If it then aborts a timed-out
# transaction, the transaction hangs in partitions that have no leader yet.
NO_TIMED_OUT_TRANSACTIONS = {
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "3600000"
}


@contextmanager
def open_transaction(
    cluster: Cluster, transactional_id: str, topic: str, values: Iterable[bytes], partition: int = 0
) -> Iterator[None]:
    """Write these values in a transaction, which is open in the context and aborted at its end."""
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
