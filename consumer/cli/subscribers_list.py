"""The action `subscribers list`: the groups that read the ready topic, and their unread events."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from rich.table import Table

from consumer.cli.subscribers_check import describe_ready_topic
from consumer.cli.tables import Columns, add_row, one_line_table
from consumer.config import Settings
from consumer.jobs.held_back import warn_of_held_back
from consumer.kafka.client import AioKafka
from consumer.kafka.read import OffsetRange, stable_ranges
from consumer.kafka.types import ConsumerGroup, GroupMember, TopicPartition
from consumer.kafka.unread import DEFAULT_LIMIT, Unread, UnreadCounter, count_unread

COLUMNS: Columns = (
    ("group", 12, 4),
    ("type", 8, 0),
    ("state", 10, 2),
    ("protocol", 8, 2),
    ("members", 7, 0),
    ("partitions", 10, 0),
    ("unread", 9, 0),
    ("offset lag", 10, 0),
)
MEMBER_COLUMNS: Columns = (
    ("group", 12, 4),
    ("client id", 12, 4),
    ("host", 12, 2),
    ("partitions", 10, 0),
)


class PartitionLag(msgspec.Struct, frozen=True):
    """The lag of a group on one partition."""

    partition: int
    offset: int
    unread: int
    is_exact: bool
    offset_lag: int


class Subscriber(msgspec.Struct, frozen=True):
    """A consumer group that reads the ready topic.

    `unread` counts the committed records that the group has not read, at least as many if not
    `is_exact`. It is None if the group has no committed offset. On a partition without a committed
    offset the group has read nothing, or nothing yet that it committed; the records there are not
    counted, so the number is then not exact. `offset_lag` also counts markers and aborted records,
    as other tools do.
    """

    group: str
    type: str
    state: str
    protocol: str
    members: tuple[GroupMember, ...]
    unread: int | None
    is_exact: bool
    offset_lag: int | None
    partitions_without_offset: tuple[int, ...]
    partitions: tuple[PartitionLag, ...]


class Subscribers(msgspec.Struct, frozen=True):
    """All subscribers that could be examined, and those that could not."""

    topic: str
    partitions: int
    subscribers: tuple[Subscriber, ...]
    not_described: tuple[str, ...]
    other_types: dict[str, str]
    is_complete: bool
    problem: str = ""


async def list_subscribers(settings: Settings, limit: int = DEFAULT_LIMIT) -> Subscribers:
    """Return the groups that read the ready topic; count at most about `limit` of a partition.

    Raises:
        ClusterError: the topic does not exist, or an ACL on it is missing.
        TaskFailed, TransientError: a broker did not answer as expected.
    """
    kafka = AioKafka.of(settings)
    client_id = f"{settings.group_id}-subscribers"
    admin = kafka.groups_admin(client_id)
    try:
        await admin.start()
        topic = await describe_ready_topic(admin, settings)
        listing = await admin.groups_of(topic.name, topic.partitions)
    finally:
        await admin.close()
    reader = kafka.reader(client_id, topics=[topic.name], max_message_bytes=topic.max_message_bytes)
    places = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
    try:
        await reader.start()
        await warn_of_held_back(reader, places)
        logs = await stable_ranges(reader, places)
        counters = await count_unread(reader, _offsets(topic.name, listing.groups), logs, limit)
    finally:
        await reader.close()
    lags = {place.partition: (logs[place], counter) for place, counter in counters.items()}
    return Subscribers(
        topic.name,
        topic.partitions,
        tuple(
            subscriber(group, lags, [logs[place] for place in places]) for group in listing.groups
        ),
        listing.refused,
        listing.other_types,
        not (listing.problem or listing.other_types),
        listing.problem,
    )


def subscriber(
    group: ConsumerGroup,
    lags: Mapping[int, tuple[OffsetRange, UnreadCounter]],
    logs: Sequence[OffsetRange],
) -> Subscriber:
    """Return a group with its lag, from the logs and the counter of each partition. Pure."""
    found = []
    without_offset = [number for number in range(len(logs)) if number not in group.offsets]
    for partition, offset in sorted(group.offsets.items()):
        log, counter = lags[partition]
        unread: Unread = counter.unread_from(offset)
        offset_lag = max(0, log.end - offset)
        found.append(PartitionLag(partition, offset, *unread, offset_lag))
    return Subscriber(
        group.group_id,
        group.type,
        group.state,
        group.protocol,
        group.members,
        sum(one.unread for one in found) if found else None,
        all(one.is_exact for one in found)
        and all(logs[number].start >= logs[number].end for number in without_offset),
        sum(one.offset_lag for one in found) if found else None,
        tuple(without_offset),
        tuple(found),
    )


def subscribers_tables(found: Subscribers) -> list[Table]:
    """Return a table of the groups, and one of their members."""
    title = f"{len(found.subscribers)} consumer groups read {found.topic}"
    groups = one_line_table(title, COLUMNS)
    members = one_line_table("members", MEMBER_COLUMNS)
    for one in found.subscribers:
        cells = (
            one.group,
            one.type,
            one.state,
            one.protocol,
            str(len(one.members)),
            str(sum(member.partitions for member in one.members)),
            unread_text(one),
            "unknown" if one.offset_lag is None else f"{one.offset_lag:,}",
        )
        add_row(groups, cells)
        for member in one.members:
            add_row(members, (one.group, member.client_id, member.host, str(member.partitions)))
    return [groups, members] if members.row_count else [groups]


def unread_text(one: Subscriber) -> str:
    """Return the number of unread events, with the mark of a number that is not exact."""
    if one.unread is None:
        return "unknown"
    return f"{'' if one.is_exact else '≥ '}{one.unread:,}"


def _offsets(topic: str, groups: Iterable[ConsumerGroup]) -> dict[TopicPartition, set[int]]:
    found: dict[TopicPartition, set[int]] = {}
    for group in groups:
        for partition, offset in group.offsets.items():
            found.setdefault(TopicPartition(topic, partition), set()).add(offset)
    return found
