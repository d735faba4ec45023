"""The source record of each published id, read from the changelogs."""

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

# The index of the topic name, then partition, offset, timestamp and digest of the content.
_ORIGIN: Final = struct.Struct(f">HIqq{DIGEST_BYTES}s")


class PublishedOrigin(NamedTuple):
    """Topic, partition, offset and timestamp of the source record of a published event."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


class PublishedOrigins:
    """The origin of every id with a changelog entry, packed: about 66 bytes each."""

    def __init__(self) -> None:
        self._origins = DigestTable(_ORIGIN.size)
        self._topics: dict[str, int] = {}
        self.metas: dict[int, Meta] = {}

    def __len__(self) -> int:
        return len(self._origins)

    def __iter__(self) -> Iterator[PublishedOrigin]:
        topics = list(self._topics)
        for digest in self._origins:
            yield _unpack(topics, self._origins.get(digest) or b"")

    def find(self, digest: bytes) -> PublishedOrigin | None:
        """Return the origin of an id's published event, or None if the id has no entry."""
        packed = self._origins.get(digest)
        return None if packed is None else _unpack(list(self._topics), packed)

    def is_origin(self, digest: bytes, origin: Origin, decoded: Decoded) -> bool | None:
        """Return whether the id's event was published from this record; None if there is no entry.

        The content must be equal too, because a recreated topic may have another record at the same
        offset. If a newer release wrote the entry, this release may be unable to compare the
        contents. Then topic, partition, offset and timestamp decide.
        """
        packed = self._origins.get(digest)
        if packed is None:
            return None
        topic, partition, offset, timestamp_ms, content = _ORIGIN.unpack(packed)
        if (partition, offset, timestamp_ms) != (
            origin.partition,
            origin.offset,
            origin.timestamp_ms,
        ):
            return False
        if topic != self._topics.get(origin.topic):
            return False
        return is_same_content(decoded.digest, decoded.canonical, content) is not False

    def load(self, shard: int, records: Iterable[SourceRecord]) -> None:
        """Apply records of a shard's changelog, in the order of their offsets.

        Raises:
            StateCorrupted: a record is not readable; the message has its offset.
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
                    f"changelog of shard {shard}: the record at offset {record.offset} is not "
                    f"readable: {error}"
                ) from error

    def _load_id(self, digest: bytes, value: bytes | None) -> None:
        if value is None:
            self._origins.drop(digest)
            return
        entry = read_id_entry(value)
        origin = entry.origin
        topic = self._topics.setdefault(origin.topic, len(self._topics))
        packed = _ORIGIN.pack(
            topic, origin.partition, origin.offset, origin.timestamp_ms, entry.digest
        )
        self._origins.put(digest, packed)


def _unpack(topics: Sequence[str], packed: bytes) -> PublishedOrigin:
    topic, partition, offset, timestamp_ms, _ = _ORIGIN.unpack(packed)
    return PublishedOrigin(topics[topic], partition, offset, timestamp_ms)


async def load_origins(
    reader: LogReader, changelogs: Mapping[TopicPartition, OffsetRange]
) -> PublishedOrigins:
    """Read the given ranges of the changelogs. The shards may continue to write meanwhile.

    Raises:
        StateCorrupted: a changelog is not readable.
        TaskFailed: a broker does not deliver the records of a changelog.
    """
    origins = PublishedOrigins()
    async for batch in read_range(reader, changelogs):
        origins.load(batch.partition.partition, batch.records)
    return origins
