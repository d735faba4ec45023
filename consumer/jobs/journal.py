"""The journal: the committed progress of a group's jobs (replay, backfill, redrive).

The journal is one compacted partition, ``{group}.jobs``, for all jobs of a group. A job commits its
progress in the same transactions as its records. Each job has its own transactional id, so at most
one process at a time can continue the job. If a process is killed, the next process fences it, and
so ends the open transaction of the killed process. A shard uses the same protocol
(``OwnedPartition``) for its changelog.

=======  ====================================  ================================================
prefix   rest of the key                       value
=======  ====================================  ================================================
``r:``   a replay's name                       its state (JSON)
``s:``   a replay's name ``/`` a number        digests of the ids that it settled (16 bytes each)
``b:``   a backfill's digest (file and topic)  its state (JSON)
``d:``   a number                              dead letters that were redriven (binary)
``f:``   a transactional id                    the restore barrier of its latest start (JSON)
=======  ====================================  ================================================

A replay has *settled* an id when it will publish no later record of this id.
"""

import asyncio
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Final

import msgspec

from consumer.config import Settings
from consumer.errors import Fenced, TaskFailed, TimedOut
from consumer.kafka.open_transactions import OpenTransactionCheck
from consumer.kafka.owned_partition import OwnedPartition
from consumer.kafka.port import (
    ClusterAdmin,
    Kafka,
    LogReader,
    TransactionBatches,
)
from consumer.kafka.read import OffsetRange, read_range, settled_ranges, stable_ranges
from consumer.kafka.types import TopicPartition

REPLAY, SETTLED, BACKFILL, REDRIVEN, FENCE = b"r:", b"s:", b"b:", b"d:", b"f:"
FORMAT_VERSION: Final = 1
# Identifies this process. Host name and process id are not enough: containers may share both.
OWNER: Final = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
TAKEOVER_SECONDS: Final = 10.0
TOMBSTONES_PER_TRANSACTION: Final = 5_000
Entries = dict[bytes, bytes]


def journal_partition(settings: Settings) -> TopicPartition:
    """Return the partition of the group's journal."""
    return TopicPartition(settings.jobs_topic, 0)


def whoami() -> str:
    """Return user@host of this process, for operators who read the journal."""
    # In a container the user may have a number and no name.
    user = os.environ.get("USER") or os.environ.get("LOGNAME") or f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


class Journal:
    """The writer of one job: it commits records and progress atomically.

    Do not use a journal again after an error. Open a new journal: it fences the old one and reads
    the committed entries.
    """

    def __init__(  # noqa: PLR0913 - the parts of a job; one place creates it
        self,
        settings: Settings,
        kafka: Kafka,
        admin: ClusterAdmin,
        reader: LogReader,
        *,
        purpose: str,
        max_message_bytes: Mapping[str, int],
    ) -> None:
        """`purpose` and `max_message_bytes` are those of ``JobContext.journal``."""
        # The user of the job may lack Read on a target topic. The check skips such a topic.
        check = OpenTransactionCheck(
            admin,
            settings.bootstrap_servers,
            [settings.jobs_topic],
            optional=max_message_bytes.keys() - {settings.jobs_topic},
        )
        self._reader = reader
        self.partition = journal_partition(settings)
        self._max_message_bytes = max_message_bytes
        # A group name cannot contain a colon, so no shard of any group has such a transactional id.
        self._writer = kafka.writer(
            f"{settings.group_id}-:{purpose}", settings.transaction_timeout_ms
        )
        self._fence_key = FENCE + self._writer.transactional_id.encode()
        self._owned = OwnedPartition(
            self.partition, self._writer, check, new_batches=self.transaction_batches
        )

    async def open(self, is_wanted: Callable[[bytes], bool]) -> Entries:
        """Fence every other process of this job; return the wanted entries of the journal by key.

        Raises:
            Fenced: another process has meanwhile started the same job.
            TaskFailed, TransientError: try again, with a new journal.
            ClusterError: an operator must fix the cluster.
            HangingTransaction: a transaction of this job is still open on a broker.
        """

        async def load(barrier_offset: int) -> Entries:
            start = (await self._reader.beginning_offsets([self.partition]))[self.partition]
            ranges = {self.partition: OffsetRange(start, barrier_offset + 1)}
            return await _read(self._reader, ranges, is_wanted)

        value = msgspec.json.encode({"version": FORMAT_VERSION, "owner": OWNER})
        return await self._owned.take_over((self._fence_key, value), load)

    def transaction_batches(self) -> TransactionBatches:
        """Return empty batches for a transaction; they respect the topics' size limits."""
        return self._writer.new_batches(self._max_message_bytes, {self.partition.topic})

    async def commit(
        self, transaction_batches: TransactionBatches, entries: Iterable[tuple[bytes, bytes | None]]
    ) -> None:
        """Commit the batches together with these journal entries.

        Raises:
            Fenced: another process has started the same job.
            TaskFailed: the outcome is unknown. The entries that a new journal reads show the
                outcome.
        """
        transaction_batches.to(*self.partition).append_pairs(entries)
        try:
            await self._owned.commit(transaction_batches)
        except Fenced as error:
            try:
                is_taken_over = await self._is_taken_over()
            except TimedOut as late:
                # After a TimedOut, a backfill makes its transactions smaller. So only a slow write
                # may raise TimedOut, and this slow read must not.
                raise TaskFailed(str(late)) from late
            if is_taken_over:
                raise
            # No other process took over: the broker fenced this process, because its transaction
            # was open for longer than TRANSACTION_TIMEOUT_MS.
            raise TaskFailed(f"a transaction was open for too long: {error}") from error

    async def forget(self, keys: Iterable[bytes]) -> None:
        """Write tombstones for these keys, in as many transactions as needed.

        A job with many transactions leaves many keys. One transaction with all their tombstones
        might not end within its timeout.

        Raises:
            Fenced, TaskFailed: as `commit`; some of the keys may have their tombstones already.
        """
        rest = iter(keys)
        while some := list(islice(rest, TOMBSTONES_PER_TRANSACTION)):
            await self.commit(self.transaction_batches(), [(key, None) for key in some])

    async def close(self) -> None:
        """Close the writer. The fence of the next process ends a transaction that is still open."""
        await self._writer.close()

    async def _is_taken_over(self) -> bool:
        """Return whether another process has committed a barrier with our transactional id.

        Wait up to 10 seconds for this barrier.
        """
        deadline = time.monotonic() + TAKEOVER_SECONDS
        while time.monotonic() < deadline:
            ranges = await settled_ranges(self._reader, [self.partition])
            barriers = await _read(self._reader, ranges, lambda key: key == self._fence_key)
            if msgspec.json.decode(barriers[self._fence_key])["owner"] != OWNER:
                return True
            # The other process may have fenced this one, but not committed its barrier yet.
            await asyncio.sleep(TAKEOVER_SECONDS / 10)
        return False


async def read_journal(
    settings: Settings, reader: LogReader, is_wanted: Callable[[bytes], bool]
) -> Entries:
    """Return the wanted entries that are visible now, without fencing a running job."""
    ranges = await stable_ranges(reader, [journal_partition(settings)])
    return await _read(reader, ranges, is_wanted)


async def _read(
    reader: LogReader,
    ranges: Mapping[TopicPartition, OffsetRange],
    is_wanted: Callable[[bytes], bool],
) -> Entries:
    entries: Entries = {}
    async for batch in read_range(reader, ranges):
        for record in batch.records:
            key = record.key or b""
            if not is_wanted(key):
                continue
            if record.value is None:
                entries.pop(key, None)
            else:
                entries[key] = record.value
    return entries
