"""The input and output types of the pipeline: source records, batches, events, dead letters."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Protocol, Self

from msgspec import Struct, field

from consumer.errors import CheckpointReadyError
from schemas.ready_event import DATASCHEMA, Origin

Header = tuple[str, bytes | None]
Headers = Sequence[Header]


class SourceRecord(Protocol):
    """One consumed record. The record objects of aiokafka satisfy this protocol."""

    @property
    def offset(self) -> int:
        """Offset in the partition."""

    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970, or -1 without a timestamp."""

    @property
    def key(self) -> bytes | None:
        """The producer's key."""

    @property
    def value(self) -> bytes | None:
        """The payload; None for a tombstone."""

    @property
    def headers(self) -> Headers:
        """Names and values, in the producer's order."""


class PackedBatch(bytes):
    """The bytes of a whole record batch, as the value of one record.

    The reader delivers it if the batch's records are unreadable or would take too much memory.
    """

    note: str
    reason: "Reason"

    def __new__(cls, raw: bytes, note: str, reason: "Reason") -> Self:
        """Store the batch as it is in the log, and the reason why its records were not read."""
        packed = super().__new__(cls, raw)
        packed.note = note
        packed.reason = reason
        return packed


class SourceBatch(NamedTuple):
    """Records of one partition, in offset order."""

    topic: str
    partition: int
    records: Sequence[SourceRecord]
    forwarded: bool
    """Whether the records come from the repartition topic.

    Then the last header of each record is the origin header."""


class Reason(StrEnum):
    """Why a record is a dead letter. Consumers of dead letters may rely on exactly these values."""

    TOMBSTONE = "tombstone"
    MALFORMED_JSON = "malformed_json"
    INVALID_SCHEMA = "invalid_schema"
    WRONG_OBJECT_TYPE = "wrong_object_type"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    UNREADABLE_BATCH = "unreadable_batch"
    CONFLICTING_DUPLICATE = "conflicting_duplicate"
    INTERNAL_ERROR = "internal_error"


PACKED_CAUSES: Final = {
    Reason.TOO_LARGE: "RecordBatchTooLarge",
    Reason.UNREADABLE_BATCH: "RecordBatchUnreadable",
}
"""The error class in the dead letter of a whole batch, by its reason.

A redrive recognizes such a dead letter by this class."""


class Stage(StrEnum):
    """The stage in which a record failed, named as in Kafka Connect."""

    VALUE_CONVERTER = "VALUE_CONVERTER"
    TRANSFORMATION = "TRANSFORMATION"
    TASK_PUT = "TASK_PUT"


class InvalidRecord(CheckpointReadyError):
    """One record cannot be published. It becomes a dead letter, and processing continues."""

    def __init__(self, reason: Reason, message: str, stage: str, cause: str) -> None:
        """Store the reason, the stage, and the class of the underlying error (`cause`)."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.stage = stage
        self.cause = cause


class ReadyRecord(Struct, frozen=True, gc=False):
    """An encoded ready event. `headers` is shared between records: never modify it in place."""

    id: str
    job_id: str
    key: bytes
    value: bytes
    headers: list[Header]
    created_at: int
    origin: Origin


class ForwardRecord(Struct, frozen=True, gc=False):
    """A record for its home shard: the source record byte for byte, and the origin header."""

    shard: int
    key: bytes | None
    value: bytes | None
    headers: list[Header]
    timestamp_ms: int


class DeadLetter(Struct, frozen=True, gc=False):
    """An invalid record for the dead-letter topic, with the headers that describe the error."""

    reason: Reason
    origin: Origin
    key: bytes | None
    value: bytes | None
    headers: list[Header]
    message: str


class IdEntry(Struct, frozen=True, gc=False):
    """The changelog entry of a published id. `digest` is the digest of the published content."""

    id: str
    digest: bytes
    origin: Origin
    stream_time_ms: int


class VariantEntry(Struct, frozen=True, gc=False):
    """The changelog entry of a refused content of a published id; `digest` is of this content."""

    id: str
    digest: bytes
    stream_time_ms: int


class Counts(Struct):
    """Records by outcome: consumed = published + duplicates + forwarded + dead letters."""

    consumed: int = 0
    published: int = 0
    duplicates: int = 0
    conflicting: int = 0
    forwarded: int = 0
    dead_letters: dict[Reason, int] = field(default_factory=dict)
    """By reason, including the conflicting duplicates."""


class Limits(Struct, frozen=True):
    """`max.message.bytes` of the topics written to. A batch of one record must not exceed it."""

    ready_max_bytes: int
    dead_letter_max_bytes: int
    forward_max_bytes: int


class ShardSettings(Struct, frozen=True):
    """The settings that the decision about a record depends on.

    The decision also depends on the memory (`SeenIds`), the stream time, and the latest trusted
    timestamp.
    """

    shard: int
    shards: int
    group_id: str
    limits: Limits
    binary_mode: bool = False
    schema_guid: str = ""
    """The GUID of the schema of the ready events' values in a schema registry; empty: none."""
    dataschema: str = DATASCHEMA
