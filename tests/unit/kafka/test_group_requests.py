"""The raw requests about consumer groups, in the bytes of the protocol."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from aiokafka.protocol.admin import DescribeGroupsRequest_v2, ListGroupsRequest_v2

from consumer.kafka.client.group_requests import (
    ClassicGroupsRequest,
    ConsumerGroupDescribeResponse_v0,
    GroupsRequest,
    ListedGroup,
    ListGroupsRequest_v5,
    ListGroupsResponse_v5,
    NewGroupsRequest,
    classic_partitions,
    listed_groups,
)

NEW_BROKER = {15: (0, 6), 16: (0, 5), 69: (0, 1)}
OLD_BROKER = {15: (0, 5), 16: (0, 4)}


def test_types_are_asked_of_brokers_that_know_them() -> None:
    """Older brokers are asked in a version that names no type."""
    new, old = (GroupsRequest().prepare(versions) for versions in (NEW_BROKER, OLD_BROKER))
    assert isinstance(new, ListGroupsRequest_v5)
    assert new.encode() == b"\x01\x01\x00"  # no state, no type, no tags
    assert isinstance(old, ListGroupsRequest_v2)
    listed: list[Any] = [
        ("one", "consumer", "Stable", "Consumer", {}),
        ("two", "", "Empty", "Classic", {}),
    ]
    response = ListGroupsResponse_v5(0, 0, listed, {})
    read = ListGroupsResponse_v5.decode(BytesIO(response.encode()))
    assert list(listed_groups(read)) == [
        ListedGroup("one", "consumer", "Stable"),
        ListedGroup("two", "classic", "Empty"),
    ]


def test_an_old_response_names_no_type() -> None:
    """Then each group is a classic one."""
    response = ListGroupsRequest_v2.RESPONSE_TYPE(0, 0, [("one", "consumer")])
    assert list(listed_groups(response)) == [ListedGroup("one", "classic", "")]


def test_classic_groups_are_not_asked_in_version_3() -> None:
    """The library decodes version 3 by the schema of version 2, wrongly for several groups."""
    request = ClassicGroupsRequest(["a", "b"]).prepare(NEW_BROKER)
    assert isinstance(request, DescribeGroupsRequest_v2)
    assert request.encode() == b"\x00\x00\x00\x02\x00\x01a\x00\x01b"


def test_groups_of_the_new_protocol() -> None:
    """A member has a current and a target assignment, and both are structures with tags."""
    assert NewGroupsRequest(["a"]).prepare(NEW_BROKER).encode() == b"\x02\x02a\x00\x00"
    assigned: Any = ([(bytes(16), "ready", [0, 2], {})], {})
    member: Any = (
        "m",
        None,
        None,
        1,
        "client",
        "/1.2.3.4",
        ["ready"],
        None,
        assigned,
        assigned,
        {},
    )
    group: Any = (0, None, "a", "Stable", 1, 1, "uniform", [member], -1, {})
    response = ConsumerGroupDescribeResponse_v0(0, [group], {})
    read = ConsumerGroupDescribeResponse_v0.decode(BytesIO(response.encode()))
    assert read.groups == [group]


@pytest.mark.parametrize(
    ("assignment", "partitions"),
    [
        (b"\x00\x01" + b"\x00\x00\x00\x01\x00\x05ready" + b"\x00\x00\x00\x02" + bytes(8), 2),
        (b"\x00\x01" + b"\x00\x00\x00\x01\x00\x05other" + b"\x00\x00\x00\x02" + bytes(8), 0),
        (b"", 0),  # a member that has no assignment yet
        (b"\x00\x01\x7f\xff\xff\xff", 0),  # cut after a number of topics
        (b"\x00\x01\xff\xff\xff\xff", 0),  # null
        (b"\x00\x01" + b"\x00\x00\x00\x01\x00\x05read\xff" + b"\x00\x00\x00\x00", 0),  # no UTF-8
    ],
)
def test_assignments_of_classic_members(assignment: bytes, partitions: int) -> None:
    """Clients wrote these bytes, so they may be anything."""
    assert classic_partitions(assignment, "ready") == partitions
