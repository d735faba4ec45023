"""Requests about consumer groups that aiokafka 0.14 lacks, or decodes wrongly.

- ListGroups version 5 (API key 16, KIP-848) names the type of each group. aiokafka ends at 2.
- DescribeGroups version 3 (API key 15) is decoded by aiokafka with the schema of version 2. This
  fails for more than one group. So only version 2 is used.
- ConsumerGroupDescribe (API key 69, KIP-848) describes groups of the newer protocol.
- DescribeCluster (API key 60, KIP-700) returns what the user may do with the cluster.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any, Final, NamedTuple

from aiokafka.protocol.admin import DescribeGroupsRequest_v2, ListGroupsRequest_v2
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    String,
    TaggedFields,
)

from consumer.kafka.client.metadata import Uuid

API_KEY_DESCRIBE_GROUPS: Final = 15
API_KEY_LIST_GROUPS: Final = 16
API_KEY_DESCRIBE_CLUSTER: Final = 60
API_KEY_CONSUMER_GROUP_DESCRIBE: Final = 69
DESCRIBE_OPERATION: Final = 1 << 8  # AclOperation.DESCRIBE in a bit field of operations
CLASSIC: Final = "classic"
CONSUMER: Final = "consumer"
_VERSION_WITH_TYPES: Final = 5
_NO: Final = False
_YES: Final = True
_NO_TAGS: Final[dict[int, bytes]] = {}
_TAGS: Final = ("tags", TaggedFields)
_NAME: Final = CompactString("utf-8")


class ListGroupsResponse_v5(Response):  # noqa: N801 - as the library names such classes
    """The groups whose coordinator is the queried broker."""

    API_KEY = API_KEY_LIST_GROUPS
    API_VERSION = _VERSION_WITH_TYPES
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "groups",
            CompactArray(
                ("group", _NAME),
                ("protocol_type", _NAME),
                ("group_state", _NAME),
                ("group_type", _NAME),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class ListGroupsRequest_v5(RequestStruct):  # noqa: N801 - the same
    """List the groups of one broker; without Describe on the cluster only permitted groups."""

    FLEXIBLE_VERSION = True
    API_KEY = API_KEY_LIST_GROUPS
    API_VERSION = _VERSION_WITH_TYPES
    RESPONSE_TYPE = ListGroupsResponse_v5
    SCHEMA = Schema(
        ("states_filter", CompactArray(_NAME)), ("types_filter", CompactArray(_NAME)), _TAGS
    )


class GroupsRequest(Request[ListGroupsRequest_v2 | ListGroupsRequest_v5]):
    """List the groups of one broker, with their types since Kafka 3.8."""

    API_KEY = API_KEY_LIST_GROUPS

    def build(
        self, request_struct_class: type[ListGroupsRequest_v2 | ListGroupsRequest_v5]
    ) -> ListGroupsRequest_v2 | ListGroupsRequest_v5:
        """Return the request in this version."""
        if request_struct_class is ListGroupsRequest_v5:
            return request_struct_class([], [], _NO_TAGS)
        return request_struct_class()


class ListedGroup(NamedTuple):
    """One group of a ListGroups response; its type is in lower case, its state may be empty."""

    group_id: str
    group_type: str
    state: str


def listed_groups(response: Any) -> Iterator[ListedGroup]:  # noqa: ANN401 - of the untyped library
    """Yield the groups of a ListGroups response. Older brokers name no type: it is classic."""
    for group_id, _, *rest in response.groups:
        if response.API_VERSION >= _VERSION_WITH_TYPES:
            state, group_type, _ = rest
            yield ListedGroup(group_id, group_type.lower(), state)
        else:
            yield ListedGroup(group_id, CLASSIC, "")


class ClassicGroupsRequest(Request[DescribeGroupsRequest_v2]):
    """Describe classic groups; query their coordinator."""

    API_KEY = API_KEY_DESCRIBE_GROUPS

    def __init__(self, group_ids: Sequence[str]) -> None:
        self._group_ids = list(group_ids)

    def build(self, request_struct_class: type[DescribeGroupsRequest_v2]) -> Any:  # noqa: ANN401 - the library is untyped
        """Return the request in this version."""
        return request_struct_class(self._group_ids)


_ASSIGNMENT: Final = Schema(
    (
        "topic_partitions",
        CompactArray(
            ("topic_id", Uuid), ("topic", _NAME), ("partitions", CompactArray(Int32)), _TAGS
        ),
    ),
    _TAGS,
)


class ConsumerGroupDescribeResponse_v0(Response):  # noqa: N801 - as the library names such classes
    """The state and the members of each group."""

    API_KEY = API_KEY_CONSUMER_GROUP_DESCRIBE
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            CompactArray(
                ("error_code", Int16),
                ("error_message", _NAME),
                ("group", _NAME),
                ("state", _NAME),
                ("group_epoch", Int32),
                ("assignment_epoch", Int32),
                ("assignor", _NAME),
                (
                    "members",
                    CompactArray(
                        ("member_id", _NAME),
                        ("instance_id", _NAME),
                        ("rack_id", _NAME),
                        ("member_epoch", Int32),
                        ("client_id", _NAME),
                        ("client_host", _NAME),
                        ("subscribed_topics", CompactArray(_NAME)),
                        ("subscribed_regex", _NAME),
                        ("assignment", _ASSIGNMENT),
                        ("target_assignment", _ASSIGNMENT),
                        _TAGS,
                    ),
                ),
                ("authorized_operations", Int32),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class ConsumerGroupDescribeRequest_v0(RequestStruct):  # noqa: N801 - the same
    """Describe groups of the protocol of KIP-848; needs the ACL Describe on each."""

    FLEXIBLE_VERSION = True
    API_KEY = API_KEY_CONSUMER_GROUP_DESCRIBE
    API_VERSION = 0
    RESPONSE_TYPE = ConsumerGroupDescribeResponse_v0
    SCHEMA = Schema(
        ("groups", CompactArray(_NAME)), ("include_authorized_operations", Boolean), _TAGS
    )


class NewGroupsRequest(Request[ConsumerGroupDescribeRequest_v0]):
    """Describe groups of the protocol of KIP-848; query their coordinator."""

    API_KEY = API_KEY_CONSUMER_GROUP_DESCRIBE

    def __init__(self, group_ids: Sequence[str]) -> None:
        self._group_ids = list(group_ids)

    def build(
        self, request_struct_class: type[ConsumerGroupDescribeRequest_v0]
    ) -> ConsumerGroupDescribeRequest_v0:
        """Return the request in this version."""
        return request_struct_class(self._group_ids, _NO, _NO_TAGS)


class DescribeClusterResponse_v0(Response):  # noqa: N801 - as the library names such classes
    """The brokers, and a bit field of the operations that the user may do on the cluster."""

    API_KEY = API_KEY_DESCRIBE_CLUSTER
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("error_message", _NAME),
        ("cluster_id", _NAME),
        ("controller_id", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32), ("host", _NAME), ("port", Int32), ("rack", _NAME), _TAGS
            ),
        ),
        ("authorized_operations", Int32),
        _TAGS,
    )


class DescribeClusterRequest_v0(RequestStruct):  # noqa: N801 - the same
    """Query which operations the user may do on the cluster."""

    FLEXIBLE_VERSION = True
    API_KEY = API_KEY_DESCRIBE_CLUSTER
    API_VERSION = 0
    RESPONSE_TYPE = DescribeClusterResponse_v0
    SCHEMA = Schema(("include_authorized_operations", Boolean), _TAGS)


class ClusterRightsRequest(Request[DescribeClusterRequest_v0]):
    """Query which operations the user may do on the cluster; brokers know it since Kafka 2.8."""

    API_KEY = API_KEY_DESCRIBE_CLUSTER

    def build(
        self, request_struct_class: type[DescribeClusterRequest_v0]
    ) -> DescribeClusterRequest_v0:
        """Return the request in this version."""
        return request_struct_class(_YES, _NO_TAGS)


# The assignment of a classic member, which its group's leader wrote (ConsumerProtocolAssignment).
_CLASSIC_ASSIGNMENT: Final = Schema(
    ("version", Int16),
    ("topics", Array(("topic", String("utf-8")), ("partitions", Array(Int32)))),
)


def classic_partitions(assignment: bytes, topic: str) -> int:
    """Return how many partitions of the topic a member of a classic group has.

    A client wrote these bytes. Return 0 if they are empty, or are not of the consumer protocol.
    """
    try:
        _, topics = _CLASSIC_ASSIGNMENT.decode(BytesIO(assignment))
        return sum(len(partitions) for name, partitions in topics if name == topic)
    except (TypeError, ValueError, OverflowError):
        return 0
