"""A broker that refuses the topic settings that managed services such as MSK Serverless refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev.kafka import LocalKafka
from tests.support.broker_classes import compiled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

POLICIES = {
    "create.topic.policy.class.name": "ManagedTopicPolicy",
    "alter.config.policy.class.name": "ManagedConfigPolicy",
}


def managed_kafka(
    folder: Path,
    properties: Mapping[str, str] | None = None,
    advertised_ports: Mapping[str, Mapping[int, int]] | None = None,
) -> LocalKafka:
    """Return a broker with the policies, compiled into `folder`.

    `properties` are more broker settings. `advertised_ports` has more listeners, with the ports
    that the broker advertises for them, see ``LocalKafka``.

    Raises:
        ToolchainError: the compiler of Java is missing, or it failed.
    """
    return LocalKafka(
        properties={**POLICIES, **(properties or {})},
        class_path=[compiled("policies", folder)],
        extra_listeners=dict.fromkeys(advertised_ports or {}, "PLAINTEXT"),
        advertised_ports=advertised_ports,
    )
