"""The DescribeLogDirs request (API key 35, KIP-113): the sizes of the logs on one broker.

aiokafka does not have this request. All versions from Kafka 2.0 on have this version of it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Int64, Schema, String

API_KEY_DESCRIBE_LOG_DIRS: Final = 35


class DescribeLogDirsResponse_v1(Response):  # noqa: N801 - as the library names such classes
    """The logs in each directory of a broker. Empty without the ACL Describe on the cluster."""

    API_KEY = API_KEY_DESCRIBE_LOG_DIRS
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            Array(
                ("error_code", Int16),
                ("log_dir", String("utf-8")),
                (
                    "topics",
                    Array(
                        ("name", String("utf-8")),
                        (
                            "partitions",
                            Array(
                                ("partition_index", Int32),
                                ("partition_size", Int64),
                                ("offset_lag", Int64),
                                ("is_future_key", Boolean),
                            ),
                        ),
                    ),
                ),
            ),
        ),
    )


class DescribeLogDirsRequest_v1(RequestStruct):  # noqa: N801 - the same
    """Query one broker about partitions; needs the ACL Describe on the cluster."""

    API_KEY = API_KEY_DESCRIBE_LOG_DIRS
    API_VERSION = 1
    RESPONSE_TYPE = DescribeLogDirsResponse_v1
    SCHEMA = Schema(
        (
            "topics",
            Array(("topic", String("utf-8")), ("partitions", Array(Int32))),
        ),
    )


class DescribeLogDirsRequest(Request[DescribeLogDirsRequest_v1]):
    """Query the sizes of these partitions, by topic."""

    API_KEY = API_KEY_DESCRIBE_LOG_DIRS

    def __init__(self, topics: Mapping[str, Iterable[int]]) -> None:
        self._topics = topics

    def build(
        self, request_struct_class: type[DescribeLogDirsRequest_v1]
    ) -> DescribeLogDirsRequest_v1:
        """Return the request in this version."""
        return request_struct_class([(name, list(them)) for name, them in self._topics.items()])


def sizes_of(response: Any) -> Iterator[tuple[str, int, int]]:  # noqa: ANN401 - the library is untyped
    """Yield topic, partition and size in bytes of each log, without copies that are being moved."""
    for error_code, _, topics in response.results:
        if error_code:  # this disk has failed, so none of its logs is a leader
            continue
        for name, partitions in topics:
            for partition, size, _, is_future in partitions:
                if not is_future:
                    yield name, partition, size
