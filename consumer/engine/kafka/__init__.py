"""The only package that knows aiokafka, and the only one that may touch its private parts.

Everything private that is used here is listed in ``internals`` with its reason and held by
``tests/unit/engine/test_aiokafka_internals.py``, so a new release cannot change it unseen.
The reasons for most of what looks odd are in docs/design.md, "Non-obvious".
"""

from consumer.engine.kafka.admin import ClusterAdmin, OpenTransaction, TopicDescription
from consumer.engine.kafka.connection import Connection
from consumer.engine.kafka.member import GroupMember
from consumer.engine.kafka.outbox import Outbox
from consumer.engine.kafka.partition import TopicPartition
from consumer.engine.kafka.reader import ShardReader
from consumer.engine.kafka.writer import ShardWriter

__all__ = [
    "ClusterAdmin",
    "Connection",
    "GroupMember",
    "OpenTransaction",
    "Outbox",
    "ShardReader",
    "ShardWriter",
    "TopicDescription",
    "TopicPartition",
]
