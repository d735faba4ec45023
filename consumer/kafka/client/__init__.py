"""aiokafka behind the port: the only package that knows it.

Every private part of aiokafka that is used is in ``private_api`` with its reason, and
``tests/unit/kafka/test_private_api.py`` holds it, so a new release cannot change it unseen.
"""

from consumer.kafka.client.connection import Connection
from consumer.kafka.client.kafka import AioKafka

__all__ = ["AioKafka", "Connection"]
