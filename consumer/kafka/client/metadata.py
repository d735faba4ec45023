"""Metadata with topic ids and leader epochs (API key 3, KIP-516), and the ends of leader epochs.

aiokafka 0.14 sends at most version 5 of the Metadata request, which has neither ids nor epochs. It
has no OffsetForLeaderEpoch request (API key 23, KIP-101 and KIP-320).
"""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v4
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)

API_KEY_METADATA: Final = 3
API_KEY_OFFSET_FOR_LEADER_EPOCH: Final = 23
CONSUMER_REPLICA_ID: Final = -1
UNCHECKED_EPOCH: Final = -1
_VERSION_WITH_IDS: Final = 10
_UUID_BYTES: Final = 16
_NO: Final = False
_NO_TAGS: Final[dict[int, bytes]] = {}


class Uuid(AbstractType[bytes]):
    """A UUID as 16 bytes; all zero if the broker does not know it."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        """Return the bytes of a request."""
        return value

    @classmethod
    def decode(cls, data: Any) -> bytes:  # noqa: ANN401 - the library's buffer
        """Read the bytes of a response."""
        return bytes(data.read(_UUID_BYTES))


class MetadataResponse_v10(Response):  # noqa: N801 - as the library names such classes
    """The first version with topic ids; leader epochs exist since version 7."""

    API_KEY = API_KEY_METADATA
    API_VERSION = _VERSION_WITH_IDS
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class MetadataRequest_v10(RequestStruct):  # noqa: N801 - the same
    """Describe topics by name; with an empty list, only the brokers."""

    FLEXIBLE_VERSION = True
    API_KEY = API_KEY_METADATA
    API_VERSION = _VERSION_WITH_IDS
    RESPONSE_TYPE = MetadataResponse_v10
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic_id", Uuid),
                ("topic", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicsRequest(Request[MetadataRequest_v4 | MetadataRequest_v10]):
    """Describe topics without creating them. The response has topic ids since Kafka 2.8."""

    API_KEY = API_KEY_METADATA

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(
        self, request_struct_class: type[MetadataRequest_v4 | MetadataRequest_v10]
    ) -> MetadataRequest_v4 | MetadataRequest_v10:
        """Return the request in this version."""
        if request_struct_class is MetadataRequest_v10:
            named = [(bytes(_UUID_BYTES), name, _NO_TAGS) for name in self._topics]
            return request_struct_class(named, _NO, _NO, _NO, _NO_TAGS)
        return request_struct_class(self._topics, _NO)


class PartitionMetadata(NamedTuple):
    """One partition; `leader` is -1 if there is none, `leader_epoch` None if it is unknown."""

    partition: int
    leader: int
    leader_epoch: int | None
    replicas: list[int]


class TopicMetadata(NamedTuple):
    """One topic; `topic_id` is None if the broker does not know it."""

    error_code: int
    name: str
    topic_id: str | None
    partitions: list[PartitionMetadata]


def topics_of(response: Any) -> Iterator[TopicMetadata]:  # noqa: ANN401 - of the untyped library
    """Yield the topics of a Metadata response of either version."""
    if response.API_VERSION < _VERSION_WITH_IDS:
        for error_code, name, _, partitions in response.topics:
            found = [PartitionMetadata(p[1], p[2], None, p[3]) for p in partitions]
            yield TopicMetadata(error_code, str(name), None, found)
        return
    for error_code, name, topic_id, _, partitions, *_ in response.topics:
        found = [PartitionMetadata(p[1], p[2], p[3], p[4]) for p in partitions]
        known_id = uuid.UUID(bytes=topic_id).hex if any(topic_id) else None
        yield TopicMetadata(error_code, str(name), known_id, found)


class OffsetForLeaderEpochResponse_v3(Response):  # noqa: N801 - as the library names such classes
    """The end offset of each epoch, or -1 if the leader does not know the epoch."""

    API_KEY = API_KEY_OFFSET_FOR_LEADER_EPOCH
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader_epoch", Int32),
                        ("end_offset", Int64),
                    ),
                ),
            ),
        ),
    )


class OffsetForLeaderEpochRequest_v3(RequestStruct):  # noqa: N801 - the same
    """Query the leader of partitions; needs the ACL Describe on their topics."""

    API_KEY = API_KEY_OFFSET_FOR_LEADER_EPOCH
    API_VERSION = 3
    RESPONSE_TYPE = OffsetForLeaderEpochResponse_v3
    SCHEMA = Schema(
        ("replica_id", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(
                        ("partition", Int32),
                        ("current_leader_epoch", Int32),
                        ("leader_epoch", Int32),
                    ),
                ),
            ),
        ),
    )


class EpochEndsRequest(Request[OffsetForLeaderEpochRequest_v3]):
    """Query the end offsets of leader epochs; `epochs` are by topic and partition."""

    API_KEY = API_KEY_OFFSET_FOR_LEADER_EPOCH

    def __init__(self, epochs: Mapping[str, Mapping[int, int]]) -> None:
        self._epochs = epochs

    def build(
        self, request_struct_class: type[OffsetForLeaderEpochRequest_v3]
    ) -> OffsetForLeaderEpochRequest_v3:
        """Return the request in this version."""
        topics = [
            (topic, [(partition, UNCHECKED_EPOCH, epoch) for partition, epoch in epochs.items()])
            for topic, epochs in self._epochs.items()
        ]
        return request_struct_class(CONSUMER_REPLICA_ID, topics)
