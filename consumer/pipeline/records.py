"""The values that go into the pipeline and come out of it."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Protocol, Self

from msgspec import Struct, field

from consumer.errors import CheckpointReadyError
from schemas.ready_event import Origin

Header = tuple[str, bytes | None]
Headers = Sequence[Header]


class SourceRecord(Protocol):
    """One consumed record; aiokafka's own record objects fit as they are."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""

    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970; -1 when there is none."""

    @property
    def key(self) -> bytes | None:
        """The producer's key."""

    @property
    def value(self) -> bytes | None:
        """The payload; None for a tombstone."""

    @property
    def headers(self) -> Headers:
        """Names and values in the producer's order."""


class PackedBatch(bytes):
    """The value of a record that is a whole batch, because the batch cannot or must not be read."""

    note: str
    reason: "Reason"

    def __new__(cls, raw: bytes, note: str, reason: "Reason") -> Self:
        """Take the batch as it is in the log, and why its records are not read."""
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
    """They come from the repartition topic: each ends with the header of its origin."""


class Reason(StrEnum):
    """Why a record is a dead letter: a closed list."""

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
"""The class of error in the dead letter of a whole batch, by which a redrive knows it."""


class Stage(StrEnum):
    """Where a record failed, in the words of Kafka Connect."""

    VALUE_CONVERTER = "VALUE_CONVERTER"
    TRANSFORMATION = "TRANSFORMATION"
    TASK_PUT = "TASK_PUT"


class InvalidRecord(CheckpointReadyError):
    """One record that cannot be published: a dead letter, then go on."""

    def __init__(self, reason: Reason, message: str, stage: str, cause: str) -> None:
        """Say why, where, and which class of error was behind it."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.stage = stage
        self.cause = cause


class ReadyRecord(Struct, frozen=True, gc=False):
    """A ready event, encoded. `headers` is shared between records: never change it in place."""

    id: str
    job_id: str
    key: bytes
    value: bytes
    headers: list[Header]
    created_at: int
    origin: Origin


class ForwardRecord(Struct, frozen=True, gc=False):
    """A record on its way to its home shard, byte for byte, with one header more."""

    shard: int
    key: bytes | None
    value: bytes | None
    headers: list[Header]
    timestamp_ms: int


class DeadLetter(Struct, frozen=True, gc=False):
    """A record that cannot be published, with the headers that say why."""

    reason: Reason
    origin: Origin
    key: bytes | None
    value: bytes | None
    headers: list[Header]
    message: str


class IdEntry(Struct, frozen=True, gc=False):
    """What the changelog keeps of a published id; `digest` is that of its content."""

    id: str
    digest: bytes
    origin: Origin
    stream_time_ms: int


class VariantEntry(Struct, frozen=True, gc=False):
    """What the changelog keeps of a refused content of a published id."""

    id: str
    digest: bytes
    stream_time_ms: int


class Counts(Struct):
    """The fate of every record: consumed = published + duplicates + forwarded + dead letters."""

    consumed: int = 0
    published: int = 0
    duplicates: int = 0
    conflicting: int = 0
    forwarded: int = 0
    dead_letters: dict[Reason, int] = field(default_factory=dict)
    """By reason; the conflicting ones are among them."""


class Limits(Struct, frozen=True):
    """`max.message.bytes` of the topics that are written: a bound on a batch of one record."""

    ready_max_bytes: int
    dead_letter_max_bytes: int
    forward_max_bytes: int


class ShardSettings(Struct, frozen=True):
    """All that the decision about a record depends on, besides the ids already seen."""

    shard: int
    shards: int
    group_id: str
    limits: Limits
    binary_mode: bool = False
