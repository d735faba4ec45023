"""The changelog: the whole state of one shard, as keyed records in a compacted partition.

=======  ==========================  ===================================================
prefix   rest of the key             value
=======  ==========================  ===================================================
``i:``   digest of the id            an id entry (binary, below)
``v:``   digest of id and content    a variant entry (binary, below)
``p:``   topic ``/`` partition       progress (JSON)
``m:``                               meta: the deployment, see ``Meta`` (JSON)
``f:``                               the restore barrier of the latest start (JSON)
``f:``   ``first``                   end offsets of the inputs at the first start (JSON)
=======  ==========================  ===================================================

A null value is a tombstone. The prefixes separate ids from all other entries. Id and variant
entries are binary, because a restore reads millions of them. The few other entries are JSON, which
operators can read. The memory of a shard holds only the digest of an id. So this digest is the key
of the entry: the shard can write the tombstone without the id. The id itself is in the value.

An id entry consists of: version (1 byte), digest of the content (16 bytes: 1 for the version of the
comparison form, 15 of BLAKE2b), stream time (8), then partition (4), offset (8), timestamp (8) and
topic (1 byte of length, then UTF-8) of the published source record, then the id (UTF-8).
A variant entry consists of: version (1), digest of the content (16), stream time (8), id (UTF-8).
All numbers are big-endian.

The version of an entry is the version of its layout. The comparison form has its own version inside
the digest, so a new form does not change the layout (`pipeline/decode/canonical`). The first
release that knows a new layout reads it, but still writes the old layout. The next release writes
the new one. So both releases of a rolling upgrade, or of a rollback, read each other's entries.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from consumer.errors import StateCorrupted
from consumer.kafka.types import TopicPartition
from consumer.pipeline.records import IdEntry, SourceRecord, VariantEntry
from consumer.pipeline.seen_ids import DIGEST_BYTES, EntryLayout, SeenIds, id_digest
from consumer.shard.progress import Progress
from schemas.ready_event import Origin

FORMAT_VERSION: Final = 3
READABLE_VERSIONS: Final = frozenset({FORMAT_VERSION})
"""The layouts that this release reads. It writes `FORMAT_VERSION`."""
ID, VARIANT, PROGRESS, META, FENCE = b"i:", b"v:", b"p:", b"m:", b"f:"
FIRST_START: Final = FENCE + b"first"
_HEAD: Final = struct.Struct(f">B{DIGEST_BYTES}sq")  # the start of id and variant entries
_ORIGIN: Final = struct.Struct(">iqqB")
_ID_FORMAT: Final = _HEAD.format + _ORIGIN.format.removeprefix(">")  # without topic and id
_DIGEST_KEY_BYTES: Final = len(ID) + DIGEST_BYTES
# The digest of the content follows the version.
_ID_LAYOUT: Final = EntryLayout(ID, bytes([FORMAT_VERSION]), _HEAD.size)


class Meta(msgspec.Struct, frozen=True):
    """The deployment that a changelog belongs to; `verify_meta` compares it."""

    version: int
    group_id: str
    shard: int
    shards: int
    cluster_id: str
    input_topics: list[str]
    output_topic: str


class ShardState:
    """A shard's memory. Its ids, variants and progress equal the committed changelog entries."""

    def __init__(self, window_ms: int) -> None:
        self.seen = SeenIds(window_ms)
        self.progress: dict[TopicPartition, Progress] = {}
        self.meta: Meta | None = None
        self.records_loaded = 0
        self.restore_ratio = 0.0

    @property
    def positions(self) -> dict[TopicPartition, int]:
        """The committed next offset of each source."""
        return {source: progress.next_offset for source, progress in self.progress.items()}

    def fingerprint_offset(self, source: TopicPartition) -> int | None:
        """Return the offset of a source's last-record fingerprint; None if none is stored."""
        progress = self.progress.get(source)
        if progress is None or progress.fingerprint is None:
            return None
        return progress.fingerprint.offset

    def load(self, records: Sequence[SourceRecord]) -> None:
        """Add changelog records, in the order of their offsets.

        Raises:
            StateCorrupted: a record cannot be read, for example because another release wrote it.
                The message has the record's offset.
        """
        self.records_loaded += len(records)
        number = 0
        # Nearly all records of a restore are id entries of the current layout. Add them in bulk,
        # and each other record by itself.
        while (number := self.seen.remember_records(records, number, _ID_LAYOUT)) < len(records):
            self._load_one(records[number])
            number += 1

    def _load_one(self, record: SourceRecord) -> None:
        key, value = record.key or b"", record.value
        try:
            if key[:2] != ID:
                self._load_other(key, value)
            elif value is None:
                self.seen.forget(_digest_of(key))
            else:
                version, content, time_ms = _HEAD.unpack_from(value)
                _require_version(version)
                self.seen.remember(_digest_of(key), content, time_ms)
        except (msgspec.DecodeError, struct.error, ValueError, StateCorrupted) as error:
            raise StateCorrupted(
                f"the record at offset {record.offset}, key {key[:40]!r}, cannot be read: {error}"
            ) from error

    def _load_other(self, key: bytes, value: bytes | None) -> None:
        prefix = key[:2]
        if prefix == VARIANT:
            self._load_variant(_digest_of(key), value)
        elif prefix == PROGRESS:
            self._load_progress(key[2:].decode(), value)
        elif prefix == META:
            self.meta = msgspec.json.decode(value or b"", type=Meta)
            _require_version(self.meta.version)
        elif prefix != FENCE:
            raise StateCorrupted("its key is not one of this service")

    def _load_variant(self, digest: bytes, value: bytes | None) -> None:
        if value is None:
            self.seen.forget_variant(digest)
            return
        version, _, stream_time_ms = _HEAD.unpack_from(value)
        _require_version(version)
        of_id = id_digest(value[_HEAD.size :].decode())
        self.seen.remember_variant(digest, of_id, stream_time_ms)

    def _load_progress(self, name: str, value: bytes | None) -> None:
        topic, _, partition = name.rpartition("/")
        progress = msgspec.json.decode(value or b"", type=Progress)
        self.progress[TopicPartition(topic, int(partition))] = progress
        self.seen.stream_time_ms = max(self.seen.stream_time_ms, progress.stream_time_ms)


def id_record(digest: bytes, entry: IdEntry) -> tuple[bytes, bytes]:
    """Return key and value of a new id's entry."""
    return next(id_records({digest: entry}))


@lru_cache(maxsize=64)
def _topic_layout(topic: str) -> tuple[bytes, int, Callable[..., bytes]]:
    """Return the bytes of a topic's name, their number, and a function that packs an id entry.

    This function packs the value of the entry up to and including the name, but not the id.
    """
    encoded = topic.encode()
    return encoded, len(encoded), struct.Struct(f"{_ID_FORMAT}{len(encoded)}s").pack


def id_records(entries: Mapping[bytes, IdEntry]) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of each new id's entry. `entries` has the ids' digests as its keys."""
    topic = ""
    encoded, topic_bytes, pack = _topic_layout(topic)
    for digest, entry in entries.items():
        origin = entry.origin
        if origin.topic != topic:  # successive entries nearly always have the same topic
            topic = origin.topic
            encoded, topic_bytes, pack = _topic_layout(topic)
        fixed = pack(
            FORMAT_VERSION,
            entry.digest,
            entry.stream_time_ms,
            origin.partition,
            origin.offset,
            origin.timestamp_ms,
            topic_bytes,
            encoded,
        )
        yield ID + digest, fixed + entry.id.encode()


def read_id_entry(value: bytes) -> IdEntry:
    """Parse the value of an id's entry.

    Raises:
        StateCorrupted: this release cannot read the version of the entry.
        struct.error, UnicodeDecodeError: the value is not an id entry.
    """
    version, content, stream_time_ms = _HEAD.unpack_from(value)
    _require_version(version)
    partition, offset, timestamp_ms, topic_bytes = _ORIGIN.unpack_from(value, _HEAD.size)
    topic_at = _HEAD.size + _ORIGIN.size
    id_at = topic_at + topic_bytes
    topic, checkpoint_id = value[topic_at:id_at].decode(), value[id_at:].decode()
    origin = Origin(topic, partition, offset, timestamp_ms)
    return IdEntry(checkpoint_id, content, origin, stream_time_ms)


def variant_record(digest: bytes, entry: VariantEntry) -> tuple[bytes, bytes]:
    """Return key and value of a conflicting variant's entry."""
    head = _HEAD.pack(FORMAT_VERSION, entry.digest, entry.stream_time_ms)
    return VARIANT + digest, head + entry.id.encode()


def id_key(digest: bytes) -> bytes:
    """Return the key of an id's entry, for its tombstone."""
    return ID + digest


def variant_key(digest: bytes) -> bytes:
    """Return the key of a variant's entry, for its tombstone."""
    return VARIANT + digest


def progress_record(topic: str, partition: int, progress: Progress) -> tuple[bytes, bytes]:
    """Return key and value of a source partition's progress."""
    return PROGRESS + f"{topic}/{partition}".encode(), msgspec.json.encode(progress)


def meta_record(meta: Meta) -> tuple[bytes, bytes]:
    """Return key and value of the meta entry."""
    return META, msgspec.json.encode(meta)


def barrier_record(owner: str) -> tuple[bytes, bytes]:
    """Return key and value of the restore barrier; `owner` names the host and process."""
    return FENCE, msgspec.json.encode({"version": FORMAT_VERSION, "owner": owner})


def _digest_of(key: bytes) -> bytes:
    if len(key) != _DIGEST_KEY_BYTES:
        raise StateCorrupted("its key is not a digest")
    return key[2:]


def _require_version(version: int) -> None:
    if version not in READABLE_VERSIONS:
        known = ", ".join(map(str, sorted(READABLE_VERSIONS)))
        raise StateCorrupted(
            f"the changelog has format version {version}, this release reads {known}: "
            "run the release that wrote it"
        )
