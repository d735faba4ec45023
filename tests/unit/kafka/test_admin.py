"""What the admin client makes of queries that fail."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    NotLeaderForPartitionError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedVersionError,
)

from consumer.config import Settings
from consumer.errors import TimedOut, TransientError
from consumer.kafka.broker_settings import OFFSETS_TOPIC, TRANSACTIONS_TOPIC
from consumer.kafka.client.admin import KafkaAdmin
from consumer.kafka.client.connection import Connection, translate
from consumer.kafka.client.metadata import PartitionMetadata, TopicMetadata
from consumer.kafka.types import OpenTransactions, TopicPartition

EVENTS, DEAD_LETTERS = "events", "dead-letters"
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


class Leader(KafkaAdmin):
    """The leader of one partition of each topic; it answers with these errors."""

    def __init__(self, errors: dict[str, type[KafkaError]], missing: frozenset[str]) -> None:
        """Connect to nothing."""
        settings = Settings.load({"CHECKPOINT_READY_BOOTSTRAP_SERVERS": "kafka:9092"})
        super().__init__(Connection.of(settings), "test")
        self._errors = errors
        self._missing = missing
        self.queries, self.wrong_queries = 0, 1000

    async def _topics(self, topics: Any, node_id: int | None = None) -> dict[str, TopicMetadata]:  # noqa: ANN401, ARG002
        known = [name for name in topics if name not in self._missing]
        one = PartitionMetadata(0, 1, None, [1])
        return {name: TopicMetadata(0, name, None, [one]) for name in known}

    async def _query_leader(self, leader: int, request: Any, what: str) -> Any:  # noqa: ANN401, ARG002
        self.queries += 1
        if self.queries > self.wrong_queries:
            self._errors = {}
        topics: list[Any] = [
            (name, [(0, self._errors[name].errno if name in self._errors else 0, "", [], {})], {})
            for name in (EVENTS, DEAD_LETTERS)
        ]
        return SimpleNamespace(topics=topics)


async def ask(
    errors: dict[str, type[KafkaError]], missing: frozenset[str] = frozenset()
) -> OpenTransactions:
    """Return the open transactions, with an optional topic."""
    return await Leader(errors, missing).open_transactions([EVENTS], [DEAD_LETTERS])


async def test_an_optional_partition_whose_leader_has_moved_is_unchecked() -> None:
    """A later query may find a transaction there. A missing right is final, and optional."""
    moved = await ask({DEAD_LETTERS: NotLeaderForPartitionError})
    assert moved.unchecked == {TopicPartition(DEAD_LETTERS, 0)}
    refused = await ask({DEAD_LETTERS: TopicAuthorizationFailedError})
    assert list(moved.not_queried) == list(refused.not_queried) == [DEAD_LETTERS]
    assert not refused.unchecked
    assert not (await ask({})).unchecked


async def test_a_leader_that_has_just_moved_is_queried_again() -> None:
    """For example the first one of a topic that was created a moment ago."""
    leader = Leader({EVENTS: NotLeaderForPartitionError}, frozenset())
    leader.wrong_queries = 2
    assert not (await leader.open_transactions([EVENTS])).unchecked
    assert leader.queries == leader.wrong_queries + 1


async def test_open_transactions_of_topics_that_cannot_be_skipped() -> None:
    """A broker that does not know a topic yet has not checked it."""
    with pytest.raises(TransientError, match="NotLeader"):
        await ask({EVENTS: NotLeaderForPartitionError})
    for name in (EVENTS, DEAD_LETTERS):
        with pytest.raises(TransientError, match=f"does not know {name}"):
            await ask({}, frozenset({name}))
