"""The changelog: one shard's whole truth as keyed records in a compacted partition.

=======  ==========================  ===================================================
prefix   rest of the key             value
=======  ==========================  ===================================================
``i:``   id, UTF-8                   an id entry: digest, stream time, origin (binary)
``v:``   16 bytes digest, then id    a variant entry: stream time (binary)
``p:``   topic ``/`` partition       progress (JSON)
``m:``                               meta (JSON)
``f:``                               the fence mark of the latest start (JSON)
=======  ==========================  ===================================================

A null value is a tombstone. The prefixes keep ids and everything else apart. Entries of ids are
binary because a restore reads millions of them; the few others are JSON, to be read by people.
"""

import struct
from typing import Final

import msgspec

from consumer.engine.kafka import TopicPartition
from consumer.engine.progress import Progress
from consumer.errors import StateCorrupted
from consumer.pipeline.dedup import SeenIds
from consumer.pipeline.records import IdEntry, SourceRecord

FORMAT_VERSION: Final = 1
ID, VARIANT, PROGRESS, META, FENCE = b"i:", b"v:", b"p:", b"m:", b"f:"
ID_ENTRY: Final = struct.Struct(">B16sqiqq")  # version, digest, stream time, origin but its topic
VARIANT_ENTRY: Final = struct.Struct(">Bq")  # version, stream time
DIGEST_BYTES: Final = 16


class Meta(msgspec.Struct, frozen=True):
    """What this changelog belongs to. A mismatch at a start means: do not run on it."""

    version: int
    group_id: str
    shard: int
    shards: int
    cluster_id: str
    input_topics: list[str]
    output_topic: str


class ShardState:
    """A shard's memory: equal to the committed changelog, and changed by nothing else."""

    def __init__(self, window_ms: int) -> None:
        self.seen = SeenIds(window_ms)
        self.progress: dict[TopicPartition, Progress] = {}
        self.meta: Meta | None = None
        self.records_loaded = 0

    def load(self, record: SourceRecord) -> None:
        """Take over one changelog record; records come in the order of their offsets.

        Raises:
            StateCorrupted: the record is none of ours or of a newer version.
        """
        key, value = record.key or b"", record.value
        prefix = key[:2]
        self.records_loaded += 1
        try:
            if prefix == ID:
                self._load_id(key[2:].decode(), value)
            elif prefix == VARIANT:
                self._load_variant(key[2:], value)
            elif prefix == PROGRESS:
                self._load_progress(key[2:].decode(), value)
            elif prefix == META:
                self.meta = msgspec.json.decode(value or b"", type=Meta)
                _require_version(self.meta.version)
            elif prefix != FENCE:
                raise StateCorrupted(f"key {key[:40]!r} is not one of this service")
        except (msgspec.DecodeError, struct.error, UnicodeDecodeError, ValueError) as error:
            raise StateCorrupted(f"key {key[:40]!r} cannot be read: {error}") from error

    def _load_id(self, checkpoint_id: str, value: bytes | None) -> None:
        if value is None:
            self.seen.forget(checkpoint_id)
            return
        version, digest, stream_time_ms, *_ = ID_ENTRY.unpack_from(value)
        if version != FORMAT_VERSION:
            _require_version(version)
        self.seen.remember(checkpoint_id, digest, stream_time_ms)

    def _load_variant(self, rest: bytes, value: bytes | None) -> None:
        digest, checkpoint_id = rest[:DIGEST_BYTES], rest[DIGEST_BYTES:].decode()
        if value is None:
            self.seen.forget_variant(checkpoint_id, digest)
            return
        version, stream_time_ms = VARIANT_ENTRY.unpack(value)
        _require_version(version)
        self.seen.remember_variant(checkpoint_id, digest, stream_time_ms)

    def _load_progress(self, name: str, value: bytes | None) -> None:
        topic, _, partition = name.rpartition("/")
        progress = msgspec.json.decode(value or b"", type=Progress)
        self.progress[TopicPartition(topic, int(partition))] = progress
        self.seen.stream_time_ms = max(self.seen.stream_time_ms, progress.stream_time_ms)


def id_record(checkpoint_id: str, entry: IdEntry) -> tuple[bytes, bytes]:
    """Return key and value of a new id's entry."""
    origin = entry.origin
    fixed = ID_ENTRY.pack(
        FORMAT_VERSION,
        entry.digest,
        entry.stream_time_ms,
        origin.partition,
        origin.offset,
        origin.timestamp_ms,
    )
    return ID + checkpoint_id.encode(), fixed + origin.topic.encode()


def variant_record(checkpoint_id: str, digest: bytes, stream_time_ms: int) -> tuple[bytes, bytes]:
    """Return key and value of a conflicting variant's entry."""
    key = variant_key(checkpoint_id, digest)
    return key, VARIANT_ENTRY.pack(FORMAT_VERSION, stream_time_ms)


def id_key(checkpoint_id: str) -> bytes:
    """Return the key of an id's entry, for its tombstone."""
    return ID + checkpoint_id.encode()


def variant_key(checkpoint_id: str, digest: bytes) -> bytes:
    """Return the key of a variant's entry, for its tombstone."""
    return VARIANT + digest + checkpoint_id.encode()


def progress_record(topic: str, partition: int, progress: Progress) -> tuple[bytes, bytes]:
    """Return key and value of a source partition's progress."""
    return PROGRESS + f"{topic}/{partition}".encode(), msgspec.json.encode(progress)


def meta_record(meta: Meta) -> tuple[bytes, bytes]:
    """Return key and value of the meta entry."""
    return META, msgspec.json.encode(meta)


def fence_record(owner: str) -> tuple[bytes, bytes]:
    """Return key and value of the mark that a start commits to find its restore's end."""
    return FENCE, msgspec.json.encode({"version": FORMAT_VERSION, "owner": owner})


def _require_version(version: int) -> None:
    if version != FORMAT_VERSION:
        raise StateCorrupted(
            f"the changelog has format version {version}, this release knows {FORMAT_VERSION}: "
            "run the release that wrote it"
        )
