"""What a shard has gathered and not decided yet."""

from collections.abc import Iterator, Mapping, Sequence

from consumer.engine.kafka import TopicPartition
from consumer.engine.progress import Progress, Witness
from consumer.pipeline.records import SourceRecord
from consumer.pipeline.size import record_bytes

Gathered = tuple[TopicPartition, Sequence[SourceRecord]]


class Buffer:
    """Records of several sources, in the order in which they were fetched."""

    def __init__(self) -> None:
        self._gathered: list[Gathered] = []
        self.records = 0
        self.size_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._gathered)

    def __iter__(self) -> Iterator[Gathered]:
        return iter(self._gathered)

    def add(self, fetched: Mapping[TopicPartition, Sequence[SourceRecord]]) -> None:
        """Take in what a fetch brought."""
        for source, records in fetched.items():
            self._gathered.append((source, records))
            self.records += len(records)
            self.size_bytes += sum(map(record_bytes, records))

    def progress_behind(self, stream_time_ms: int) -> dict[TopicPartition, Progress]:
        """Return the progress of each source when all of it is handled."""
        progress: dict[TopicPartition, Progress] = {}
        for source, records in self._gathered:
            last = records[-1]
            progress[source] = Progress(last.offset + 1, stream_time_ms, Witness.of(last))
        return progress
