"""The records that a shard has fetched and not decided yet."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from consumer.kafka.types import FetchedRecords, TopicPartition
from consumer.pipeline.records import PackedBatch, SourceRecord
from consumer.shard.progress import Fingerprint, Progress

Gathered = tuple[TopicPartition, Sequence[SourceRecord]]


class Buffer:
    """Records of several sources, in the order in which they were fetched."""

    def __init__(self) -> None:
        self._gathered: list[Gathered] = []
        self._next_offsets: dict[TopicPartition, int] = {}
        self.records = 0
        self.size_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._gathered)

    def __iter__(self) -> Iterator[Gathered]:
        return iter(self._gathered)

    def add(
        self,
        fetched: Mapping[TopicPartition, FetchedRecords],
        position: Callable[[TopicPartition], int],
    ) -> None:
        """Add fetched records; `position` returns the next offset to read of a source."""
        for source, records in fetched.items():
            self._gathered.append((source, records))
            self._next_offsets[source] = position(source)
            self.records += len(records)
            self.size_bytes += records.size_bytes

    def progress_after(self, stream_time_ms: int) -> dict[TopicPartition, Progress]:
        """Return the progress that each source has when all its gathered records are handled.

        The next offset is the reader's position, not the offset of the last record plus one.
        Markers and invisible records may follow that record. Its batch may also end at a higher
        offset, because the producer sets the offsets within a batch. A ``PackedBatch`` (a batch
        that was too large to unpack, or unreadable) gives no fingerprint: with another size limit
        or a later release, the reader may deliver the single records of this batch instead.
        """
        fingerprints: dict[TopicPartition, Fingerprint | None] = {}
        for source, records in self._gathered:
            last = next((r for r in reversed(records) if not _is_packed(r)), None)
            if last is not None or source not in fingerprints:
                fingerprints[source] = None if last is None else Fingerprint.of(last)
        return {
            source: Progress(self._next_offsets[source], stream_time_ms, fingerprint)
            for source, fingerprint in fingerprints.items()
        }


def _is_packed(record: SourceRecord) -> bool:
    return isinstance(record.value, PackedBatch)
