"""Aborted transactions in orders that some Kafka clients filter wrongly.

A broker lists the aborted transactions of a fetch in the order of their ends. A client must not
expect the order of their beginnings, nor one transaction of each producer. @platformatic/kafka
2.12.1 delivers aborted records of a producer that has aborted twice. KafkaJS 2.2.4 delivers the
aborted records before the first listed transaction. Both happen after crashes of this service: a
shard keeps its producer id, and several shards write to one partition.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from confluent_kafka import Producer

from tests.examples.scenarios import renamed
from tests.support.records import send

if TYPE_CHECKING:
    from tests.examples.harness import Example
    from tests.examples.history import History
    from tests.support.topics import Names

TRANSACTION_SECONDS = 30.0


def assert_filters_every_order(example: Example, history: History, names: Names) -> None:
    """Assert that the example prints committed events only, in whatever order others abort."""
    topic = names.topic("aborted-orders")
    history.cluster.create_topics({topic: 1})
    committed = _write(history, topic)
    group = names.group()
    with example.start(history.bootstrap_servers, topic, group=group) as running:
        running.wait_for_ids({committed[-1]})
        assert running.stop_by() == 0
        assert Counter(running.ids) == Counter(committed)


def _write(history: History, topic: str) -> list[str]:
    """Write the transactions of two producers to one partition; return the committed ids."""
    first, second = (_transactional(history, f"{topic}-{name}") for name in ("first", "second"))
    known = next(record for record in history.committed if record.header("ce_id") is None)

    def write(producer: Producer, one: str) -> None:
        send(producer, topic, [renamed(known, one)])

    # Two transactions at a time; the one that begins later aborts earlier.
    first.begin_transaction()
    write(first, "aborted_1")
    second.begin_transaction()
    write(second, "aborted_2")
    second.abort_transaction(TRANSACTION_SECONDS)
    write(first, "aborted_3")
    first.abort_transaction(TRANSACTION_SECONDS)
    # A producer that commits, aborts again, and commits again.
    for one, is_committed in (("committed_1", True), ("aborted_4", False), ("committed_2", True)):
        first.begin_transaction()
        write(first, one)
        end = first.commit_transaction if is_committed else first.abort_transaction
        end(TRANSACTION_SECONDS)
    return ["committed_1", "committed_2"]


def _transactional(history: History, transactional_id: str) -> Producer:
    producer = Producer(
        {**history.cluster.settings, "linger.ms": 0, "transactional.id": transactional_id}
    )
    producer.init_transactions(TRANSACTION_SECONDS)
    return producer
