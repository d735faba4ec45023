"""What the admin client makes of queries that fail."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedVersionError,
)

from consumer.config import Settings
from consumer.errors import TimedOut
from consumer.kafka.broker_settings import OFFSETS_TOPIC, TRANSACTIONS_TOPIC
from consumer.kafka.client.admin import KafkaAdmin
from consumer.kafka.client.connection import Connection, translate

TOPICS, CONFIGS = "describe topics", "describe broker settings"
COORDINATORS = {OFFSETS_TOPIC, TRANSACTIONS_TOPIC}


class Admin(KafkaAdmin):
    """Queries fail by these errors; otherwise there are no topics and no settings."""

    def __init__(self, failures: dict[str, Exception]) -> None:
        """Connect to nothing."""
        settings = Settings.load({"CHECKPOINT_READY_BOOTSTRAP_SERVERS": "kafka:9092"})
        super().__init__(Connection.of(settings), "test")
        self._failures = failures

    async def _query(self, call: Any, what: str, seconds: float = 0) -> Any:  # noqa: ANN401, ARG002
        if error := self._failures.get(what):
            raise translate(error, what) from error
        if what == CONFIGS:
            return {"1": {}}
        return SimpleNamespace(API_VERSION=0, brokers=[(1, "kafka", 9092)], topics=[])


@pytest.mark.parametrize("what", [TOPICS, CONFIGS])
@pytest.mark.parametrize(
    "error", [TimedOut("no answer within 15 s"), OSError("reset"), SaslAuthenticationFailed("no")]
)
async def test_a_query_that_fails_says_nothing_of_a_topic(what: str, error: Exception) -> None:
    """A later one may succeed: no topic counts as one that the brokers cannot create."""
    found = await Admin({what: error}).broker_settings()
    assert what in found.unanswered or "no answer" in found.unanswered
    assert not found.unknown_topics
    assert not any(map(found.may_exceed_brokers, COORDINATORS))


@pytest.mark.parametrize(
    ("what", "error"),
    [
        (TOPICS, TopicAuthorizationFailedError(OFFSETS_TOPIC)),
        (CONFIGS, ClusterAuthorizationFailedError()),
        (CONFIGS, UnsupportedVersionError()),
    ],
)
async def test_a_query_that_is_refused_is_answered(what: str, error: Exception) -> None:
    """These rights are optional. What may not be seen may be the cause of a fault that lasts."""
    found = await Admin({what: error}).broker_settings()
    assert not found.unanswered
    assert found.unknown_topics == (COORDINATORS if what == TOPICS else set())
    assert all(map(found.may_exceed_brokers, COORDINATORS))
