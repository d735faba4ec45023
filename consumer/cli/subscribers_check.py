"""The action `subscribers check`: writes an event that only a wrongly configured subscriber sees.

1. Fence the transactional id of the check. This also ends the transaction of a killed check.
2. Write one check event to each partition, in one transaction.
3. With a hold, keep the transaction open, and then read the committed offsets of all groups. A
   ``read_committed`` consumer cannot pass the start of an open transaction. So a group whose offset
   is after the check event reads uncommitted.
4. Abort the transaction by another fence, which returns when the markers are written. With
   `committed`, commit instead.
5. Read the events at both isolation levels, to show that the brokers behave as expected.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Final

import msgspec

from consumer.config import Settings
from consumer.errors import CheckpointReadyError, ClusterError, ConfigError, Fenced
from consumer.kafka.client import AioKafka, GroupsAdmin
from consumer.kafka.open_transactions import OpenTransactionCheck
from consumer.kafka.port import ClusterAdmin, TransactionalWriter
from consumer.kafka.read import OffsetRange, ReadOptions, read_range
from consumer.kafka.types import GroupListing, TopicDescription, TopicPartition
from consumer.pipeline.check_event import check_record
from schemas.ready_event import CHECK_TYPE

# An open transaction holds back the committed readers of its partitions. So the transaction of a
# killed check must end soon.
TRANSACTION_TIMEOUT_MS: Final = 10_000
MAX_HOLD_SECONDS: Final = 10.0
# The offsets of groups prove nothing if the brokers may have ended the transaction before.
SAFETY_SECONDS: Final = 2.0
READ_SECONDS: Final = 30.0
CHECK_ID_BYTES: Final = 6
BINARY: Final = "binary"


class CheckOptions(msgspec.Struct, frozen=True):
    """The partitions to write to (none: all), the hold, and whether to commit."""

    partitions: tuple[int, ...] = ()
    hold_seconds: float = 0.0
    committed: bool = False


class WrittenEvent(msgspec.Struct, frozen=True):
    """The position of one check event, and which readers of this command received it."""

    partition: int
    offset: int
    seen_by_read_uncommitted: bool
    seen_by_read_committed: bool


class CheckResult(msgspec.Struct, frozen=True):
    """What one check has written, and what it found."""

    check: str
    type: str
    topic: str
    committed: bool
    events: tuple[WrittenEvent, ...]
    reads_uncommitted: tuple[str, ...] | None = None
    """The groups that passed the open transaction. None: no hold, or the groups are unknown."""
    groups_problem: str = ""
    """Why groups could not be examined during the hold; empty if all were."""

    @property
    def broker_problem(self) -> str:
        """Why the check shows nothing on these brokers; empty if they behave as expected."""
        if not all(event.seen_by_read_uncommitted for event in self.events):
            return (
                "a read_uncommitted reader of this command did not receive the check event: these "
                "brokers hide aborted records from all readers, so the check shows nothing"
            )
        if any(event.seen_by_read_committed != self.committed for event in self.events):
            return (
                "a read_committed reader of this command "
                f"{'did not receive the committed' if self.committed else 'received the aborted'} "
                "check event: these brokers do not support transactions correctly"
            )
        return ""


async def run_check(settings: Settings, options: CheckOptions) -> CheckResult:
    """Write the check events and return where they are.

    Raises:
        ConfigError: a partition does not exist.
        ClusterError: the topic does not exist, or an ACL is missing.
        HangingTransaction: an earlier check left a transaction open; an operator must end it.
        TaskFailed, TransientError: a broker did not answer as expected; run the check again.
    """
    kafka = AioKafka.of(settings)
    admin = kafka.groups_admin(f"{settings.group_id}-subscribers")
    check = f"check-{secrets.token_hex(CHECK_ID_BYTES)}"
    try:
        await admin.start()
        topic = await describe_ready_topic(admin, settings)
        partitions = _wanted_partitions(topic, options.partitions)
        run = _Run(kafka, admin, settings, topic, options)
        try:
            offsets = await run.write(check, partitions)
        except Fenced as error:
            raise Fenced(
                "another `subscribers check` of this GROUP_ID has begun, or the brokers ended the "
                "transaction: run the check again, one at a time"
            ) from error
        seen = [await run.read(offsets, committed_only=it) for it in (False, True)]
    finally:
        await admin.close()
    events = tuple(
        WrittenEvent(at.partition, offset, at in seen[0], at in seen[1])
        for at, offset in sorted(offsets.items())
    )
    return CheckResult(
        check,
        CHECK_TYPE,
        topic.name,
        options.committed,
        events,
        run.reads_uncommitted,
        run.groups_problem,
    )


async def describe_ready_topic(admin: ClusterAdmin, settings: Settings) -> TopicDescription:
    """Return the description of the ready topic.

    Raises:
        ClusterError: the topic does not exist, or an ACL is missing.
    """
    topics = await admin.describe([settings.output_topic])
    if settings.output_topic not in topics:
        raise ClusterError(
            f"topic {settings.output_topic} does not exist: correct CHECKPOINT_READY_OUTPUT_TOPIC "
            "or run `checkpoint-ready topics create`"
        )
    return topics[settings.output_topic]


def groups_that_passed(
    before: GroupListing, after: GroupListing, offsets: Mapping[int, int]
) -> tuple[str, ...]:
    """Return the groups that read uncommitted, from listings before and during the transaction.

    `offsets` are those of the check events by partition. A committed offset that was already after
    the end of the log does not count: it is a leftover of a deleted topic.
    """
    known = {group.group_id: group.offsets for group in before.groups}
    return tuple(
        group.group_id
        for group in after.groups
        if any(
            group.offsets.get(partition, -1) > offset
            and known.get(group.group_id, {}).get(partition, -1) <= offset
            for partition, offset in offsets.items()
        )
    )


class _Run:
    """One check: its transaction, and what it reads."""

    def __init__(
        self,
        kafka: AioKafka,
        admin: GroupsAdmin,
        settings: Settings,
        topic: TopicDescription,
        options: CheckOptions,
    ) -> None:
        self._kafka = kafka
        self._admin = admin
        self._settings = settings
        self._topic = topic
        self._options = options
        self._timeout_ms = TRANSACTION_TIMEOUT_MS + round(options.hold_seconds * 1000)
        self.reads_uncommitted: tuple[str, ...] | None = None
        self.groups_problem = ""

    async def write(self, check: str, partitions: Sequence[int]) -> dict[TopicPartition, int]:
        """Write the events and end the transaction; return the offsets."""
        before = await self._groups() if self._options.hold_seconds else None
        async with self._fenced_writer() as writer:
            began = time.monotonic()
            offsets = await self._send(writer, check, partitions)
            if before is not None:
                await asyncio.sleep(self._options.hold_seconds)
                after = await self._groups()
                is_open = time.monotonic() - began < self._timeout_ms / 1000 - SAFETY_SECONDS
                if after is not None and is_open:
                    at = {place.partition: offset for place, offset in offsets.items()}
                    self.reads_uncommitted = groups_that_passed(before, after, at)
                elif after is not None:
                    self.groups_problem = "the brokers answered too late"
            if self._options.committed:
                await writer.commit()
        return offsets

    async def read(
        self, offsets: Mapping[TopicPartition, int], *, committed_only: bool
    ) -> set[TopicPartition]:
        """Return the partitions in which a reader of this isolation level receives the event."""
        reader = self._kafka.reader(
            self._admin_id,
            topics=[self._topic.name],
            max_message_bytes=self._topic.max_message_bytes,
            committed_only=committed_only,
        )
        ranges = {at: OffsetRange(offset, offset + 1) for at, offset in offsets.items()}
        options = ReadOptions(total_seconds=READ_SECONDS, purpose="the check events")
        try:
            await reader.start()
            async with aclosing(read_range(reader, ranges, options)) as batches:
                return {batch.partition async for batch in batches if batch.records}
        finally:
            await reader.close()

    @property
    def _admin_id(self) -> str:
        return f"{self._settings.group_id}-subscribers"

    @asynccontextmanager
    async def _fenced_writer(self) -> AsyncIterator[TransactionalWriter]:
        """Return a writer without an open transaction. At the end abort what is not committed."""
        transactional_id = f"{self._settings.group_id}-subscribers-check"
        writer = self._kafka.writer(transactional_id, self._timeout_ms)
        try:
            await writer.fence()
            servers = self._settings.bootstrap_servers
            await OpenTransactionCheck(self._admin, servers, [self._topic.name]).refuse_hanging(
                writer
            )
            try:
                yield writer
            except BaseException:
                with suppress(CheckpointReadyError):  # the first error says more
                    await self._abort(transactional_id)
                raise
            if not self._options.committed:
                await self._abort(transactional_id)
        finally:
            await writer.close()

    async def _abort(self, transactional_id: str) -> None:
        writer = self._kafka.writer(transactional_id, self._timeout_ms)
        try:
            await writer.fence()
        finally:
            await writer.close()

    async def _send(
        self, writer: TransactionalWriter, check: str, partitions: Sequence[int]
    ) -> dict[TopicPartition, int]:
        name = self._topic.name
        batches = writer.new_batches({name: self._topic.max_message_bytes})
        for partition in partitions:
            record = check_record(
                check,
                partition,
                int(time.time()),
                committed=self._options.committed,
                binary_mode=self._settings.cloudevents_mode == BINARY,
            )
            batches.to(name, partition).append(record.key, record.value, record.headers)
        return await writer.send(batches)

    async def _groups(self) -> GroupListing | None:
        """Return the groups of the topic, or None after an error, which must not end the check."""
        try:
            listing = await self._admin.groups_of(self._topic.name, self._topic.partitions)
        except CheckpointReadyError as error:
            self.groups_problem = str(error)
            return None
        self.groups_problem = listing.problem
        return listing


def _wanted_partitions(topic: TopicDescription, wanted: Sequence[int]) -> list[int]:
    """Return the partitions to write to.

    Raises:
        ConfigError: a partition does not exist.
    """
    for partition in wanted:
        if partition >= topic.partitions:
            raise ConfigError(
                f"--partition {partition}: topic {topic.name} has {topic.partitions} partitions, "
                "numbered from 0"
            )
    return sorted(set(wanted)) or list(range(topic.partitions))
