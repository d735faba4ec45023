"""The DescribeProducers request (API key 61, KIP-664), which aiokafka does not have."""

from typing import Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

API_KEY_DESCRIBE_PRODUCERS: Final = 61


class DescribeProducersResponse_v0(Response):  # noqa: N801 - as the library names such classes
    """The producers of each partition.

    ``current_txn_start_offset`` is -1 for a producer without an open transaction.
    """

    API_KEY = API_KEY_DESCRIBE_PRODUCERS
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition_index", Int32),
                        ("error_code", Int16),
                        ("error_message", CompactString("utf-8")),
                        (
                            "active_producers",
                            CompactArray(
                                ("producer_id", Int64),
                                ("producer_epoch", Int32),
                                ("last_sequence", Int32),
                                ("last_timestamp", Int64),
                                ("coordinator_epoch", Int32),
                                ("current_txn_start_offset", Int64),
                                ("tags", TaggedFields),
                            ),
                        ),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class DescribeProducersRequest_v0(RequestStruct):  # noqa: N801 - the same
    """Query the leader of partitions; needs the ACL Read on their topics."""

    FLEXIBLE_VERSION = True
    API_KEY = API_KEY_DESCRIBE_PRODUCERS
    API_VERSION = 0
    RESPONSE_TYPE = DescribeProducersResponse_v0
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("partition_indexes", CompactArray(Int32)),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class DescribeProducersRequest(Request[DescribeProducersRequest_v0]):
    """Query the producers of these partitions, by topic."""

    API_KEY = API_KEY_DESCRIBE_PRODUCERS

    def __init__(self, topics: dict[str, list[int]]) -> None:
        self._topics = topics

    def build(
        self, request_struct_class: type[DescribeProducersRequest_v0]
    ) -> DescribeProducersRequest_v0:
        """Return the request in this version."""
        tags: dict[int, bytes] = {}
        topics = [(name, partitions, tags) for name, partitions in self._topics.items()]
        return request_struct_class(topics, tags)
