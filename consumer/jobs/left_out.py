"""Say what a command leaves out or waits for: records behind an open transaction.

``read_committed`` readers get nothing beyond the last stable offset, committed or not. A command
that ends there would look complete, and one that follows would look idle.
"""

import sys
from collections.abc import Iterable
from typing import Final

from consumer.kafka.held_back import HeldBackSources
from consumer.kafka.port import LogReader
from consumer.kafka.read import settled_ranges, stable_ranges
from consumer.kafka.types import TopicPartition

SAY_AFTER_SECONDS: Final = 10.0


async def say_left_out(reader: LogReader, partitions: Iterable[TopicPartition]) -> None:
    """Write to standard error how much of these partitions cannot be read now.

    The high watermarks are asked for first: what is open then and ended since is no loss.

    Raises:
        TaskFailed: a leader did not answer in time.
    """
    wanted = list(partitions)
    logs = await settled_ranges(reader, wanted)
    readable = await stable_ranges(reader, wanted)
    for partition in wanted:
        start, records = readable[partition].end, logs[partition].end - readable[partition].end
        if records > 0:
            _say(partition, f"{records} records from offset {start} on are left out")


class WaitNotice:
    """Says once for each partition that a command which follows it waits."""

    def __init__(self, reader: LogReader, partitions: Iterable[TopicPartition]) -> None:
        self._reader = reader
        self._partitions = list(partitions)
        self._held = HeldBackSources()
        self._said: set[TopicPartition] = set()

    def look(self, now: float) -> None:
        """Compare with the last look; `now` is monotonic."""
        self._held.check(now, self._reader, self._partitions)
        held = self._held.views
        self._said &= held.keys()
        for partition, view in held.items():
            if view.seconds >= SAY_AFTER_SECONDS and partition not in self._said:
                self._said.add(partition)
                _say(partition, f"{view.records} records wait")


def _say(partition: TopicPartition, what: str) -> None:
    topic, number = partition
    sys.stderr.write(
        f"checkpoint-ready: {topic}/{number}: {what} behind an open transaction of a producer "
        f"(kafka-transactions.sh describe-producers --topic {topic} --partition {number})\n"
    )
