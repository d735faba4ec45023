"""The description of a topic, as brokers give it."""

from __future__ import annotations

import pytest

from consumer.errors import ClusterError
from consumer.kafka.types import TopicDescription


def test_the_limit_is_a_number_of_bytes() -> None:
    """The brokers report the largest batch as text."""
    topic = TopicDescription("input", 3, 1, {"max.message.bytes": "1048588"})
    assert topic.max_message_bytes == 1_048_588


def test_brokers_that_report_no_limit_are_named() -> None:
    """Some brokers that speak Kafka's protocol report few settings; the error names the topic."""
    topic = TopicDescription("input", 3, 1, {"cleanup.policy": "delete"})
    with pytest.raises(ClusterError, match="topic input: the brokers do not report"):
        _ = topic.max_message_bytes
