"""Which record of the input each published id came from, as the changelogs say."""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from consumer.errors import StateCorrupted
from consumer.kafka.port import LogReader
from consumer.kafka.read import OffsetRange, read_range
from consumer.kafka.types import TopicPartition
from consumer.pipeline.decode.canonical import is_same_content
from consumer.pipeline.decode.checkpoint import Decoded
from consumer.pipeline.digest_table import DigestTable
from consumer.pipeline.records import SourceRecord
from consumer.pipeline.seen_ids import DIGEST_BYTES
from consumer.shard.changelog import ID, META, Meta, read_id_entry
from schemas.ready_event import Origin

# Topic's number, partition, offset, timestamp, digest of the content.
_PLACE: Final = struct.Struct(f">HIqq{DIGEST_BYTES}s")


class OriginPlace(NamedTuple):
    """Where a published record stood, and its timestamp."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


class PublishedOrigins:
    """The origin of every id that has an entry, packed: about 66 bytes each."""

    def __init__(self) -> None:
        self._places = DigestTable(_PLACE.size)
        self._topics: dict[str, int] = {}
        self.metas: dict[int, Meta] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[OriginPlace]:
        topics = list(self._topics)
        for digest in self._places:
            yield _read_place(topics, self._places.get(digest) or b"")

    def find(self, digest: bytes) -> OriginPlace | None:
        """Return where an id's published record stood; None: it has no entry."""
        place = self._places.get(digest)
        return None if place is None else _read_place(list(self._topics), place)

    def is_origin(self, digest: bytes, origin: Origin, decoded: Decoded) -> bool | None:
        """Tell whether this record of an id was published; None: the id has no entry.

        The place and the time alone do not decide, because the topic may have been recreated. But
        they do where the content cannot be compared: a newer release has written the entry.
        """
        place = self._places.get(digest)
        if place is None:
            return None
        topic, partition, offset, timestamp_ms, content = _PLACE.unpack(place)
        place_of_record = (origin.partition, origin.offset, origin.timestamp_ms)
        if (partition, offset, timestamp_ms) != place_of_record:
            return False
        if topic != self._topics.get(origin.topic):
            return False
        return is_same_content(decoded.digest, decoded.canonical, content) is not False

    def load(self, shard: int, records: Iterable[SourceRecord]) -> None:
        """Take over records of a shard's changelog, in the order of their offsets.

        Raises:
            StateCorrupted: a record cannot be read; it names the offset.
        """
        for record in records:
            key, value = record.key or b"", record.value
            try:
                if key[:2] == ID:
                    self._load_id(key[2:], value)
                elif key == META and value is not None:
                    self.metas[shard] = msgspec.json.decode(value, type=Meta)
            except (msgspec.DecodeError, struct.error, ValueError, StateCorrupted) as error:
                raise StateCorrupted(
                    f"changelog of shard {shard}: the record at offset {record.offset} cannot be "
                    f"read: {error}"
                ) from error

    def _load_id(self, digest: bytes, value: bytes | None) -> None:
        if value is None:
            self._places.drop(digest)
            return
        entry = read_id_entry(value)
        origin = entry.origin
        topic = self._topics.setdefault(origin.topic, len(self._topics))
        place = _PLACE.pack(
            topic, origin.partition, origin.offset, origin.timestamp_ms, entry.digest
        )
        self._places.put(digest, place)


def _read_place(topics: Sequence[str], place: bytes) -> OriginPlace:
    topic, partition, offset, timestamp_ms, _ = _PLACE.unpack(place)
    return OriginPlace(topics[topic], partition, offset, timestamp_ms)


async def load_origins(
    reader: LogReader, changelogs: Mapping[TopicPartition, OffsetRange]
) -> PublishedOrigins:
    """Read the changelogs, each to the end that is given; their shards go on meanwhile.

    Raises:
        StateCorrupted: a changelog cannot be read.
        TaskFailed: its records do not come.
    """
    origins = PublishedOrigins()
    async for batch in read_range(reader, changelogs):
        origins.load(batch.partition.partition, batch.records)
    return origins
