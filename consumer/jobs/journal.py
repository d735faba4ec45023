"""What the tools on history have done, committed in the same transactions as what they write.

The journal is one compacted partition, ``{group}.jobs``, for all tools of a group. Each tool run
writes under a transactional id of its own, so at most one process at a time can go on with it, and
what a killed process left open is settled by the next one's fence. That is a shard's protocol
(``task``), with the journal in the changelog's place.

=======  ====================================  ================================================
prefix   rest of the key                       value
=======  ====================================  ================================================
``r:``   a replay's name                       its state (JSON)
``s:``   a replay's name ``/`` a number        ids it has settled (16 bytes of digest each)
``b:``   digest of a backfill's content        its state (JSON)
``d:``   a number                              dead letters that were sent again (binary)
``f:``   a transactional id                    the mark of its latest start (JSON)
=======  ====================================  ================================================
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
from consumer.errors import Fenced, TaskFailed
from consumer.kafka.open_transactions import OpenTransactionCheck
from consumer.kafka.owned_partition import commit_barrier
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
# Of this process, on whatever host and under whatever number: containers all have the same ones.
OWNER: Final = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
TAKEOVER_SECONDS: Final = 10.0
TOMBSTONES_PER_TRANSACTION: Final = 5_000
Entries = dict[bytes, bytes]


def journal_partition(settings: Settings) -> TopicPartition:
    """Return where the group's journal lies."""
    return TopicPartition(settings.jobs_topic, 0)


def whoami() -> str:
    """Return who runs this process, for people who read the journal: user@host."""
    # Containers run under numbers without a name.
    user = os.environ.get("USER") or os.environ.get("LOGNAME") or f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


class Journal:
    """One tool's writer: its events and its own progress become visible together, or not at all.

    Never reused after an error: open a new one, which reads what was committed.
    """

    def __init__(  # noqa: PLR0913 - each is what a tool has, and there is one place that makes it
        self,
        settings: Settings,
        kafka: Kafka,
        admin: ClusterAdmin,
        reader: LogReader,
        *,
        purpose: str,
        max_message_bytes: Mapping[str, int],
    ) -> None:
        """`purpose` tells writers apart; `max_message_bytes`: of every topic that is written."""
        # What is written beside the journal is asked for where we may read it.
        self._check = OpenTransactionCheck(
            admin,
            settings.bootstrap_servers,
            [settings.jobs_topic],
            optional=max_message_bytes.keys() - {settings.jobs_topic},
        )
        self._reader = reader
        self.partition = journal_partition(settings)
        self._max_message_bytes = max_message_bytes
        # A colon, which no group name can hold: no shard of any group has an id like this.
        self._writer = kafka.writer(
            f"{settings.group_id}-:{purpose}", settings.transaction_timeout_ms
        )

    async def open(self, is_wanted: Callable[[bytes], bool]) -> Entries:
        """Take the journal over and return its wanted entries, by key.

        1. Fence whoever wrote under this transactional id.
        2. Mark the end of what must be read.
        3. Read up to the mark.

        Raises:
            Fenced: another process has started the same meanwhile.
            TaskFailed, TransientError: try again, with a new journal.
            ClusterError: a person must mend the cluster.
            HangingTransaction: the brokers have left a transaction of ours open.
        """
        await self._writer.fence()  # 1.
        await self._check.refuse_hanging(self._writer)
        barrier_offset = await self._mark()  # 2.
        start = (await self._reader.beginning_offsets([self.partition]))[self.partition]
        return await _read(  # 3.
            self._reader, {self.partition: OffsetRange(start, barrier_offset + 1)}, is_wanted
        )

    def transaction_batches(self) -> TransactionBatches:
        """Return the empty batches of a transaction; they respect the topics' batch sizes."""
        return self._writer.new_batches(self._max_message_bytes, {self.partition.topic})

    async def commit(
        self, transaction_batches: TransactionBatches, entries: Iterable[tuple[bytes, bytes | None]]
    ) -> None:
        """Make the transaction_batches visible together with these entries of the journal.

        Raises:
            Fenced, TaskFailed: the outcome is in doubt; a new journal tells it.
        """
        journal = transaction_batches.to(*self.partition)
        for key, value in entries:
            journal.append(key, value)
        try:
            await self._writer.send(transaction_batches)
            await self._writer.commit()
        except Fenced as error:
            if await self._is_taken_over():
                raise
            # The broker's own timeout fences too: this process was held up, nobody else is there.
            raise TaskFailed(f"a transaction was open for too long: {error}") from error

    async def forget(self, keys: Iterable[bytes]) -> None:
        """Write tombstones for these keys, in as many transactions as that takes.

        The number of keys grows with the time that a tool has run, and one transaction must end
        well within its timeout.

        Raises:
            Fenced, TaskFailed: as `commit`; some of the keys may be forgotten already.
        """
        rest = iter(keys)
        while some := list(islice(rest, TOMBSTONES_PER_TRANSACTION)):
            await self.commit(self.transaction_batches(), [(key, None) for key in some])

    async def close(self) -> None:
        """Close; what is left open is settled by the next fence."""
        await self._writer.close()

    async def _is_taken_over(self) -> bool:
        """Tell whether the latest start under our transactional id is another process's."""
        key = FENCE + self._writer.transactional_id.encode()
        deadline = time.monotonic() + TAKEOVER_SECONDS
        while time.monotonic() < deadline:
            ranges = await settled_ranges(self._reader, [self.partition])
            marks = await _read(self._reader, ranges, lambda found: found == key)
            if msgspec.json.decode(marks[key])["owner"] != OWNER:
                return True
            await asyncio.sleep(TAKEOVER_SECONDS / 10)  # it fences first, and marks after
        return False

    async def _mark(self) -> int:
        key = FENCE + self._writer.transactional_id.encode()
        value = msgspec.json.encode({"version": FORMAT_VERSION, "owner": OWNER})
        return await commit_barrier(
            self._writer, self.transaction_batches(), self.partition, key, value
        )


async def read_journal(
    settings: Settings, reader: LogReader, is_wanted: Callable[[bytes], bool]
) -> Entries:
    """Return the wanted entries as they are now, without disturbing whoever writes."""
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
