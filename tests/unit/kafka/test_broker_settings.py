"""Which settings of the brokers do not fit to the settings of the service."""

from __future__ import annotations

import pytest

from consumer.config import Settings
from consumer.kafka.broker_settings import (
    OFFSETS_TOPIC,
    TRANSACTIONS_TOPIC,
    BrokerSettings,
    find_broker_problems,
    find_connection_limits,
    uncreatable,
)

DEFAULTS = {
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.max.timeout.ms": "900000",
    "group.min.session.timeout.ms": "6000",
    "group.max.session.timeout.ms": "1800000",
    "max.connections.per.ip": "2147483647",
    "max.connections": "2147483647",
}
NONE_EXISTS = frozenset({OFFSETS_TOPIC, TRANSACTIONS_TOPIC})


def problems(found: BrokerSettings) -> list[str]:
    """Return the problems for the default settings of the service."""
    return list(find_broker_problems(Settings.load({}), found))


@pytest.mark.parametrize(
    "found",
    [
        BrokerSettings(3, DEFAULTS, NONE_EXISTS),
        BrokerSettings(1, DEFAULTS),
        BrokerSettings(1, DEFAULTS, unknown_topics=NONE_EXISTS),
        BrokerSettings(1, {}, NONE_EXISTS),
    ],
    ids=["enough brokers", "the topics exist", "not allowed to see them", "no settings"],
)
def test_settings_that_fit_or_are_not_known_are_no_problem(found: BrokerSettings) -> None:
    """A topic that exists needs no further replicas, and what may not be read is not judged."""
    assert problems(found) == []
    assert list(find_connection_limits(found, 1_000)) == []


def test_topics_that_the_brokers_cannot_create() -> None:
    """The sentence has the setting, its value and the number of brokers."""
    found = problems(BrokerSettings(2, DEFAULTS, NONE_EXISTS))
    assert len(found) == 2
    assert "the cluster has 2 brokers, and offsets.topic.replication.factor is 3" in found[0]
    assert "set it to 2 or less" in found[0]
    assert "transaction.state.log.replication.factor is 3" in found[1]


def test_an_unknown_replication_factor() -> None:
    """Without the right to read it, the sentence says what it may be."""
    assert "may be larger than that" in uncreatable(OFFSETS_TOPIC, BrokerSettings(1, {}))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("transaction.max.timeout.ms", "14999"),
        ("group.min.session.timeout.ms", "10001"),
        ("group.max.session.timeout.ms", "9999"),
    ],
)
def test_a_limit_that_refuses_the_service(setting: str, value: str) -> None:
    """The defaults of the service are 15 s for a transaction and 10 s for a session."""
    (problem,) = problems(BrokerSettings(3, {**DEFAULTS, setting: value}))
    assert setting in problem
    assert value in problem


def test_a_limit_of_connections_below_the_need() -> None:
    """Only a limit that is too low is named."""
    found = BrokerSettings(3, {**DEFAULTS, "max.connections.per.ip": "40"})
    (warning,) = find_connection_limits(found, 78)
    assert "max.connections.per.ip of the brokers is 40" in warning
    assert "78 connections" in warning
    assert list(find_connection_limits(found, 40)) == []
