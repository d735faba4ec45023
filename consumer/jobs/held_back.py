"""Warns of records that a command cannot read: those after the start of an open transaction.

A ``read_committed`` reader gets no record after the last stable offset, not even a committed one.
Without a warning, a command that ends at this offset would seem to have read all records. A command
that waits for new records would seem to find none.
"""

import sys
from collections.abc import Iterable
from typing import Final

from consumer.kafka.held_back import HeldBackSources
from consumer.kafka.port import LogReader
from consumer.kafka.read import settled_ranges, stable_ranges
from consumer.kafka.types import TopicPartition

WARN_AFTER_SECONDS: Final = 10.0


async def warn_of_held_back(reader: LogReader, partitions: Iterable[TopicPartition]) -> None:
    """Warn on standard error how many records of each partition cannot be read now.

    This function fetches the high watermarks before the last stable offsets. So a transaction that
    ends between the two requests causes no warning.

    Raises:
        TaskFailed: a leader did not answer in time.
    """
    wanted = list(partitions)
    logs = await settled_ranges(reader, wanted)
    readable = await stable_ranges(reader, wanted)
    for partition in wanted:
        start, records = readable[partition].end, logs[partition].end - readable[partition].end
        if records > 0:
            _warn(partition, f"{records} records from offset {start} on are left out")


class HeldBackWarning:
    """Warns of records that are held back from a waiting command, once for each partition.

    It warns again only if the records of the partition were released in between.
    """

    def __init__(self, reader: LogReader, partitions: Iterable[TopicPartition]) -> None:
        self._reader = reader
        self._partitions = list(partitions)
        self._held = HeldBackSources()
        self._warned: set[TopicPartition] = set()

    def check(self, now: float) -> None:
        """Warn of records held back for at least 10 seconds; `now` is in monotonic seconds."""
        self._held.check(now, self._reader, self._partitions)
        held = self._held.views
        self._warned &= held.keys()
        for partition, view in held.items():
            if view.seconds >= WARN_AFTER_SECONDS and partition not in self._warned:
                self._warned.add(partition)
                _warn(partition, f"{view.records} records wait")


def _warn(partition: TopicPartition, what: str) -> None:
    topic, number = partition
    sys.stderr.write(
        f"checkpoint-ready: {topic}/{number}: {what}, because an open transaction of a producer "
        f"holds them back (kafka-transactions.sh describe-producers --topic {topic} "
        f"--partition {number})\n"
    )
