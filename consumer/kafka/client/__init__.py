"""The only package that knows aiokafka, and the only one that may touch its private parts.

Everything private that is used here is listed in ``internals`` with its reason and held by
``tests/unit/engine/test_aiokafka_internals.py``, so a new release cannot change it unseen.
The reasons for most of what looks odd are in docs/design.md, "Non-obvious".
"""

from consumer.kafka.client.admin import ClusterAdmin, OpenTransaction, TopicDescription
from consumer.kafka.client.connection import Connection
from consumer.kafka.client.group_member import GroupMember
from consumer.kafka.client.reader import ShardReader
from consumer.kafka.client.transaction_batches import TransactionBatches
from consumer.kafka.client.writer import ShardWriter
from consumer.kafka.types import TopicPartition

__all__ = [
    "ClusterAdmin",
    "Connection",
    "GroupMember",
    "OpenTransaction",
    "ShardReader",
    "ShardWriter",
    "TopicDescription",
    "TopicPartition",
    "TransactionBatches",
]
