"""A contender: how it starts, and what it guarantees."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException

from bench.peers.backlog import PARTITIONS, Backlog, Placement
from tests.support.child_process import ChildProcess
from tests.support.cluster import Cluster
from tests.support.waiting import wait_until

# The broker stamps each event when it appends it, so the rate is known without a reader.
OUTPUT_CONFIG: Final = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": "2097152"}


class Delivery(StrEnum):
    """What a run must show in the output."""

    EACH_ID_ONCE = "each id once, guaranteed"
    EACH_ID = "each id; a crash may repeat or lose some"
    EVERY_RECORD = "every record"


class Run:
    """The topics, the group and the folder of one run of a contender."""

    def __init__(self, cluster: Cluster, backlog: Backlog, folder: Path, name: str) -> None:
        """Choose names that only this run uses, and create the output topics."""
        self.cluster = cluster
        self.backlog = backlog
        self.folder = folder
        self.prefix = f"peers-{name}-{uuid.uuid4().hex[:6]}"
        cluster.create_topics(
            {self.output_topic: PARTITIONS, self.dead_letter_topic: PARTITIONS}, OUTPUT_CONFIG
        )
        for topic in (self.output_topic, self.dead_letter_topic):
            wait_until(partial(self._answers, topic), what=f"the leaders of {topic}")

    def _answers(self, topic: str) -> bool:
        """Return whether each leader knows that it leads: a moment after the creation."""
        try:
            return bool(self.cluster.end_offsets(topic))
        except KafkaException:
            return False

    @property
    def group(self) -> str:
        """The consumer group. Its name is the prefix of all internal topics and ids too."""
        return f"{self.prefix}-group"

    @property
    def output_topic(self) -> str:
        """The topic of the ready events."""
        return f"{self.prefix}-ready"

    @property
    def dead_letter_topic(self) -> str:
        """The topic of the records that cannot be published."""
        return f"{self.prefix}-dead-letters"

    def delete_topics(self) -> None:
        """Delete every topic of the run, those that the contender created too."""
        self.cluster.delete_topics(*(name for name in self.cluster.topics() if self.prefix in name))


@dataclass(frozen=True, kw_only=True)
class Contender(ABC):
    """One row of the comparison."""

    name: str
    title: str
    guarantees: str
    delivery: Delivery = Delivery.EACH_ID_ONCE
    placement: Placement = Placement.KEYED
    is_pinned: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings that differ from the defaults, in the contender's own spelling."""

    def prepare(self) -> None:  # noqa: B027 - not every contender needs something
        """Provide what the contender needs, before any run. By default nothing."""

    def subscribed_topic(self, run: Run) -> str:
        """Return the topic that a subscriber of the contender reads."""
        return run.output_topic

    @abstractmethod
    def start(self, run: Run) -> list[ChildProcess]:
        """Start the processes of a run. The caller ends them."""


@dataclass(frozen=True, kw_only=True)
class NoContender(Contender):
    """A subscriber that reads the input itself: what broker, producer and subscriber cost."""

    def subscribed_topic(self, run: Run) -> str:
        """Return the input."""
        return run.backlog.topic

    def start(self, run: Run) -> list[ChildProcess]:  # noqa: ARG002 - nothing is started
        """Start nothing."""
        return []
