"""Settings of the brokers that this service depends on, and what an operator must change in them.

The brokers create the topics of their coordinators when a client first needs one. If the
replication factor is larger than the number of brokers, they fail, and answer that no coordinator
is available, for ever.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from consumer.config import PREFIX, Settings

OFFSETS_TOPIC: Final = "__consumer_offsets"
TRANSACTIONS_TOPIC: Final = "__transaction_state"
REPLICATION_SETTINGS: Final = {
    OFFSETS_TOPIC: "offsets.topic.replication.factor",
    TRANSACTIONS_TOPIC: "transaction.state.log.replication.factor",
}
MAX_TRANSACTION_TIMEOUT: Final = "transaction.max.timeout.ms"
MIN_SESSION_TIMEOUT: Final = "group.min.session.timeout.ms"
MAX_SESSION_TIMEOUT: Final = "group.max.session.timeout.ms"
CONNECTION_LIMITS: Final = ("max.connections.per.ip", "max.connections")
SETTINGS: Final = (
    *REPLICATION_SETTINGS.values(),
    MAX_TRANSACTION_TIMEOUT,
    MIN_SESSION_TIMEOUT,
    MAX_SESSION_TIMEOUT,
    *CONNECTION_LIMITS,
)
_UNLIMITED: Final = 2**63


class BrokerSettings(msgspec.Struct, frozen=True):
    """The settings of one broker, and which topics of the coordinators do not exist."""

    brokers: int
    configs: Mapping[str, str]
    """Empty if the ACLs do not permit DescribeConfigs on the cluster, which is optional."""
    missing_topics: frozenset[str] = frozenset()
    """The topics of the coordinators that do not exist."""
    unknown_topics: frozenset[str] = frozenset()
    """The topics of the coordinators that this user may not describe."""
    unanswered: str = ""
    """Why a part is not known yet: a query failed. Empty: the brokers answered every query."""

    def may_exceed_brokers(self, topic: str) -> bool:
        """Return whether the brokers may be too few to create a coordinators' topic.

        A value that this user may not read may be too large. While a query fails, nothing is known.
        """
        is_there = topic not in self.missing_topics | self.unknown_topics
        replication = _number(self, REPLICATION_SETTINGS[topic], _UNLIMITED)
        return not is_there and not self.unanswered and replication > self.brokers


def uncreatable(topic: str, found: BrokerSettings) -> str:
    """Return what an operator must change so that the brokers can create a coordinators' topic."""
    setting = REPLICATION_SETTINGS[topic]
    brokers = f"{found.brokers} broker" if found.brokers == 1 else f"{found.brokers} brokers"
    value = found.configs.get(setting)
    actual = f"is {value}" if value is not None else "may be larger than that"
    return (
        f"the brokers cannot create their topic {topic}: the cluster has {brokers}, and {setting} "
        f"{actual}; set it to {found.brokers} or less on every broker, or start more brokers"
    )


def find_broker_problems(settings: Settings, found: BrokerSettings) -> Iterator[str]:
    """Yield the settings of the brokers with which the service cannot run, one sentence each.

    A setting that this user may not read is no problem.
    """
    for topic, setting in REPLICATION_SETTINGS.items():
        replication = _number(found, setting, 0)
        if topic in found.missing_topics and replication > found.brokers:
            yield uncreatable(topic, found)
    longest = _number(found, MAX_TRANSACTION_TIMEOUT, _UNLIMITED)
    if settings.transaction_timeout_ms > longest:
        yield (
            f"{PREFIX}TRANSACTION_TIMEOUT_MS is {settings.transaction_timeout_ms}, and "
            f"{MAX_TRANSACTION_TIMEOUT} of the brokers is {longest}: lower the variable, or raise "
            "the setting of the brokers"
        )
    least = _number(found, MIN_SESSION_TIMEOUT, 0)
    most = _number(found, MAX_SESSION_TIMEOUT, _UNLIMITED)
    if not least <= settings.session_timeout_ms <= most:
        yield (
            f"{PREFIX}SESSION_TIMEOUT_MS is {settings.session_timeout_ms}, and the brokers accept "
            f"{least} ({MIN_SESSION_TIMEOUT}) to {most} ({MAX_SESSION_TIMEOUT}): change the "
            "variable, or the setting of the brokers"
        )


def find_connection_limits(found: BrokerSettings, needed: int) -> Iterator[str]:
    """Yield the limits of a broker that are below the connections of a process with all shards."""
    for setting in CONNECTION_LIMITS:
        limit = _number(found, setting, _UNLIMITED)
        if limit < needed:
            yield (
                f"{setting} of the brokers is {limit}, and one process with all shards needs up to "
                f"{needed} connections to a broker: raise it, or run more processes"
            )


def _number(found: BrokerSettings, setting: str, default: int) -> int:
    try:
        return int(found.configs[setting])
    except (KeyError, ValueError):
        return default
