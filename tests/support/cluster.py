"""The operations of tests on a cluster and its topics, by librdkafka."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from tests.support.reader import CLIENT_SETTINGS, Reader, Record, end_offsets
from tests.support.records import NewRecord, send
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

REQUEST_SECONDS = 30.0


class RunningKafka(Protocol):
    """A running broker, started by a test or by the user."""

    @property
    def bootstrap_servers(self) -> str:
        """The addresses for a client."""


class ExternalKafka(NamedTuple):
    """The broker of KAFKA_BOOTSTRAP_SERVERS."""

    bootstrap_servers: str


class Cluster:
    """One broker or cluster; every wait has a deadline."""

    def __init__(self, bootstrap_servers: str, settings: Mapping[str, Any] | None = None) -> None:
        """Connect; `settings` are librdkafka's (a login, for instance) for every client."""
        self.bootstrap_servers = bootstrap_servers
        self.settings: dict[str, Any] = {
            **CLIENT_SETTINGS,
            "bootstrap.servers": bootstrap_servers,
            **(settings or {}),
        }
        self.admin = AdminClient(self.settings)

    def create_topics(
        self,
        partitions: Mapping[str, int],
        config: Mapping[str, str] | None = None,
        *,
        replication_factor: int = -1,
    ) -> None:
        """Create topics ({name: partitions}) and return when every partition has a leader.

        By default the topics keep records of any age. Many tests write records with timestamps of
        years ago, and brokers delete old records every five minutes.
        """
        configs = {"retention.ms": "-1", **(config or {})}
        topics = [
            NewTopic(name, count, replication_factor, config=configs)
            for name, count in partitions.items()
        ]
        _results(self.admin.create_topics(topics, request_timeout=REQUEST_SECONDS))
        for name, count in partitions.items():
            self._wait_for_leaders(name, count)

    def delete_topics(self, *names: str) -> None:
        """Delete topics and return when they are gone."""
        _results(self.admin.delete_topics(list(names), request_timeout=REQUEST_SECONDS))
        wait_until(
            lambda: not set(names) & self.topics(), REQUEST_SECONDS, what=f"the end of {names}"
        )

    def topics(self) -> set[str]:
        """Return the names of all topics."""
        return set(self.admin.list_topics(timeout=REQUEST_SECONDS).topics)

    def partitions(self, topic: str) -> int:
        """Return the number of partitions of a topic, or 0 if there is no such topic."""
        found = self.admin.list_topics(timeout=REQUEST_SECONDS).topics.get(topic)
        return 0 if found is None else len(found.partitions)

    def add_partitions(self, topic: str, total: int) -> None:
        """Enlarge a topic to `total` partitions and return when each has a leader."""
        _results(self.admin.create_partitions([NewPartitions(topic, total)]))
        self._wait_for_leaders(topic, total)

    def set_config(self, topic: str, **config: str | None) -> None:
        """Change topic settings (`max_message_bytes="1000"`); None restores the default."""
        entries = [
            ConfigEntry(
                name.replace("_", "."),
                value,
                incremental_operation=AlterConfigOpType.DELETE
                if value is None
                else AlterConfigOpType.SET,
            )
            for name, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        _results(self.admin.incremental_alter_configs([resource]))
        wanted = {entry.name: entry.value for entry in entries if entry.value is not None}
        wait_until(
            lambda: wanted.items() <= self.config(topic).items(),
            REQUEST_SECONDS,
            what=f"{wanted} on {topic}",
        )

    def config(self, topic: str) -> dict[str, str | None]:
        """Return all settings of a topic."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        described = _results(self.admin.describe_configs([resource]))[0]
        return {name: entry.value for name, entry in described.items()}

    def own_config(self, topic: str) -> dict[str, str | None]:
        """Return the settings that the topic itself has, without defaults."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        described = _results(self.admin.describe_configs([resource]))[0]
        own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
        return {name: entry.value for name, entry in described.items() if entry.source == own}

    def max_message_bytes(self, topic: str) -> int:
        """Return the size of the largest batch that a topic accepts."""
        return int(self.config(topic)["max.message.bytes"] or 0)

    def produce(
        self,
        topic: str,
        records: Iterable[NewRecord],
        *,
        transactional_id: str | None = None,
    ) -> list[tuple[int, int]]:
        """Produce in order, with an id as one transaction. Return partition and offset of each."""
        settings = {**self.settings, "linger.ms": 5, "message.max.bytes": 50_000_000}
        settings |= {"enable.idempotence": True}
        if transactional_id is not None:
            settings["transactional.id"] = transactional_id
        producer = Producer(settings)
        if transactional_id is not None:
            producer.init_transactions(REQUEST_SECONDS)
            producer.begin_transaction()
        placed = send(producer, topic, records)
        if transactional_id is not None:
            producer.commit_transaction(REQUEST_SECONDS)
        return placed

    def subscriber(self, *topics: str, committed_only: bool = True, at_end: bool = False) -> Reader:
        """Open a reader of all partitions, from their start or their end; close it after use."""
        return Reader(self.settings, *topics, committed_only=committed_only, at_end=at_end)

    def read(
        self, topic: str, *, committed_only: bool = True, deadline_seconds: float = 30.0
    ) -> list[Record]:
        """Read a topic from its start to its current end; waits for open transactions."""
        with self.subscriber(topic, committed_only=committed_only) as subscriber:
            return subscriber.read_to_end(deadline_seconds)

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Return the end offset of every partition, uncommitted records included."""
        return end_offsets(self.admin, topic)

    def group_offsets(self, group: str) -> dict[tuple[str, int], int]:
        """Return the committed offsets of a group.

        A description of the group first finds its coordinator. Without one, librdkafka's call for
        the offsets ends the process (librdkafka issue 5040).
        """
        self.group_members(group)
        asked = [ConsumerGroupTopicPartitions(group)]
        answer = _results(self.admin.list_consumer_group_offsets(asked))[0]
        return {(at.topic, at.partition): at.offset for at in answer.topic_partitions}

    def commit_offsets(self, group: str, offsets: Mapping[tuple[str, int], int]) -> None:
        """Commit offsets of a group without members; repeat this while the coordinator loads.

        Without a coordinator, librdkafka's admin call for this ends the process (librdkafka issue
        5040). A consumer waits for the coordinator.
        """
        places = [TopicPartition(*place, offset) for place, offset in offsets.items()]
        consumer = Consumer({**self.settings, "group.id": group, "enable.auto.commit": False})

        def is_committed() -> bool:
            try:
                consumer.commit(offsets=places, asynchronous=False)
            except KafkaException:  # the coordinator is not available yet
                return False
            return True

        try:
            wait_until(is_committed, REQUEST_SECONDS, what=f"the offsets of {group}")
        finally:
            consumer.close()

    def group_members(self, group: str) -> list[str]:
        """Return the client ids of a group's members."""
        described = _results(self.admin.describe_consumer_groups([group]))[0]
        return sorted(member.client_id for member in described.members)

    def delete_group(self, group: str, deadline_seconds: float = 30.0) -> None:
        """Delete a group and its offsets; waits until its last member has left."""
        deadline = time.monotonic() + deadline_seconds
        while True:
            try:
                _results(self.admin.delete_consumer_groups([group]))
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
            else:
                return
            wait_until(lambda: not self.group_members(group), deadline_seconds)

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Delete the records below an offset: {partition: offset}."""
        offsets = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]
        _results(self.admin.delete_records(offsets))

    def _wait_for_leaders(self, topic: str, partitions: int) -> None:
        def led() -> bool:
            found = self.admin.list_topics(timeout=REQUEST_SECONDS).topics.get(topic)
            return (
                found is not None
                and len(found.partitions) == partitions
                and all(partition.leader >= 0 for partition in found.partitions.values())
            )

        wait_until(led, REQUEST_SECONDS, what=f"a leader for {partitions} partitions of {topic}")


def _results(futures: Mapping[Any, Any]) -> list[Any]:
    """Return the results of the admin client's futures, or raise the first error."""
    return [future.result(REQUEST_SECONDS) for future in futures.values()]
