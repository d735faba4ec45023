"""The port implemented with aiokafka: no other package imports it.

Every use of a private part of aiokafka is in ``private_api`` with its reason.
``tests/unit/kafka/test_private_api.py`` fails if a release changes such a part, or if another
module uses one.
"""

from consumer.kafka.client.connection import Connection
from consumer.kafka.client.kafka import AioKafka

__all__ = ["AioKafka", "Connection"]
