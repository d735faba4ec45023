"""What a tool on history works with: a checked cluster and a reader, apart from the group."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import msgspec

from consumer.config import Settings
from consumer.jobs.journal import Entries, Journal, read_journal
from consumer.kafka.client import AioKafka
from consumer.kafka.port import ClusterAdmin, Kafka, LogReader
from consumer.kafka.topics import Topology, check_topics, ensure_jobs_topic
from consumer.kafka.types import TopicPartition


class JobContext(msgspec.Struct, frozen=True):
    """Connections of one tool; ``open_job_context`` opens and closes them."""

    settings: Settings
    kafka: Kafka
    admin: ClusterAdmin
    topology: Topology
    reader: LogReader

    def inputs(self) -> list[TopicPartition]:
        """Return every partition of the input topics."""
        return [
            TopicPartition(topic, partition)
            for topic, count in sorted(self.topology.inputs.items())
            for partition in range(count)
        ]

    async def read_journal(self, is_wanted: Callable[[bytes], bool]) -> Entries:
        """Return the journal's wanted entries; nothing is made, and nobody who writes disturbed.

        Raises:
            ClusterError, TaskFailed, TransientError: it cannot be read.
        """
        topic = self.settings.jobs_topic
        if topic not in await self.admin.describe([topic]):
            return {}
        await self.reader.follow([topic])
        return await read_journal(self.settings, self.reader, is_wanted)

    async def ensure_journal(self) -> dict[str, int]:
        """Make the journal's topic where it is missing; return its ``max.message.bytes`` by name.

        Raises:
            ClusterError: the cluster refuses.
            TaskFailed, TransientError: it does not answer, or not yet.
        """
        topic = await ensure_jobs_topic(self.admin, self.settings)
        await self.reader.follow([topic.name])
        return {topic.name: topic.max_message_bytes}

    @asynccontextmanager
    async def journal(
        self, purpose: str, max_message_bytes: Mapping[str, int]
    ) -> AsyncGenerator[Journal, None]:
        """Make a writer of the journal, which exists, and close it.

        `purpose` tells writers apart; `max_message_bytes`: of every topic that is written.
        """
        journal = Journal(
            self.settings,
            self.kafka,
            self.admin,
            self.reader,
            purpose=purpose,
            max_message_bytes=max_message_bytes,
        )
        try:
            yield journal
        finally:
            await journal.close()

    def changelogs(self) -> list[TopicPartition]:
        """Return every shard's changelog."""
        topic = self.settings.changelog_topic
        return [TopicPartition(topic, shard) for shard in range(self.topology.shards)]


@asynccontextmanager
async def open_job_context(
    settings: Settings, purpose: str, kafka: Kafka | None = None
) -> AsyncGenerator[JobContext, None]:
    """Check the group's topics and connect a reader; no group is joined.

    The reader knows the group's topics. Others are told to it when it is known that they exist
    (``LogReader.follow``): a question about one that does not may create it.

    Raises:
        ClusterError: the cluster cannot be used, or a topic is not what it must be.
    """
    client_id = f"{settings.group_id}-{purpose}"
    kafka = kafka or AioKafka.of(settings)
    admin = kafka.admin(client_id)
    try:
        await admin.start()
        topology = await check_topics(admin, settings)
        reader = kafka.reader(
            client_id,
            topics=topology.max_message_bytes,
            max_message_bytes=topology.largest_source_bytes,
        )
        try:
            await reader.start()
            yield JobContext(settings, kafka, admin, topology, reader)
        finally:
            await reader.close()
    finally:
        await admin.close()
