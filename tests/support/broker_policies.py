"""A broker that refuses the topic settings that managed services such as MSK Serverless refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev.kafka import LocalKafka
from tests.support.broker_classes import compiled

if TYPE_CHECKING:
    from pathlib import Path

POLICIES = {
    "create.topic.policy.class.name": "ManagedTopicPolicy",
    "alter.config.policy.class.name": "ManagedConfigPolicy",
}


def managed_kafka(folder: Path, **more: str) -> LocalKafka:
    """Return a broker with the policies, compiled into `folder`; `more` are broker settings.

    Raises:
        ToolchainError: the compiler of Java is missing, or it failed.
    """
    return LocalKafka(properties={**POLICIES, **more}, class_path=[compiled("policies", folder)])
