"""Reads assigned partitions from offsets that the caller sets, with one consumer.

It never reads committed group offsets. aiokafka 0.14 can return None for a committed offset that
exists, and then resets the position. ``auto_offset_reset="none"`` makes every reset an error.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer

from consumer.kafka.client import fetched, private_api
from consumer.kafka.client.connection import Connection, bounded, close_consumer, translate
from consumer.kafka.client.decompression import inflater
from consumer.kafka.types import FetchedRecords, TopicPartition

START_SECONDS: Final = 15.0
OFFSETS_SECONDS: Final = 15.0
STARTING_FETCH_WAIT_MS: Final = 10
RUNNING_FETCH_WAIT_MS: Final = 200
# The limits of a prefetch. If the first batch is larger than a limit, a broker returns this batch
# alone (KIP-74, in every broker with transactions). So the limits can be lower than the largest
# batch. With higher limits the library would prefetch more of every partition.
FETCH_BYTES: Final = 8 * 1024 * 1024
PARTITION_FETCH_BYTES: Final = 1024 * 1024

fetched.install()


class KafkaReader:
    """Reads records of assigned partitions from offsets that the caller sets.

    ``needs_revalidation`` is set when a broker refuses a fetch, or answers a fetch after an
    unanswered one; see ``private_api.watch_fetches``. The caller sets it to false and then checks
    its sources.
    """

    def __init__(
        self,
        connection: Connection,
        client_id: str,
        *,
        topics: Iterable[str],
        max_message_bytes: int,
        committed_only: bool = True,
    ) -> None:
        self._topics = frozenset(topics)
        self.needs_revalidation = False
        self._seen_at: dict[TopicPartition, float] = {}
        self._consumer = AIOKafkaConsumer(
            **connection.options(client_id),
            group_id=None,
            isolation_level="read_committed" if committed_only else "read_uncommitted",
            auto_offset_reset="none",
            enable_auto_commit=False,
            fetch_max_wait_ms=STARTING_FETCH_WAIT_MS,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=FETCH_BYTES,
            client_rack=connection.rack or None,
        )
        inflater.allow_for(max_message_bytes)

    def _record_fetch(self, partition: TopicPartition, sent_at: float, is_refused: bool) -> None:  # noqa: FBT001 - a callback
        if is_refused:
            self.needs_revalidation = True
        else:
            self._seen_at[partition] = sent_at

    async def start(self) -> None:
        """Connect.

        Raises:
            TaskFailed, TransientError, ClusterError: as ``translate`` says.
        """
        try:
            await bounded(self._start(), START_SECONDS, "the consumer's start")
        except Exception as error:
            raise translate(error, "start of the consumer") from error

    async def follow(self, topics: Iterable[str]) -> None:
        """Also fetch the metadata of these topics. No broker creates one that does not exist.

        Raises:
            TaskFailed: the cluster did not answer.
        """
        self._topics |= frozenset(topics)
        private_api.track_topics(self._consumer, self._topics)
        metadata = private_api.consumer_client(self._consumer).force_metadata_update()
        await bounded(metadata, OFFSETS_SECONDS, "the metadata")

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions, each from the given offset, and no others."""
        self._consumer.assign(list(positions))
        private_api.track_topics(self._consumer, self._topics)
        # No await between assign and seek: otherwise a fetch could begin at another offset.
        for partition, offset in positions.items():
            self._consumer.seek(partition, offset)

    def use_running_fetch_settings(self) -> None:
        """Let fetches wait longer and return less from now on. Call it after the restore.

        Until then the settings suit a restore, which reads one partition and waits for each fetch.
        """
        private_api.set_partition_fetch_bytes(self._consumer, PARTITION_FETCH_BYTES)
        private_api.set_fetch_wait(self._consumer, RUNNING_FETCH_WAIT_MS)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver no more records of these partitions."""
        self._consumer.pause(*partitions)

    async def fetch(
        self, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, FetchedRecords]:
        """Return records that were fetched already, or wait up to ``timeout_ms`` for some.

        Raises:
            TaskFailed: the library has possibly dropped fetched records, so the positions are
                unknown.
        """
        # While the library has fetched records, getmany does not yield to the event loop. But the
        # other asyncio tasks must also run.
        await asyncio.sleep(0)
        try:
            records: dict[TopicPartition, FetchedRecords] = await self._consumer.getmany(
                timeout_ms=timeout_ms, max_records=max_records
            )
        except Exception as error:
            raise translate(error, "fetch") from error
        return records

    def position(self, partition: TopicPartition) -> int:
        """Return the offset of the next record to deliver. Markers move it too."""
        return private_api.position(self._consumer, partition)

    @property
    def positions(self) -> dict[TopicPartition, int]:
        """The position of each assigned partition."""
        return {partition: self.position(partition) for partition in self._consumer.assignment()}

    def lag(self, partition: TopicPartition) -> int | None:
        """Return last stable offset minus position, or None before the first fetch."""
        stable = self._consumer.last_stable_offset(partition)
        return None if stable is None else max(0, stable - self.position(partition))

    def backlog(self, partition: TopicPartition) -> int | None:
        """Return high watermark minus position, or None before the first fetch.

        It is more than ``lag`` while a transaction is open.
        """
        highwater = self._consumer.highwater(partition)
        return None if highwater is None else max(0, highwater - self.position(partition))

    def stable_offset_and_end(self, partition: TopicPartition) -> tuple[int, int] | None:
        """Return the last stable offset and the high watermark, or None before the first fetch.

        Both come with each fetch response. They differ while a transaction is open.
        """
        stable = self._consumer.last_stable_offset(partition)
        highwater = self._consumer.highwater(partition)
        return None if stable is None or highwater is None else (stable, highwater)

    def seen_at(self, partition: TopicPartition) -> float | None:
        """Return when the fetch that brought the current lag was sent, in monotonic seconds.

        Its response may have arrived much later. Return None before the first response.
        """
        return self._seen_at.get(partition)

    async def beginning_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return each partition's log start offset."""
        return await self._offsets(self._consumer.beginning_offsets(list(partitions)))

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return each partition's last *stable* offset.

        Committed records can follow it while a transaction is open. A reader without
        `committed_only` returns the high watermark instead.
        """
        return await self._offsets(self._consumer.end_offsets(list(partitions)))

    async def offsets_for_times(
        self, times_ms: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, tuple[int, int] | None]:
        """Return offset and timestamp of each partition's first record at or after the given time.

        The value is None if the partition has no such record. If producers set the timestamps,
        records at higher offsets can have earlier timestamps.
        """
        found = await self._offsets(self._consumer.offsets_for_times(dict(times_ms)))
        return {
            partition: None if at is None else (at.offset, at.timestamp)
            for partition, at in found.items()
        }

    async def close(self) -> None:
        """Close; a consumer without a group has nothing to commit."""
        await close_consumer(self._consumer)

    async def _start(self) -> None:
        private_api.watch_fetches(self._consumer, self._record_fetch)
        await self._consumer.start()
        private_api.track_topics(self._consumer, self._topics)
        await private_api.consumer_client(self._consumer).force_metadata_update()

    async def _offsets(self, call: Any) -> dict[TopicPartition, Any]:  # noqa: ANN401 - a coroutine of the untyped library
        try:
            offsets: dict[TopicPartition, Any] = await bounded(call, OFFSETS_SECONDS, "ListOffsets")
        except Exception as error:
            raise translate(error, "list offsets") from error
        return offsets
