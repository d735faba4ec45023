"""Implements the port with aiokafka. Outside this package only ``kafka.types`` imports aiokafka.

Every private part of aiokafka is used in ``private_api``, ``private_client`` or
``private_connection``, with its reason.
``tests/unit/kafka/test_private_api.py`` fails if a release of aiokafka changes such a part, or if
another module of the service uses a private part.
"""

from consumer.kafka.client.connection import Connection
from consumer.kafka.client.consumer_groups import GroupsAdmin
from consumer.kafka.client.kafka import AioKafka

__all__ = ["AioKafka", "Connection", "GroupsAdmin"]
