"""The connections of a job to the cluster. A job is no member of the consumer group."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import msgspec

from consumer.config import Settings
from consumer.jobs.journal import Entries, Journal, read_journal
from consumer.kafka.client import AioKafka
from consumer.kafka.port import ClusterAdmin, Kafka, LogReader
from consumer.kafka.topic_settings import JOBS_MESSAGE_BYTES
from consumer.kafka.topics import Topology, check_topics, ensure_jobs_topic
from consumer.kafka.types import TopicPartition


class JobContext(msgspec.Struct, frozen=True):
    """The connections of one job; ``open_job_context`` opens and closes them."""

    settings: Settings
    kafka: Kafka
    admin: ClusterAdmin
    topology: Topology
    reader: LogReader

    def changelogs(self) -> list[TopicPartition]:
        """Return every shard's partition of the changelog."""
        topic = self.settings.changelog_topic
        return [TopicPartition(topic, shard) for shard in range(self.topology.shards)]

    async def read_journal(self, is_wanted: Callable[[bytes], bool]) -> Entries:
        """Return the wanted journal entries, or none if the jobs topic is missing; fence no job.

        Raises:
            ClusterError, TaskFailed, TransientError: the journal cannot be read.
        """
        topic = self.settings.jobs_topic
        if topic not in await self.admin.describe([topic]):
            return {}
        await self.reader.follow([topic])
        return await read_journal(self.settings, self.reader, is_wanted)

    async def journal_max_bytes(self) -> int:
        """Return ``max.message.bytes`` of the jobs topic; the default if the topic is missing."""
        topic = self.settings.jobs_topic
        found = (await self.admin.describe([topic])).get(topic)
        return JOBS_MESSAGE_BYTES if found is None else found.max_message_bytes

    async def ensure_journal(self) -> dict[str, int]:
        """Create the jobs topic if it is missing. Return its name with its ``max.message.bytes``.

        Raises:
            ClusterError: the cluster refuses to create the topic.
            TaskFailed, TransientError: the cluster does not answer, or does not know the topic yet.
        """
        topic = await ensure_jobs_topic(self.admin, self.settings)
        await self.reader.follow([topic.name])
        return {topic.name: topic.max_message_bytes}

    @asynccontextmanager
    async def journal(
        self, purpose: str, max_message_bytes: Mapping[str, int]
    ) -> AsyncGenerator[Journal, None]:
        """Yield a writable journal and close it at the end. The jobs topic must exist.

        `purpose` is a part of the transactional id. `max_message_bytes` has an entry for every
        topic that the job writes.
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


@asynccontextmanager
async def open_job_context(
    settings: Settings, purpose: str, kafka: Kafka | None = None
) -> AsyncGenerator[JobContext, None]:
    """Check the group's topics and connect a reader, without joining the group.

    The reader fetches metadata of the group's topics. Add another topic with ``LogReader.follow``
    only after a check that it exists: a metadata request for a missing topic may create it.

    Raises:
        ClusterError: the cluster is not usable, or a topic has a wrong configuration.
        TaskFailed, TransientError: the brokers do not answer.
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
